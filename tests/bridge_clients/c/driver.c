/* What test_clients.py asks of every language: `codec` reads bodies as hex lines; the other scenarios talk to an address. */
#define CERVELLO_IMPLEMENTATION
#include "cervello.h"

static cervello_client client;

static void hex(const uint8_t *bytes, size_t n) { while (n--) printf("%02x", *bytes++); }

static int by_bytes(const void *a, const void *b) {
  cervello_value x = *(const cervello_value *)a, y = *(const cervello_value *)b;
  size_t n_x, n_y, n;
  const uint8_t *of_x = cervello_bytes(x, &n_x), *of_y = cervello_bytes(y, &n_y);
  int order;
  n = n_x < n_y ? n_x : n_y;
  order = memcmp(of_x, of_y, n);
  return order ? order : n_x < n_y ? -1 : 1;
}

static void dump(cervello_value v) {
  size_t n, i, count = cervello_count(v);
  const uint8_t *bytes = cervello_bytes(v, &n);
  cervello_value each = cervello_first(v), *keys;
  double number;
  switch (cervello_type_of(v)) {
    case CERVELLO_NIL: printf("n"); break;
    case CERVELLO_BOOL: printf(cervello_int(v) ? "t" : "u"); break;
    case CERVELLO_INT: printf("%lld", (long long)cervello_int(v)); break;
    case CERVELLO_FLOAT:
      number = cervello_float(v);
      if (number == (double)(long long)number) printf("%lld", (long long)number);
      else printf("f%.16g", number);
      break;
    case CERVELLO_STR: case CERVELLO_BIN: printf(cervello_type_of(v) == CERVELLO_STR ? "s" : "b"); hex(bytes, n); break;
    case CERVELLO_ARRAY:
      printf("[");
      for (i = 0; i < count; i++, each = cervello_next(each)) { if (i) printf(","); dump(each); }
      printf("]");
      break;
    case CERVELLO_MAP:
      keys = (cervello_value *)calloc(count ? count : 1, sizeof *keys);
      for (i = 0; i < count; i++, each = cervello_next(cervello_next(each))) keys[i] = each;
      qsort(keys, count, sizeof *keys, by_bytes);
      printf("{");
      for (i = 0; i < count; i++) {
        bytes = cervello_bytes(keys[i], &n);
        if (i) printf(",");
        hex(bytes, n);
        printf(":");
        dump(cervello_next(keys[i]));
      }
      printf("}");
      free(keys);
      break;
    default: abort();
  }
}

/* Writes a value with the client's own writer. */
static void write_again(cervello_buffer *b, cervello_value v) {
  size_t n, i, count = cervello_count(v);
  const uint8_t *bytes = cervello_bytes(v, &n);
  cervello_value each = cervello_first(v);
  switch (cervello_type_of(v)) {
    case CERVELLO_BIN: cervello__bin(b, bytes, n); return;
    case CERVELLO_STR: {
      char *text = (char *)calloc(n + 1, 1);
      memcpy(text, bytes, n);
      cervello__str(b, text);
      free(text);
      return;
    }
    case CERVELLO_ARRAY: cervello__array(b, count); break;
    case CERVELLO_MAP: cervello__map(b, count); count *= 2; break;
    case CERVELLO_INT: if (cervello_int(v) >= 0) { cervello__uint(b, (uint64_t)cervello_int(v)); return; } /* fall through */
    default: cervello__put(b, v.at, (size_t)(cervello_next(v).at - v.at)); return; /* the client never writes these */
  }
  for (i = 0; i < count; i++, each = cervello_next(each)) write_again(b, each);
}

static int nibble(int c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

static void codec(void) {
  size_t room = 1 << 23, n, i;
  char *line = (char *)malloc(room);
  while (fgets(line, (int)room, stdin)) {
    cervello_value v;
    cervello_buffer b;
    const char *wrong;
    uint8_t *bytes;
    n = strcspn(line, "\n") / 2;
    bytes = (uint8_t *)malloc(n ? n : 1); /* of its size, so that the sanitizer sees a read beyond it */
    for (i = 0; i < n; i++) bytes[i] = (uint8_t)(nibble(line[2 * i]) << 4 | nibble(line[2 * i + 1]));
    wrong = cervello_check(bytes, n);
    if (wrong) printf("%s\n", wrong);
    else {
      v.at = bytes; v.end = bytes + n;
      memset(&b, 0, sizeof b);
      dump(v);
      printf(" ");
      write_again(&b, v);
      hex(b.bytes, b.n_bytes);
      printf("\n");
      free(b.bytes);
    }
    free(bytes);
  }
  free(line);
}

static const char *const KINDS[] = {"ok", "timeout", "draining", "agents_lost", "dead_server", "refused", "bad_call"};

static void told(cervello_status status, const char *step, cervello_reply *reply) {
  if (status == CERVELLO_OK) { dump(reply->result); printf("\n"); }
  else if (reply && reply->code) printf("%s|%s|%d|%s\n", KINDS[status], step, reply->code, client.error);
  else printf("%s|%s||%s\n", KINDS[status], step, client.error);
  if (reply) cervello_free_reply(reply);
}

static void finish(cervello_status status, const char *step, uint32_t id, int timeout_ms) {
  cervello_reply reply;
  memset(&reply, 0, sizeof reply);
  if (status == CERVELLO_OK) status = cervello_wait(&client, id, timeout_ms, &reply);
  told(status, step, &reply);
}

#define TOLD(step, call) do { status = call; finish(status, step, id, 20000); } while (0)

static float grid_values[3 * 64];

static cervello_bin grid(int count, int width, int step) {
  cervello_bin made = {"obs", grid_values, 0};
  int at;
  for (at = 0; at < count * width; at++) grid_values[at] = (float)((7 * (at / width) + 3 * step + at % width) % 11 - 5) / 4;
  made.n_bytes = (size_t)(count * width) * sizeof(float);
  return made;
}

static cervello_reply replied(cervello_status status, uint32_t id) {
  cervello_reply reply;
  memset(&reply, 0, sizeof reply);
  if (status != CERVELLO_OK || cervello_wait(&client, id, 20000, &reply) != CERVELLO_OK) {
    fprintf(stderr, "%s\n", client.error);
    exit(1);
  }
  return reply;
}

static int same(cervello_value a, cervello_value b) {
  size_t n_a = (size_t)(cervello_next(a).at - a.at), n_b = (size_t)(cervello_next(b).at - b.at);
  return n_a == n_b && memcmp(a.at, b.at, n_a) == 0;
}

/* Against a real server: see played() of test_served.py. */
static void play(const char *policy, int width, int steps) {
  uint64_t ids[3] = {1, 2, 3}, some[2] = {2, 1}, last[2] = {2, 3}, tick;
  float rewards[3] = {1.0f, 0.5f, -1.0f};
  uint8_t no[2] = {0, 0}, first[2] = {1, 0}, second[2] = {0, 1};
  cervello_flags none = {0, 0, NULL}, yes = {1, 1, NULL}, terminated = {1, 0, NULL}, truncated = {1, 0, NULL};
  cervello_infer_options timed = {0, {0, 0, NULL}, 0, NULL, 0, 1, 0}, beginning = {1, {1, 0, NULL}, 0, NULL, 0, 0, 0};
  const char *outputs[1] = {NULL};
  cervello_bin rows;
  cervello_reply saved, after, again;
  cervello_status status;
  const uint8_t *state;
  size_t n_state;
  uint32_t id = 0;
  int step;
  terminated.each = first; truncated.each = second; beginning.deterministic.each = no; beginning.outputs = outputs;
  TOLD("begin", cervello_send_begin(&client, policy, ids, 3, "\7\0\0\0\0\0\0\0\10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\100", &id));
  for (step = 0; step < steps; step++) {
    rows = grid(3, width, step);
    timed.tick = tick = (uint64_t)step;
    TOLD("infer", cervello_send_infer(&client, policy, ids, 3, &rows, 1, &timed, &id));
    TOLD("reward", cervello_send_reward(&client, policy, ids, 3, rewards, NULL, 0, &tick, &id));
  }
  status = cervello_send_snapshot(&client, policy, NULL, 0, &id);
  saved = replied(status, id);
  state = cervello_bytes(cervello_get(saved.result, "state"), &n_state);
  rows = grid(3, width, 1);
  status = cervello_send_infer(&client, policy, ids, 3, &rows, 1, NULL, &id);
  after = replied(status, id);
  TOLD("restore", cervello_send_restore(&client, policy, state, n_state, 0, &id));
  status = cervello_send_infer(&client, policy, ids, 3, &rows, 1, NULL, &id);
  again = replied(status, id);
  puts(same(cervello_get(after.result, "outputs"), cervello_get(again.result, "outputs")) ? "true" : "false");
  cervello_free_reply(&saved);
  cervello_free_reply(&after);
  cervello_free_reply(&again);
  rows = grid(1, width, steps);
  TOLD("end", cervello_send_end(&client, policy, ids, 1, yes, none, &rows, 1, &id));
  rows = grid(3, width, steps);
  TOLD("infer", cervello_send_infer(&client, policy, ids, 3, &rows, 1, NULL, &id));
  rows = grid(2, width, steps);
  TOLD("infer", cervello_send_infer(&client, policy, some, 2, &rows, 1, &beginning, &id));
  cervello_send_end(&client, policy, last, 2, terminated, truncated, NULL, 0, NULL);
  status = cervello_send_stats(&client, &id);
  saved = replied(status, id);
  printf("%lld\n", (long long)cervello_int(cervello_get(saved.result, "agents")));
  cervello_free_reply(&saved);
}

int main(int argc, char **argv) {
  const char *scenario = argv[1], *address = argc > 2 ? argv[2] : "", *policy = argc > 3 ? argv[3] : "", *rest = argc > 4 ? argv[4] : "";
  float obs[8] = {0.5f, -0.25f, 0.125f, 1.0f, -1.0f, 0.75f, 0.0f, 2.0f}, rewards[2] = {1.0f, -0.5f}, half = 0.5f;
  cervello_bin two = {"obs", obs, 32}, one = {"obs", obs, 16}, empty = {"obs", obs, 0}, action = {"action", "\1\0\0\0\0\0\0\0", 8};
  uint64_t agents[2] = {1, 2}, three = 3, tick = (UINT64_C(1) << 53) - 1;
  cervello_flags none = {0, 0, NULL}, yes = {1, 1, NULL}, terminated = {1, 0, (const uint8_t *)"\1\0"}, truncated = {1, 0, (const uint8_t *)"\0\1"};
  const char *outputs[] = {"action"};
  cervello_infer_options options = {1, {1, 0, (const uint8_t *)"\1"}, 5000000, NULL, 1, 1, 0}, no_outputs = {0, {0, 0, NULL}, 0, NULL, 0, 0, 0};
  cervello_status status;
  uint32_t id = 0, id_2 = 0;
  options.outputs = no_outputs.outputs = outputs;
  options.tick = tick;
  if (strcmp(scenario, "codec") == 0) { codec(); return 0; }
  status = cervello_connect(&client, address, "golden", NULL, strcmp(scenario, "connect") ? 2000 : 300);
  if (strcmp(scenario, "connect") == 0) {
    char step[16] = "connect";
    if (strstr(client.error, ", hello: ")) strcpy(step, "hello");
    told(status, step, &client.hello);
  } else if (status != CERVELLO_OK) {
    fprintf(stderr, "%s\n", client.error);
    return 1;
  }
  if (strcmp(scenario, "golden") == 0) {
    TOLD("ping", cervello_send_ping(&client, &id));
    TOLD("spec", cervello_send_spec(&client, policy, &id));
    TOLD("begin", cervello_send_begin(&client, policy, agents, 2, "\7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40", &id));
    TOLD("infer", cervello_send_infer(&client, policy, agents, 2, &two, 1, NULL, &id));
    TOLD("infer", cervello_send_infer(&client, policy, &three, 1, &one, 1, &options, &id));
    TOLD("infer", cervello_send_infer(&client, policy, agents, 0, &empty, 1, NULL, &id));
    TOLD("infer", cervello_send_infer(&client, policy, agents, 1, &one, 1, &no_outputs, &id));
    TOLD("reward", cervello_send_reward(&client, policy, agents, 2, rewards, NULL, 0, NULL, &id));
    TOLD("reward", cervello_send_reward(&client, policy, &three, 1, &half, &action, 1, &tick, &id));
    TOLD("snapshot", cervello_send_snapshot(&client, policy, agents, 2, &id));
    TOLD("end", cervello_send_end(&client, policy, agents, 2, terminated, truncated, &two, 1, &id));
    TOLD("end", cervello_send_end(&client, policy, &three, 1, yes, none, NULL, 0, &id));
    TOLD("stats", cervello_send_stats(&client, &id));
    cervello_send_reward(&client, policy, agents, 2, rewards, NULL, 0, NULL, NULL);
    cervello_send_end(&client, policy, agents, 2, none, none, NULL, 0, NULL);
    TOLD("ping", cervello_send_ping(&client, &id));
  } else if (strcmp(scenario, "fail") == 0) {
    status = cervello_send_infer(&client, policy, agents, 1, &one, 1, NULL, &id);
    finish(status, "infer", id, atoi(rest));
  } else if (strcmp(scenario, "overtaken") == 0) {
    cervello_send_infer(&client, "overtaken", agents, 2, &two, 1, NULL, &id_2);
    TOLD("ping", cervello_send_ping(&client, &id));
    finish(CERVELLO_OK, "infer", id_2, 2000);
  } else if (strcmp(scenario, "restart") == 0) {
    TOLD("begin", cervello_send_begin(&client, policy, agents, 2, NULL, &id));
    TOLD("infer", cervello_send_infer(&client, rest, agents, 1, &one, 1, NULL, &id));
    TOLD("ping", cervello_send_ping(&client, &id));
    if (cervello_connect(&client, address, "golden", NULL, 2000) != CERVELLO_OK) return 1;
    TOLD("infer", cervello_send_infer(&client, policy, agents, 2, &two, 1, NULL, &id));
    TOLD("begin", cervello_send_begin(&client, policy, agents, 2, NULL, &id));
    TOLD("infer", cervello_send_infer(&client, policy, agents, 2, &two, 1, NULL, &id));
  } else if (strcmp(scenario, "play") == 0) {
    play(policy, atoi(rest), atoi(argv[5]));
  } else if (strcmp(scenario, "outlive") == 0) { /* plays until the server has gone */
    uint64_t ids[3] = {1, 2, 3};
    cervello_bin rows = grid(3, atoi(rest), 0);
    cervello_reply reply;
    TOLD("begin", cervello_send_begin(&client, policy, ids, 3, NULL, &id));
    do {
      memset(&reply, 0, sizeof reply);
      status = cervello_send_infer(&client, policy, ids, 3, &rows, 1, NULL, &id);
      if (status == CERVELLO_OK) status = cervello_wait(&client, id, 20000, &reply);
      if (status == CERVELLO_OK) cervello_free_reply(&reply);
    } while (status == CERVELLO_OK);
    told(status, "infer", &reply);
  }
  cervello_close(&client);
  return 0;
}
