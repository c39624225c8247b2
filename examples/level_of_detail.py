"""A few thousand agents around a player in one runtime: those near decide in every frame, those far away now and then.

    python examples/level_of_detail.py

The player walks through a crowd. An agent's ring of distance sets its level: how often it decides, how urgent it is when the frame's time
does not suffice for everybody, and that its last action goes on in between. Printed per ring: how often its agents decided, and how long
the frames took that were given a budget.
"""

import time

import numpy as np

import cervello
from cervello.demo import policy_path

AGENTS, FRAMES, BUDGET_S = 3000, 240, 6e-3
SIZE, SPEED = 200.0, 0.4
RINGS = [(20.0, 1, 8.0), (50.0, 4, 2.0), (100.0, 8, 1.0), (np.inf, 16, 0.5)]  # distance, every so many frames, priority
EDGES = np.array([distance for distance, _, _ in RINGS])

random = np.random.default_rng(0)
at = random.uniform(0, SIZE, (AGENTS, 2)).astype(np.float32)
speed = np.zeros_like(at)
agents = list(range(AGENTS))

runtime = cervello.Runtime()
runtime.add("grazer", cervello.load(policy_path("grazer"), wrappers="auto", seed=1))
runtime.begin_agents("grazer", agents)
rings = np.full(AGENTS, -1)

decisions = np.zeros(len(RINGS), np.int64)
present = np.zeros(len(RINGS), np.int64)
held, took_s, game_s = 0, [], []
for number in range(FRAMES):
    angle = 2 * np.pi * number / FRAMES
    player = SIZE / 2 + SIZE / 3 * np.array([np.cos(angle), np.sin(angle)], np.float32)
    start = time.perf_counter()
    offset = player - at
    distance = np.hypot(*offset.T)
    now = np.searchsorted(EDGES, distance)
    for agent in np.flatnonzero(now != rings).tolist():  # only those that have come nearer or gone away
        _, every, priority = RINGS[now[agent]]
        runtime.set_level("grazer", agent, every=every, priority=priority, hold="last")
    rings = now

    obs = np.zeros((AGENTS, 16), np.float32)  # what a grazer sees: the player is its hunter, grass grows everywhere
    close = np.clip(1 - distance / 20, 0, 1)[:, None]
    obs[:, 2], obs[:, 3:5], obs[:, 5:6], obs[:, 13] = 0.5, offset / distance[:, None] * close, close, 0.7
    obs[:, 11:13] = speed / SPEED
    runtime.push_batch("grazer", agents, {"obs": obs})
    game_s.append(time.perf_counter() - start)

    frame = runtime.run(budget_s=BUDGET_S)
    took_s.append(frame.elapsed_s)
    actions = frame["grazer"]
    waiting = set(actions.skipped)
    decided = np.array([agent for agent in actions if agent not in waiting], np.int64)
    held += len(actions) - len(decided)
    decisions += np.bincount(now[decided], minlength=len(RINGS))
    present += np.bincount(now, minlength=len(RINGS))

    speed *= 0.4
    for agent, row in actions.items():
        speed[agent] += 0.6 * SPEED * row["action"]
    at = np.clip(at + speed, 0, SIZE)

inner = 0.0
for (outer, every, _), made, seen in zip(RINGS, decisions.tolist(), present.tolist(), strict=True):
    share = made / seen
    print(f"ring {inner:>3.0f} to {outer:>3.0f}: {seen / FRAMES:6.0f} agents, every {every:>2} frames; decided in {share:6.1%} of frames, "
          f"one in {1 / share:4.1f}")
    inner = outer
took_ms = np.array(took_s) * 1e3
print(f"{AGENTS} agents, {FRAMES} frames: {decisions.sum() / FRAMES:.0f} decisions per frame, {held / FRAMES:.0f} actions held")
print(f"frames of {BUDGET_S * 1e3:.1f} ms: median {np.median(took_ms):.2f} ms, 95 of 100 within {np.percentile(took_ms, 95):.2f} ms, "
      f"longest {took_ms.max():.2f} ms; the game's own part {np.median(game_s) * 1e3:.2f} ms")
