/* Sixteen agents, played for a hundred frames: cc -std=c99 example.c -o example && ./example tcp://127.0.0.1:5577 cartpole */
#define CERVELLO_IMPLEMENTATION
#include "cervello.h"

int main(int argc, char **argv) {
  const char *address = argc > 1 ? argv[1] : "tcp://127.0.0.1:5577", *policy = argc > 2 ? argv[2] : "cartpole";
  static cervello_client client;
  cervello_reply reply = {0};
  cervello_flags none = {0, 0, 0};
  uint64_t ids[16];
  float observations[16][4] = {{0}}, rewards[16];
  cervello_bin input = {"obs", observations, sizeof observations};
  uint32_t id;
  int i, frame, ok = 1;
  for (i = 0; i < 16; i++) { ids[i] = (uint64_t)i; rewards[i] = 1; }
  ok = cervello_connect(&client, address, "example", 0, 2000) == CERVELLO_OK
    && cervello_send_begin(&client, policy, ids, 16, 0, &id) == CERVELLO_OK && cervello_wait(&client, id, 2000, &reply) == CERVELLO_OK;
  if (ok) cervello_free_reply(&reply);
  for (frame = 0; ok && frame < 100; frame++) {
    ok = cervello_send_infer(&client, policy, ids, 16, &input, 1, 0, &id) == CERVELLO_OK;
    /* the frame's physics run here, while the server decides; cervello_wait with 0 never waits */
    if (!ok || cervello_wait(&client, id, 2000, &reply) != CERVELLO_OK) { ok = 0; break; }
    cervello_value actions = cervello_get(cervello_get(reply.result, "outputs"), "action");
    size_t n_bytes, row, n = cervello_count(cervello_get(reply.result, "agents"));
    const uint8_t *bytes = cervello_bytes(actions, &n_bytes); /* int64 each, little-endian; nobody was skipped, as there is no deadline */
    for (row = 0; row < n && 8 * row < n_bytes; row++) observations[row][2] += bytes[8 * row] ? 0.01f : -0.01f;
    cervello_free_reply(&reply);
    ok = cervello_send_reward(&client, policy, ids, 16, rewards, 0, 0, 0, 0) == CERVELLO_OK;
  }
  ok = ok && cervello_send_end(&client, policy, ids, 16, none, none, &input, 1, &id) == CERVELLO_OK
    && cervello_wait(&client, id, 2000, &reply) == CERVELLO_OK;
  puts(ok ? "100 frames" : client.error);
  cervello_free_reply(&reply);
  cervello_close(&client);
  return !ok;
}
