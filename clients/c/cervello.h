/* Client of the Cervello bridge, protocol version 1: one header, C99 and POSIX sockets, no other dependency.
 *
 * Define CERVELLO_IMPLEMENTATION in one file before it is included. A call takes a time-out in milliseconds; with 0 it never waits, so a
 * game calls cervello_send_* in one frame and cervello_poll in the next ones. One thread at a time uses a client.
 */
#ifndef CERVELLO_H
#define CERVELLO_H
#if defined(CERVELLO_IMPLEMENTATION) && !defined(_POSIX_C_SOURCE) && !defined(_GNU_SOURCE) && !defined(__APPLE__)
#define _POSIX_C_SOURCE 200809L /* sockets and clocks under -std=c99, where this is the first header of the file */
#endif
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  CERVELLO_OK,
  CERVELLO_TIMEOUT,     /* no reply yet; the request goes on, and cervello_wait may be called again */
  CERVELLO_DRAINING,    /* the server is going away; nothing was done */
  CERVELLO_AGENTS_LOST, /* agents ended with an earlier connection */
  CERVELLO_DEAD_SERVER, /* the connection ended without a farewell */
  CERVELLO_REFUSED,     /* an error reply: code and data are in the reply */
  CERVELLO_BAD_CALL     /* the call was wrong, or memory ran out; nothing was sent */
} cervello_status;

enum { CERVELLO_DEEPEST = 8, CERVELLO_MOST_VALUES = 1 << 20, CERVELLO_IN_FLIGHT = 64, CERVELLO_POLICIES = 64, CERVELLO_NAME = 128 };

/* A msgpack value inside a reply's bytes, which have been checked whole. */
typedef struct { const uint8_t *at, *end; } cervello_value;

typedef enum { CERVELLO_NONE, CERVELLO_NIL, CERVELLO_BOOL, CERVELLO_INT, CERVELLO_FLOAT, CERVELLO_STR, CERVELLO_BIN, CERVELLO_ARRAY,
               CERVELLO_MAP } cervello_type;

/* A reply; it is the caller's until cervello_free_reply. */
typedef struct {
  uint8_t *bytes;
  size_t n_bytes;
  int code;                                  /* 0, or the error's */
  cervello_value result, error_text, data;   /* result: CERVELLO_NONE where code is not 0 */
} cervello_reply;

typedef struct { uint8_t *bytes; size_t n_bytes, room; int failed; } cervello_buffer;
typedef struct { char name[CERVELLO_NAME]; int begun, lost; } cervello_policy;
typedef struct { uint32_t id; int used, arrived; char step[16]; cervello_reply reply; } cervello_request;

/* A client: zeroed memory before the first cervello_connect. Fields other than `error` and `hello` are its own. */
typedef struct {
  char error[512];        /* address, step and cause of the last call that did not return CERVELLO_OK */
  cervello_reply hello;   /* server, server_id, limits, roles, policies */
  int fd_plus_1;
  uint32_t next_id;
  uint32_t frame_bytes;   /* longest frame taken, and sent: 16 MiB until hello says what the server takes */
  uint32_t server_frame_bytes;
  char address[128], end_cause[128];
  cervello_status end;
  cervello_buffer in, out;
  size_t out_sent;
  cervello_request requests[CERVELLO_IN_FLIGHT];
  cervello_policy policies[CERVELLO_POLICIES];
} cervello_client;

typedef struct { const char *name; const void *bytes; size_t n_bytes; } cervello_bin;
/* One flag for all agents, or one byte each: {0} leaves the key out. */
typedef struct { int given, flag; const uint8_t *each; } cervello_flags;
typedef struct {
  int begin;
  cervello_flags deterministic;
  uint64_t deadline_us;               /* 0: none */
  const char *const *outputs;         /* NULL: all */
  size_t n_outputs;
  int has_tick;
  uint64_t tick;
} cervello_infer_options;

/* `tcp://host:port`; connects, says hello, and waits for its reply. Called again it connects anew: agents that had begun are lost. */
cervello_status cervello_connect(cervello_client *c, const char *address, const char *client_name, const char *token, int timeout_ms);
/* Ends the connection; every reply not yet taken is gone. The client may connect again. */
void cervello_close(cervello_client *c);

/* Requests are put into the send queue; `id` is what cervello_wait takes. Row i of every bin is agents[i]. */
cervello_status cervello_send_ping(cervello_client *c, uint32_t *id);
cervello_status cervello_send_stats(cervello_client *c, uint32_t *id);
cervello_status cervello_send_spec(cervello_client *c, const char *policy, uint32_t *id);
/* streams: NULL, or 8 bytes an agent */
cervello_status cervello_send_begin(cervello_client *c, const char *policy, const uint64_t *agents, size_t n, const void *streams, uint32_t *id);
/* options: NULL for none */
cervello_status cervello_send_infer(cervello_client *c, const char *policy, const uint64_t *agents, size_t n, const cervello_bin *inputs,
                                    size_t n_inputs, const cervello_infer_options *options, uint32_t *id);
/* id: NULL sends a notify; tick: NULL for none */
cervello_status cervello_send_reward(cervello_client *c, const char *policy, const uint64_t *agents, size_t n, const float *reward,
                                     const cervello_bin *actions, size_t n_actions, const uint64_t *tick, uint32_t *id);
cervello_status cervello_send_end(cervello_client *c, const char *policy, const uint64_t *agents, size_t n, cervello_flags terminated,
                                  cervello_flags truncated, const cervello_bin *inputs, size_t n_inputs, uint32_t *id);
/* agents: NULL for all of the connection */
cervello_status cervello_send_snapshot(cervello_client *c, const char *policy, const uint64_t *agents, size_t n, uint32_t *id);
cervello_status cervello_send_restore(cervello_client *c, const char *policy, const void *state, size_t n_bytes, int keep, uint32_t *id);

/* Sends and receives what is there without waiting. */
cervello_status cervello_poll(cervello_client *c);
/* The reply to `id`: CERVELLO_OK and CERVELLO_REFUSED give `reply` to the caller. timeout_ms 0 never waits. */
cervello_status cervello_wait(cervello_client *c, uint32_t id, int timeout_ms, cervello_reply *reply);
/* A reply that is no longer wanted is dropped when it comes. */
void cervello_forget(cervello_client *c, uint32_t id);
/* `reply`: one that was given to the caller, or zeroed memory. */
void cervello_free_reply(cervello_reply *reply);

cervello_type cervello_type_of(cervello_value v);
/* Integers and whole floats; 0 for anything else. */
int64_t cervello_int(cervello_value v);
double cervello_float(cervello_value v);
/* Bytes of a str or bin (not terminated), or NULL; row bytes carry no alignment: memcpy them out. */
const uint8_t *cervello_bytes(cervello_value v, size_t *n_bytes);
/* Items of an array, pairs of a map; 0 for anything else. */
size_t cervello_count(cervello_value v);
/* First item or key, and the value after a value; a map's keys and values alternate. */
cervello_value cervello_first(cervello_value v);
cervello_value cervello_next(cervello_value v);
/* A map's value, CERVELLO_NONE where the key is missing. */
cervello_value cervello_get(cervello_value map, const char *key);
/* NULL, or why these bytes are not one value of the protocol; takes no memory. */
const char *cervello_check(const uint8_t *bytes, size_t n_bytes);

#ifdef __cplusplus
}
#endif
#endif

#ifdef CERVELLO_IMPLEMENTATION
#ifndef CERVELLO_IMPLEMENTED
#define CERVELLO_IMPLEMENTED
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS has SO_NOSIGPIPE instead */
#endif

/* ---- reading ---- */

static uint64_t cervello__be(const uint8_t *at, int n) {
  uint64_t value = 0;
  while (n--) value = value << 8 | *at++;
  return value;
}

/* Type of the value at `at`; its header's and payload's bytes; items for arrays, twice the pairs for maps. 0 where it does not fit. */
static int cervello__head(const uint8_t *at, const uint8_t *end, cervello_type *type, size_t *head, size_t *payload, size_t *items) {
  uint8_t code;
  int width = 0;
  size_t count = 0;
  if (at >= end) return 0;
  code = *at;
  *head = 1;
  *payload = *items = 0;
  if (code < 0x80 || code >= 0xe0) { *type = CERVELLO_INT; return 1; }
  if (code < 0xc0) {
    *type = code < 0x90 ? CERVELLO_MAP : code < 0xa0 ? CERVELLO_ARRAY : CERVELLO_STR;
    count = code < 0xa0 ? code & 15 : code & 31;
  } else switch (code) {
    case 0xc0: *type = CERVELLO_NIL; return 1;
    case 0xc2: case 0xc3: *type = CERVELLO_BOOL; return 1;
    case 0xc4: case 0xc5: case 0xc6: *type = CERVELLO_BIN; width = 1 << (code - 0xc4); break;
    case 0xca: case 0xcb: *type = CERVELLO_FLOAT; *head = code == 0xca ? 5 : 9; return (size_t)(end - at) >= *head;
    case 0xcc: case 0xcd: case 0xce: case 0xcf: case 0xd0: case 0xd1: case 0xd2: case 0xd3:
      *type = CERVELLO_INT; *head = 1 + ((size_t)1 << ((code - 0xcc) & 3)); return (size_t)(end - at) >= *head;
    case 0xd9: case 0xda: case 0xdb: *type = CERVELLO_STR; width = 1 << (code - 0xd9); break;
    case 0xdc: case 0xdd: *type = CERVELLO_ARRAY; width = 2 << (code - 0xdc); break;
    case 0xde: case 0xdf: *type = CERVELLO_MAP; width = 2 << (code - 0xde); break;
    default: return -1;
  }
  if (width) {
    if (end - at < 1 + width) return 0;
    count = (size_t)cervello__be(at + 1, width);
    *head = 1 + (size_t)width;
  }
  if (*type == CERVELLO_MAP) {
    if (count > (size_t)(end - at) / 2) return 0;
    count *= 2;
  }
  if (count > (size_t)(end - at) - *head) return 0;
  if (*type == CERVELLO_STR || *type == CERVELLO_BIN) *payload = count;
  else *items = count;
  return 1;
}

static int cervello__utf8(const uint8_t *at, size_t n) {
  const uint8_t *end = at + n;
  while (at < end) {
    uint8_t code = *at++;
    int more = code < 0x80 ? 0 : code >= 0xc2 && code < 0xe0 ? 1 : (code & 0xf0) == 0xe0 ? 2 : code >= 0xf0 && code < 0xf5 ? 3 : -1;
    if (more < 0 || end - at < more) return 0;
    if ((code == 0xe0 && *at < 0xa0) || (code == 0xed && *at > 0x9f) || (code == 0xf0 && *at < 0x90) || (code == 0xf4 && *at > 0x8f)) return 0;
    while (more--) if ((*at++ & 0xc0) != 0x80) return 0;
  }
  return 1;
}

static int cervello__same(cervello_value a, cervello_value b) {
  size_t n_a, n_b;
  const uint8_t *of_a = cervello_bytes(a, &n_a), *of_b = cervello_bytes(b, &n_b);
  return n_a == n_b && memcmp(of_a, of_b, n_a) == 0;
}

const char *cervello_check(const uint8_t *bytes, size_t n_bytes) {
  const uint8_t *at = bytes, *end = bytes + n_bytes, *first[CERVELLO_DEEPEST];
  size_t left[CERVELLO_DEEPEST], total[CERVELLO_DEEPEST], n_values = 0;
  int is_map[CERVELLO_DEEPEST], level = 0;
  do {
    cervello_type type = CERVELLO_NONE;
    size_t head, payload, items;
    int fits, key = level && is_map[level - 1] && left[level - 1] % 2 == 0;
    fits = at < end ? cervello__head(at, end, &type, &head, &payload, &items) : 0;
    if (fits <= 0) return fits ? "bad frame: a byte that begins no value" : "bad frame: the value is cut off";
    if (key) {
      cervello_value this_key, other;
      size_t seen;
      this_key.at = at; this_key.end = end;
      if (type != CERVELLO_STR) return "bad frame: a map key is not a str";
      if (!cervello__utf8(at + head, payload)) return "bad frame: a str is not UTF-8";
      other.at = first[level - 1]; other.end = end;
      for (seen = total[level - 1] - left[level - 1]; seen; seen -= 2) {
        if (cervello__same(other, this_key)) return "bad frame: a map key comes twice";
        other = cervello_next(cervello_next(other));
      }
    } else if (type == CERVELLO_STR && !cervello__utf8(at + head, payload)) return "bad frame: a str is not UTF-8";
    if (level) left[level - 1]--;
    at += head + payload;
    if (type == CERVELLO_ARRAY || type == CERVELLO_MAP) {
      if (level == CERVELLO_DEEPEST) return "bad frame: nested deeper than 8";
      n_values += items;
      if (n_values > CERVELLO_MOST_VALUES) return "bad frame: more than 1048576 values";
      /* earlier keys are compared one by one */
      if (type == CERVELLO_MAP && items > 2048) return "bad frame: a map of more than 1024 keys";
      first[level] = at;
      left[level] = total[level] = items;
      is_map[level++] = type == CERVELLO_MAP;
    }
    while (level && left[level - 1] == 0) level--;
  } while (level);
  return at == end ? NULL : "bad frame: bytes after the value";
}

static int cervello__read(cervello_value v, cervello_type *type, size_t *head, size_t *payload, size_t *items) {
  *type = CERVELLO_NONE;
  return v.at && cervello__head(v.at, v.end, type, head, payload, items) > 0;
}

cervello_type cervello_type_of(cervello_value v) {
  cervello_type type;
  size_t a, b, c;
  return cervello__read(v, &type, &a, &b, &c) ? type : CERVELLO_NONE;
}

double cervello_float(cervello_value v) {
  uint64_t bits;
  uint32_t bits_32;
  float narrow;
  double wide;
  if (cervello_type_of(v) == CERVELLO_INT) return (double)cervello_int(v);
  if (cervello_type_of(v) != CERVELLO_FLOAT) return 0;
  if (*v.at == 0xca) { bits_32 = (uint32_t)cervello__be(v.at + 1, 4); memcpy(&narrow, &bits_32, 4); return narrow; }
  bits = cervello__be(v.at + 1, 8);
  memcpy(&wide, &bits, 8);
  return wide;
}

int64_t cervello_int(cervello_value v) {
  cervello_type type = cervello_type_of(v);
  uint8_t code;
  uint64_t bits;
  int width;
  if (type == CERVELLO_BOOL) return *v.at == 0xc3;
  if (type == CERVELLO_FLOAT) {
    double value = cervello_float(v);
    return value > -9007199254740992.0 && value < 9007199254740992.0 && value == (double)(int64_t)value ? (int64_t)value : 0;
  }
  if (type != CERVELLO_INT) return 0;
  code = *v.at;
  if (code < 0x80) return code;
  if (code >= 0xe0) return (int)code - 256;
  width = 1 << ((code - 0xcc) & 3);
  bits = cervello__be(v.at + 1, width);
  if (code < 0xd0) return bits > INT64_MAX ? 0 : (int64_t)bits; /* the protocol has none above 2^53 */
  if (width < 8 && bits >> (8 * width - 1)) return (int64_t)bits - ((int64_t)1 << (8 * width));
  return bits >> 63 ? -(int64_t)(~bits) - 1 : (int64_t)bits;
}

const uint8_t *cervello_bytes(cervello_value v, size_t *n_bytes) {
  cervello_type type;
  size_t head, items;
  *n_bytes = 0;
  if (!cervello__read(v, &type, &head, n_bytes, &items) || (type != CERVELLO_STR && type != CERVELLO_BIN)) return NULL;
  return v.at + head;
}

size_t cervello_count(cervello_value v) {
  cervello_type type;
  size_t head, payload, items;
  if (!cervello__read(v, &type, &head, &payload, &items)) return 0;
  return type == CERVELLO_MAP ? items / 2 : items;
}

cervello_value cervello_first(cervello_value v) {
  cervello_type type;
  size_t head, payload, items;
  cervello_value none = {NULL, NULL};
  if (!cervello__read(v, &type, &head, &payload, &items) || items == 0) return none;
  v.at += head;
  return v;
}

cervello_value cervello_next(cervello_value v) {
  size_t left = 1, head, payload, items;
  cervello_type type;
  cervello_value none = {NULL, NULL};
  while (left--) {
    if (!cervello__read(v, &type, &head, &payload, &items)) return none;
    v.at += head + payload;
    left += items;
  }
  return v;
}

cervello_value cervello_get(cervello_value map, const char *key) {
  cervello_value none = {NULL, NULL}, each;
  size_t n, pairs = cervello_count(map);
  if (cervello_type_of(map) != CERVELLO_MAP) return none;
  for (each = cervello_first(map); pairs--; each = cervello_next(cervello_next(each))) {
    const uint8_t *bytes = cervello_bytes(each, &n);
    if (n == strlen(key) && memcmp(bytes, key, n) == 0) return cervello_next(each);
  }
  return none;
}

/* ---- writing ---- */

static void cervello__put(cervello_buffer *b, const void *bytes, size_t n) {
  if (b->failed || n == 0) return;
  if (n > b->room - b->n_bytes) {
    size_t room = b->room ? b->room : 1024;
    uint8_t *more;
    while (room - b->n_bytes < n) room *= 2;
    more = (uint8_t *)realloc(b->bytes, room);
    if (!more) { b->failed = 1; return; }
    b->bytes = more;
    b->room = room;
  }
  memcpy(b->bytes + b->n_bytes, bytes, n);
  b->n_bytes += n;
}

static void cervello__code(cervello_buffer *b, int code, uint64_t value, int width) {
  uint8_t bytes[9];
  int i;
  bytes[0] = (uint8_t)code;
  for (i = 0; i < width; i++) bytes[1 + i] = (uint8_t)(value >> (8 * (width - 1 - i)));
  cervello__put(b, bytes, 1 + (size_t)width);
}

static void cervello__uint(cervello_buffer *b, uint64_t value) {
  if (value < 0x80) cervello__code(b, (int)value, 0, 0);
  else if (value < 0x100) cervello__code(b, 0xcc, value, 1);
  else if (value < 0x10000) cervello__code(b, 0xcd, value, 2);
  else if (value < UINT64_C(0x100000000)) cervello__code(b, 0xce, value, 4);
  else cervello__code(b, 0xcf, value, 8);
}

static void cervello__count(cervello_buffer *b, size_t n, int fix, int most, int code_8, int code_16, int code_32) {
  if (fix && n < (size_t)most) cervello__code(b, fix + (int)n, 0, 0);
  else if (code_8 && n < 0x100) cervello__code(b, code_8, n, 1);
  else if (n < 0x10000) cervello__code(b, code_16, n, 2);
  else cervello__code(b, code_32, n, 4);
}

static void cervello__str(cervello_buffer *b, const char *text) {
  size_t n = strlen(text);
  cervello__count(b, n, 0xa0, 32, 0xd9, 0xda, 0xdb);
  cervello__put(b, text, n);
}

static void cervello__bin(cervello_buffer *b, const void *bytes, size_t n) {
  cervello__count(b, n, 0, 0, 0xc4, 0xc5, 0xc6);
  cervello__put(b, bytes, n);
}

static void cervello__array(cervello_buffer *b, size_t n) { cervello__count(b, n, 0x90, 16, 0, 0xdc, 0xdd); }
static void cervello__map(cervello_buffer *b, size_t n) { cervello__count(b, n, 0x80, 16, 0, 0xde, 0xdf); }

static void cervello__bins(cervello_buffer *b, const char *key, const cervello_bin *bins, size_t n) {
  size_t i;
  cervello__str(b, key);
  cervello__map(b, n);
  for (i = 0; i < n; i++) { cervello__str(b, bins[i].name); cervello__bin(b, bins[i].bytes, bins[i].n_bytes); }
}

static void cervello__flags(cervello_buffer *b, const char *key, cervello_flags flags, size_t n) {
  if (!flags.given) return;
  cervello__str(b, key);
  if (flags.each) cervello__bin(b, flags.each, n);
  else cervello__code(b, flags.flag ? 0xc3 : 0xc2, 0, 0);
}

/* ---- connection ---- */

static int64_t cervello__now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static cervello_status cervello__fail(cervello_client *c, cervello_status status, const char *step, const char *cause) {
  snprintf(c->error, sizeof c->error, "%s, %s: %s", c->address, step, cause);
  return status;
}

void cervello_free_reply(cervello_reply *reply) {
  free(reply->bytes);
  memset(reply, 0, sizeof *reply);
}

static void cervello__finish(cervello_client *c, cervello_status status, const char *cause) {
  if (c->fd_plus_1) close(c->fd_plus_1 - 1);
  c->fd_plus_1 = 0;
  c->end = status;
  snprintf(c->end_cause, sizeof c->end_cause, "%s", cause);
}

void cervello_close(cervello_client *c) {
  int i;
  cervello__finish(c, CERVELLO_BAD_CALL, "the client was closed");
  for (i = 0; i < CERVELLO_IN_FLIGHT; i++) {
    cervello_free_reply(&c->requests[i].reply);
    c->requests[i].used = 0;
  }
  cervello_free_reply(&c->hello);
  free(c->in.bytes);
  free(c->out.bytes);
  memset(&c->in, 0, sizeof c->in);
  memset(&c->out, 0, sizeof c->out);
  c->out_sent = 0;
}

static cervello_policy *cervello__policy(cervello_client *c, const char *name, int add) {
  int i;
  for (i = 0; i < CERVELLO_POLICIES && c->policies[i].name[0]; i++) if (strcmp(c->policies[i].name, name) == 0) return &c->policies[i];
  if (!add || i == CERVELLO_POLICIES || strlen(name) >= CERVELLO_NAME || !name[0]) return NULL;
  strcpy(c->policies[i].name, name);
  return &c->policies[i];
}

/* One whole body. */
static void cervello__body(cervello_client *c, const uint8_t *bytes, size_t n_bytes) {
  const char *wrong = cervello_check(bytes, n_bytes);
  cervello_value whole, type, id, error, result;
  cervello_reply reply;
  int i;
  if (wrong) { cervello__finish(c, CERVELLO_DEAD_SERVER, wrong); return; }
  memset(&reply, 0, sizeof reply);
  reply.bytes = (uint8_t *)malloc(n_bytes);
  if (!reply.bytes) { cervello__finish(c, CERVELLO_DEAD_SERVER, "no memory for a reply"); return; }
  memcpy(reply.bytes, bytes, n_bytes);
  reply.n_bytes = n_bytes;
  whole.at = reply.bytes; whole.end = reply.bytes + n_bytes;
  type = cervello_first(whole); id = cervello_next(type); error = cervello_next(id); result = cervello_next(error);
  if (cervello_type_of(whole) != CERVELLO_ARRAY || cervello_count(whole) != 4 || cervello_int(type) != 1
      || (cervello_type_of(error) != CERVELLO_NIL && (cervello_type_of(error) != CERVELLO_ARRAY || cervello_count(error) != 3))) {
    free(reply.bytes);
    cervello__finish(c, CERVELLO_DEAD_SERVER, "a message that is no reply");
    return;
  }
  if (cervello_type_of(error) == CERVELLO_ARRAY) {
    cervello_value code = cervello_first(error);
    reply.code = (int)cervello_int(code);
    reply.error_text = cervello_next(code);
    reply.data = cervello_next(reply.error_text);
  } else reply.result = result;
  if (cervello_type_of(id) == CERVELLO_NIL) {
    char cause[128];
    size_t n;
    const uint8_t *text = cervello_bytes(reply.error_text, &n);
    snprintf(cause, sizeof cause, "code %d: %.*s", reply.code, (int)(n < 100 ? n : 100), text ? (const char *)text : "");
    free(reply.bytes);
    cervello__finish(c, reply.code == 11 ? CERVELLO_DRAINING : CERVELLO_DEAD_SERVER, cause);
    return;
  }
  for (i = 0; i < CERVELLO_IN_FLIGHT; i++) {
    cervello_request *r = &c->requests[i];
    if (r->used && !r->arrived && (int64_t)r->id == cervello_int(id)) { r->reply = reply; r->arrived = 1; return; }
  }
  free(reply.bytes); /* of a request that was forgotten */
}

cervello_status cervello_poll(cervello_client *c) {
  uint8_t bytes[65536];
  if (!c->fd_plus_1) return cervello__fail(c, c->end ? c->end : CERVELLO_BAD_CALL, "connect", c->end ? c->end_cause : "cervello_connect comes first");
  while (c->out_sent < c->out.n_bytes) {
    ssize_t n = send(c->fd_plus_1 - 1, c->out.bytes + c->out_sent, c->out.n_bytes - c->out_sent, MSG_NOSIGNAL);
    if (n < 0) break; /* full, or an end that reading tells, after the farewell */
    c->out_sent += (size_t)n;
  }
  if (c->out_sent == c->out.n_bytes) c->out_sent = c->out.n_bytes = 0;
  for (;;) {
    size_t at = 0;
    ssize_t n = recv(c->fd_plus_1 - 1, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return CERVELLO_OK;
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      cervello__finish(c, CERVELLO_DEAD_SERVER, n ? strerror(errno) : "the connection was closed");
      return cervello__fail(c, c->end, "receive", c->end_cause);
    }
    cervello__put(&c->in, bytes, (size_t)n);
    if (c->in.failed) cervello__finish(c, CERVELLO_DEAD_SERVER, "no memory for a reply");
    while (c->fd_plus_1 && c->in.n_bytes - at >= 4) {
      const uint8_t *head = c->in.bytes + at;
      uint32_t length = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
      if (length == 0 || length > c->frame_bytes) {
        char cause[96];
        snprintf(cause, sizeof cause, "a frame of %lu bytes; the limit is %lu", (unsigned long)length, (unsigned long)c->frame_bytes);
        cervello__finish(c, CERVELLO_DEAD_SERVER, cause);
      } else if (c->in.n_bytes - at - 4 < length) break;
      else {
        cervello__body(c, head + 4, length);
        at += 4 + (size_t)length;
      }
    }
    if (!c->fd_plus_1) return cervello__fail(c, c->end, "receive", c->end_cause);
    if (at) { memmove(c->in.bytes, c->in.bytes + at, c->in.n_bytes - at); c->in.n_bytes -= at; }
  }
}

static void cervello__sleep(cervello_client *c, int64_t until) {
  struct pollfd p;
  int64_t left = until - cervello__now_ms();
  p.fd = c->fd_plus_1 - 1;
  p.events = (short)(POLLIN | (c->out_sent < c->out.n_bytes ? POLLOUT : 0));
  p.revents = 0;
  if (left > 0) poll(&p, 1, (int)left);
}

cervello_status cervello_wait(cervello_client *c, uint32_t id, int timeout_ms, cervello_reply *reply) {
  int64_t until = cervello__now_ms() + timeout_ms;
  cervello_request *r = NULL;
  int i;
  memset(reply, 0, sizeof *reply);
  for (i = 0; i < CERVELLO_IN_FLIGHT; i++) if (c->requests[i].used && c->requests[i].id == id) r = &c->requests[i];
  if (!r) return cervello__fail(c, CERVELLO_BAD_CALL, "wait", "no such request");
  for (;;) {
    if (!r->arrived && c->fd_plus_1) cervello_poll(c);
    if (r->arrived) {
      char cause[160], step[sizeof r->step];
      size_t n;
      const uint8_t *text = cervello_bytes(r->reply.error_text, &n);
      *reply = r->reply;
      memcpy(step, r->step, sizeof step);
      memset(r, 0, sizeof *r);
      if (reply->code == 0) return CERVELLO_OK;
      snprintf(cause, sizeof cause, "code %d: %.*s", reply->code, (int)(n < 140 ? n : 140), text ? (const char *)text : "");
      return cervello__fail(c, reply->code == 11 ? CERVELLO_DRAINING : CERVELLO_REFUSED, step, cause);
    }
    if (!c->fd_plus_1) {
      char step[sizeof r->step];
      memcpy(step, r->step, sizeof step);
      memset(r, 0, sizeof *r);
      return cervello__fail(c, c->end, step, c->end_cause);
    }
    if (cervello__now_ms() >= until) {
      char cause[64];
      snprintf(cause, sizeof cause, "no reply within %d ms", timeout_ms);
      return cervello__fail(c, CERVELLO_TIMEOUT, r->step, cause);
    }
    cervello__sleep(c, until);
  }
}

void cervello_forget(cervello_client *c, uint32_t id) {
  int i;
  for (i = 0; i < CERVELLO_IN_FLIGHT; i++) if (c->requests[i].used && c->requests[i].id == id) {
    cervello_free_reply(&c->requests[i].reply);
    memset(&c->requests[i], 0, sizeof c->requests[i]);
  }
}

/* Begins a message: room for its length, the envelope, and a map of n_params. */
static void cervello__open(cervello_buffer *b, const char *method, const uint32_t *id, uint32_t number, size_t n_params) {
  memset(b, 0, sizeof *b);
  cervello__put(b, "\0\0\0\0", 4);
  cervello__array(b, id ? 4 : 3);
  cervello__uint(b, id ? 0 : 2);
  if (id) cervello__uint(b, number);
  cervello__str(b, method);
  cervello__array(b, 1);
  cervello__map(b, n_params);
}

static uint32_t cervello__number(cervello_client *c) {
  int i, again = 1;
  while (again) { /* an id in flight is not taken twice */
    again = 0;
    for (i = 0; i < CERVELLO_IN_FLIGHT; i++) if (c->requests[i].used && c->requests[i].id == c->next_id) { again = 1; c->next_id++; }
  }
  return c->next_id;
}

static void cervello__agents(cervello_buffer *b, const uint64_t *agents, size_t n) {
  size_t i;
  cervello__str(b, "agents");
  cervello__array(b, n);
  for (i = 0; i < n; i++) cervello__uint(b, agents[i]);
}

/* Puts a message into the send queue, or changes nothing; frees it. */
static cervello_status cervello__queue(cervello_client *c, cervello_buffer *b, const char *method, const char *policy, int begins, uint32_t *id) {
  cervello_request *r = NULL;
  cervello_policy *p = policy ? cervello__policy(c, policy, begins) : NULL;
  const char *wrong = NULL;
  cervello_status status = CERVELLO_BAD_CALL;
  uint32_t limit = c->server_frame_bytes ? c->server_frame_bytes : c->frame_bytes;
  size_t before = c->out.n_bytes, n = b->n_bytes - 4;
  int i, k;
  if (id) for (i = 0; i < CERVELLO_IN_FLIGHT && !r; i++) if (!c->requests[i].used) r = &c->requests[i];
  if (!c->fd_plus_1) { status = c->end ? c->end : status; wrong = c->end ? c->end_cause : "cervello_connect comes first"; }
  else if (p && p->lost && !begins) { status = CERVELLO_AGENTS_LOST; wrong = "its agents ended with the earlier connection; begin them anew"; }
  else if (begins && !p) wrong = "more than 64 policies, or a name of no or over 127 bytes";
  else if (id && !r) wrong = "64 requests are in flight; take or forget their replies";
  else if (b->failed) wrong = "no memory";
  else if (n > limit) wrong = "the frame is longer than the server takes";
  if (!wrong) {
    for (k = 0; k < 4; k++) b->bytes[k] = (uint8_t)(n >> (8 * k));
    cervello__put(&c->out, b->bytes, b->n_bytes);
    if (c->out.failed) { c->out.failed = 0; c->out.n_bytes = before; wrong = "no memory"; }
  }
  free(b->bytes);
  if (wrong) return cervello__fail(c, status, method, wrong);
  if (r) {
    memset(r, 0, sizeof *r);
    *id = r->id = cervello__number(c);
    r->used = 1;
    c->next_id++;
    snprintf(r->step, sizeof r->step, "%s", method);
  }
  if (begins) { p->begun = 1; p->lost = 0; }
  if (c->fd_plus_1) cervello_poll(c); /* what ends here is told by cervello_wait */
  return CERVELLO_OK;
}

static cervello_status cervello__bare(cervello_client *c, const char *method, const char *policy, uint32_t *id) {
  cervello_buffer b;
  cervello__open(&b, method, id, cervello__number(c), policy ? 1 : 0);
  if (policy) { cervello__str(&b, "policy"); cervello__str(&b, policy); }
  return cervello__queue(c, &b, method, policy, 0, id);
}

cervello_status cervello_send_ping(cervello_client *c, uint32_t *id) { return cervello__bare(c, "ping", NULL, id); }
cervello_status cervello_send_stats(cervello_client *c, uint32_t *id) { return cervello__bare(c, "stats", NULL, id); }
cervello_status cervello_send_spec(cervello_client *c, const char *policy, uint32_t *id) { return cervello__bare(c, "spec", policy, id); }

static void cervello__open_policy(cervello_client *c, cervello_buffer *b, const char *method, const uint32_t *id, size_t n_params, const char *policy) {
  cervello__open(b, method, id, id ? cervello__number(c) : 0, n_params);
  cervello__str(b, "policy");
  cervello__str(b, policy);
}

cervello_status cervello_send_begin(cervello_client *c, const char *policy, const uint64_t *agents, size_t n, const void *streams, uint32_t *id) {
  cervello_buffer b;
  cervello__open_policy(c, &b, "begin", id, streams ? 3 : 2, policy);
  cervello__agents(&b, agents, n);
  if (streams) { cervello__str(&b, "streams"); cervello__bin(&b, streams, 8 * n); }
  return cervello__queue(c, &b, "begin", policy, 1, id);
}

cervello_status cervello_send_infer(cervello_client *c, const char *policy, const uint64_t *agents, size_t n, const cervello_bin *inputs,
                                    size_t n_inputs, const cervello_infer_options *o, uint32_t *id) {
  cervello_infer_options none;
  cervello_buffer b;
  size_t i;
  memset(&none, 0, sizeof none);
  if (!o) o = &none;
  cervello__open_policy(c, &b, "infer", id, 3 + (size_t)(!!o->begin + !!o->deterministic.given + !!o->deadline_us + !!o->outputs + !!o->has_tick), policy);
  cervello__agents(&b, agents, n);
  cervello__bins(&b, "inputs", inputs, n_inputs);
  if (o->begin) { cervello__str(&b, "begin"); cervello__code(&b, 0xc3, 0, 0); }
  cervello__flags(&b, "deterministic", o->deterministic, n);
  if (o->deadline_us) { cervello__str(&b, "deadline_us"); cervello__uint(&b, o->deadline_us); }
  if (o->outputs) {
    cervello__str(&b, "outputs");
    cervello__array(&b, o->n_outputs);
    for (i = 0; i < o->n_outputs; i++) cervello__str(&b, o->outputs[i]);
  }
  if (o->has_tick) { cervello__str(&b, "tick"); cervello__uint(&b, o->tick); }
  return cervello__queue(c, &b, "infer", policy, o->begin != 0, id);
}

cervello_status cervello_send_reward(cervello_client *c, const char *policy, const uint64_t *agents, size_t n, const float *reward,
                                     const cervello_bin *actions, size_t n_actions, const uint64_t *tick, uint32_t *id) {
  cervello_buffer b;
  size_t i;
  int k;
  cervello__open_policy(c, &b, "reward", id, 3 + (n_actions ? 1u : 0u) + (tick ? 1u : 0u), policy);
  cervello__agents(&b, agents, n);
  cervello__str(&b, "reward");
  cervello__count(&b, 4 * n, 0, 0, 0xc4, 0xc5, 0xc6);
  for (i = 0; i < n; i++) { /* little-endian on every machine */
    uint8_t bytes[4];
    uint32_t bits;
    memcpy(&bits, &reward[i], 4);
    for (k = 0; k < 4; k++) bytes[k] = (uint8_t)(bits >> (8 * k));
    cervello__put(&b, bytes, 4);
  }
  if (n_actions) cervello__bins(&b, "actions", actions, n_actions);
  if (tick) { cervello__str(&b, "tick"); cervello__uint(&b, *tick); }
  return cervello__queue(c, &b, "reward", policy, 0, id);
}

cervello_status cervello_send_end(cervello_client *c, const char *policy, const uint64_t *agents, size_t n, cervello_flags terminated,
                                  cervello_flags truncated, const cervello_bin *inputs, size_t n_inputs, uint32_t *id) {
  cervello_buffer b;
  cervello__open_policy(c, &b, "end", id, 2 + (terminated.given ? 1u : 0u) + (truncated.given ? 1u : 0u) + (n_inputs ? 1u : 0u), policy);
  cervello__agents(&b, agents, n);
  cervello__flags(&b, "terminated", terminated, n);
  cervello__flags(&b, "truncated", truncated, n);
  if (n_inputs) cervello__bins(&b, "inputs", inputs, n_inputs);
  return cervello__queue(c, &b, "end", policy, 0, id);
}

cervello_status cervello_send_snapshot(cervello_client *c, const char *policy, const uint64_t *agents, size_t n, uint32_t *id) {
  cervello_buffer b;
  cervello__open_policy(c, &b, "snapshot", id, agents ? 2 : 1, policy);
  if (agents) cervello__agents(&b, agents, n);
  return cervello__queue(c, &b, "snapshot", policy, 0, id);
}

cervello_status cervello_send_restore(cervello_client *c, const char *policy, const void *state, size_t n_bytes, int keep, uint32_t *id) {
  cervello_buffer b;
  cervello__open_policy(c, &b, "restore", id, keep ? 3 : 2, policy);
  cervello__str(&b, "state");
  cervello__bin(&b, state, n_bytes);
  if (keep) { cervello__str(&b, "keep"); cervello__code(&b, 0xc3, 0, 0); }
  return cervello__queue(c, &b, "restore", policy, 1, id);
}

/* A socket that is connected within the time, or -1 and why. */
static int cervello__dial(const char *host, const char *port, int64_t until, const char **cause, cervello_status *status) {
  struct addrinfo hints, *found = NULL, *each;
  int fd = -1, error = 0, on = 1, wait_s = 60;
  memset(&hints, 0, sizeof hints);
  hints.ai_socktype = SOCK_STREAM;
  *status = CERVELLO_DEAD_SERVER;
  if (getaddrinfo(host, port, &hints, &found) != 0) { *cause = "no such host"; return -1; }
  for (each = found; each && fd < 0; each = each->ai_next) {
    struct pollfd p;
    socklen_t size = sizeof error;
    fd = socket(each->ai_family, each->ai_socktype, each->ai_protocol);
    if (fd < 0) { error = errno; continue; }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    error = connect(fd, each->ai_addr, each->ai_addrlen) ? errno : 0;
    if (error == EINPROGRESS) {
      int64_t left = until - cervello__now_ms();
      p.fd = fd;
      p.events = POLLOUT;
      p.revents = 0;
      if (poll(&p, 1, left > 0 ? (int)left : 0) == 1) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
      else *status = CERVELLO_TIMEOUT;
    }
    if (error) { close(fd); fd = -1; }
  }
  freeaddrinfo(found);
  if (fd < 0) { *cause = *status == CERVELLO_TIMEOUT ? "no connection within the time" : strerror(error); return -1; }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
#ifdef SO_NOSIGPIPE
  setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
#ifdef TCP_KEEPIDLE
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &wait_s, sizeof wait_s);
#else
  (void)wait_s;
#endif
  *status = CERVELLO_OK;
  return fd;
}

cervello_status cervello_connect(cervello_client *c, const char *address, const char *client_name, const char *token, int timeout_ms) {
  int64_t until = cervello__now_ms() + timeout_ms, left;
  const char *colon = strrchr(address, ':'), *cause = "expected tcp://host:port";
  char host[100];
  cervello_buffer b;
  cervello_status status = CERVELLO_BAD_CALL;
  uint32_t id;
  size_t n = 0;
  int i, fd = -1;
  if (c->fd_plus_1) return cervello__fail(c, CERVELLO_BAD_CALL, "connect", "already connected");
  cervello_close(c);
  if (strlen(address) >= sizeof c->address) return cervello__fail(c, CERVELLO_BAD_CALL, "connect", "an address of over 127 bytes");
  for (i = 0; i < CERVELLO_POLICIES; i++) { if (c->policies[i].begun) c->policies[i].lost = 1; c->policies[i].begun = 0; }
  snprintf(c->address, sizeof c->address, "%s", address);
  c->end = CERVELLO_OK;
  c->next_id = 0;
  c->server_frame_bytes = 0;
  c->frame_bytes = 16u << 20;
  if (strncmp(address, "tcp://", 6) == 0 && colon && colon > address + 6) {
    n = (size_t)(colon - address) - 6;
    if (n < sizeof host) {
      memcpy(host, address + 6, n);
      host[n] = 0;
      if (host[0] == '[' && host[n - 1] == ']') { memmove(host, host + 1, n - 2); host[n - 2] = 0; }
      fd = cervello__dial(host, colon + 1, until, &cause, &status);
    }
  }
  if (fd < 0) return cervello__fail(c, status, "connect", cause);
  c->fd_plus_1 = fd + 1;
  cervello__open(&b, "hello", &id, cervello__number(c), token ? 3 : 2);
  cervello__str(&b, "version");
  cervello__uint(&b, 1);
  cervello__str(&b, "client");
  cervello__str(&b, client_name);
  if (token) { cervello__str(&b, "token"); cervello__str(&b, token); }
  status = cervello__queue(c, &b, "hello", NULL, 0, &id);
  if (status != CERVELLO_OK) { cervello__finish(c, CERVELLO_DEAD_SERVER, "no memory"); return status; }
  left = until - cervello__now_ms();
  status = cervello_wait(c, id, left > 0 ? (int)left : 0, &c->hello);
  if (status != CERVELLO_OK) { cervello__finish(c, status, "hello failed"); return status; }
  c->server_frame_bytes = (uint32_t)cervello_int(cervello_get(cervello_get(c->hello.result, "limits"), "frame_bytes"));
  if (c->server_frame_bytes) c->frame_bytes = c->server_frame_bytes; /* it holds in both directions */
  return CERVELLO_OK;
}

#endif
#endif
