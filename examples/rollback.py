"""Rollback netcode: two players in lockstep, whose NPCs are recurrent and noisy policies.

    python examples/rollback.py

The other player's inputs arrive some ticks late, so the game goes on with a guess. When a guess was wrong, everything goes back to the
snapshot of that tick, NPCs included, and the ticks since then are simulated again. That works because a restored runtime decides bitwise
what it decided before: memory, noise, agents that began and ended meanwhile. Each tick is held against a game without latency.
"""

import time
import zlib
from statistics import median
from typing import Any

import numpy as np

import cervello
from cervello.demo import policy_path

TICKS, HUNTERS, GRAZERS, MOST_LATE = 240, 40, 60, 8
SIZE, SIGHT, SPEEDS = 40.0, 10.0, {"hunter": 0.35, "grazer": 0.45}
MOVES = np.array([(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)], np.float32)


def toward(at: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offset [N, 2] to the nearest target and its distance [N, 1]."""
    offsets = targets[None] - at[:, None]
    squared = (offsets**2).sum(2)
    nearest = squared.argmin(1)
    rows = np.arange(len(at))
    return offsets[rows, nearest], np.sqrt(squared[rows, nearest])[:, None] + np.float32(1e-6)


class Game:
    """Hunters seek the players, grazers flee from hunters; whoever is caught sends the hunter back to its den, as another agent."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.runtime = cervello.Runtime()
        self.at = {name: random.uniform(0, SIZE, (n, 2)).astype(np.float32) for name, n in (("hunter", HUNTERS), ("grazer", GRAZERS))}
        self.at["player"] = np.array([[10, 20], [30, 20]], np.float32)
        self.speed = {name: np.zeros_like(self.at[name]) for name in SPEEDS}
        self.ids = {"hunter": np.arange(HUNTERS), "grazer": np.arange(GRAZERS)}
        self.number = self.born = 0
        for name in SPEEDS:
            self.runtime.add(name, cervello.load(policy_path(name), wrappers="auto", seed=7), measure=False)
            self.runtime.begin_agents(name, self.ids[name])

    def save(self) -> Any:
        plain = {name: (self.at[name].copy(), self.speed[name].copy(), self.ids[name].copy()) for name in SPEEDS}
        return self.runtime.snapshot(), plain, self.at["player"].copy(), self.number, self.born

    def load(self, saved: Any) -> None:
        state, plain, players, self.number, self.born = saved
        self.runtime.restore(state)
        for name, arrays in plain.items():
            self.at[name], self.speed[name], self.ids[name] = (array.copy() for array in arrays)
        self.at["player"] = players.copy()

    def observe(self, name: str) -> np.ndarray:
        at = self.at[name]
        obs = np.zeros((len(at), 9 if name == "hunter" else 16), np.float32)
        offset, distance = toward(at, self.at["player"] if name == "hunter" else self.at["hunter"])
        if name == "hunter":  # it sees its prey in every eighth tick only, and must remember
            flashed = (np.arange(len(at)) + self.number) % 8 == 0
            obs[flashed, 0], obs[flashed, 1:3], obs[:, 6] = 1, (offset / np.maximum(distance, SIGHT))[flashed], 0.5
        else:
            close = np.clip(1 - distance / 6, 0, 1)
            home = SIZE / 2 - at
            obs[:, 0:2], obs[:, 2], obs[:, 3:5], obs[:, 5:6] = home / SIZE, 1, offset / distance * close, close
            obs[:, 11:13], obs[:, 13] = self.speed[name] / SPEEDS[name], 0.5
        return obs

    def tick(self, moves: tuple[int, int]) -> int:
        """One tick with both players' moves; returns a checksum of everything."""
        for name in SPEEDS:
            self.runtime.push_batch(name, self.ids[name], {"obs": self.observe(name)})
        frame = self.runtime.run()
        for name in SPEEDS:
            actions = np.stack([frame[name][agent]["action"] for agent in self.ids[name].tolist()])
            self.speed[name] = np.float32(0.4) * self.speed[name] + np.float32(0.6 * SPEEDS[name]) * actions
            self.at[name] = np.clip(self.at[name] + self.speed[name], 0, np.float32(SIZE))
        self.at["player"] = np.clip(self.at["player"] + np.float32(0.5) * MOVES[list(moves)], 0, np.float32(SIZE))
        caught = np.flatnonzero(toward(self.at["hunter"], self.at["player"])[1][:, 0] < 0.8)
        if len(caught):
            self.runtime.end_agents("hunter", self.ids["hunter"][caught])
            self.ids["hunter"][caught] = HUNTERS + self.born + np.arange(len(caught))
            self.born += len(caught)
            self.at["hunter"][caught], self.speed["hunter"][caught] = 0, 0
            self.runtime.begin_agents("hunter", self.ids["hunter"][caught])
        self.number += 1
        return zlib.crc32(b"".join(array.tobytes() for array in (*self.at.values(), *self.speed.values(), *self.ids.values())))


random = np.random.default_rng(1)
script = np.repeat(random.integers(0, len(MOVES), (TICKS // 6, 2)), 6, 0).tolist()  # what the players really do
arrival = np.maximum.accumulate(np.arange(TICKS) + random.integers(0, MOST_LATE + 1, TICKS)).tolist()
without = Game()
truth = [without.tick((a, b)) for a, b in script]

game = Game()
saved, guessed, sums, costs = [None] * TICKS, [0] * TICKS, [0] * TICKS, {"save": [], "load": []}
rollbacks = again = known = 0


def timed(what: str, *arguments: Any) -> Any:
    start = time.perf_counter()
    found = getattr(game, what)(*arguments)
    costs[what].append(time.perf_counter() - start)
    return found


def play(tick: int) -> None:
    """A tick with what is known of the other player, or else the move that was known last."""
    saved[tick] = timed("save")
    guessed[tick] = script[tick][1] if tick < known else script[known - 1][1] if known else 0
    sums[tick] = game.tick((script[tick][0], guessed[tick]))


for tick in range(TICKS + MOST_LATE):
    before, known = known, sum(when <= tick for when in arrival)
    wrong = [past for past in range(before, min(known, tick)) if guessed[past] != script[past][1]]
    if wrong:
        timed("load", saved[wrong[0]])
        for past in range(wrong[0], min(tick, TICKS)):
            play(past)
            again += 1
        rollbacks += 1
        right = min(known, tick)
        assert sums[:right] == truth[:right], f"tick {tick}: expected the frames of a game without latency"
    if tick < TICKS:
        play(tick)

assert sums == truth
save_us, load_us = (median(costs[what]) * 1e6 for what in ("save", "load"))
print(f"{TICKS} ticks, {HUNTERS} hunters and {GRAZERS} grazers, inputs up to {MOST_LATE} ticks late")
print(f"{rollbacks} rollbacks, {again} ticks simulated again, {game.born} hunters came after the first")
print(f"after each rollback all ticks whose inputs are known were bitwise those without latency; at the end all {TICKS} are")
print(f"a snapshot takes {save_us:.0f} µs and {len(saved[-1][0]):,} bytes, a restore {load_us:.0f} µs")
