"""Episodes to record and compare, and a plain recorder that keeps them in lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cervello import recording
from cervello.recording import Episode


def write_crowd(path: Path, n_rows: int = 3, n_ticks: int = 12, seed: int = 0, **options: Any) -> list[Episode]:
    """Records n_rows episodes at a time, interleaved, each ended with chance 1/4 and followed by another; returns what was recorded, in
    the order in which the episodes ended, the unfinished last."""
    rng = np.random.default_rng(seed)
    ended: list[Episode] = []
    with recording.Writer(path, **options) as log:

        def begin(n: int) -> tuple[Any, list[dict[str, Any]]]:
            first = rng.normal(size=(n, 4)).astype(np.float32)
            handles = log.begin(observation=first, infos={"lives": np.full(n, 3)}, agent=[f"a{i}" for i in range(n)])
            return handles, [{"observations": [row], "actions": [], "rewards": [], "log_prob": [], "flags": [], "speed": [np.nan],
                              "lives": [3], "agent": f"a{i}"} for i, row in enumerate(first)]

        handles, lives = begin(n_rows)
        number = list(range(n_rows))
        begun = n_rows
        for tick in range(n_ticks):
            columns = {"observations": rng.normal(size=(n_rows, 4)).astype(np.float32), "actions": rng.integers(0, 5, n_rows),
                       "rewards": rng.normal(size=n_rows), "log_prob": rng.normal(size=n_rows).astype(np.float32)}
            terminated, truncated = rng.random(n_rows) < 0.15, rng.random(n_rows) < 0.1
            infos = {"speed": rng.normal(size=n_rows)} if tick % 3 == 1 else {}
            log.step(handles, columns["observations"], columns["actions"], columns["rewards"], terminated=terminated, truncated=truncated,
                     log_prob=columns["log_prob"], infos=infos)
            for i, life in enumerate(lives):
                for name, column in columns.items():
                    life[name].append(column[i])
                life["flags"].append((terminated[i], truncated[i]))
                life["speed"].append(infos["speed"][i] if infos else np.nan)
                life["lives"].append(0)
            for i in np.flatnonzero(terminated | truncated):
                ended.append(as_recorded(number[i], lives[i]))
                fresh, life = begin(1)
                handles[i], lives[i], number[i] = fresh[0], life[0], begun
                begun += 1
    open_ones = sorted(zip(number, lives, strict=True), key=lambda pair: pair[0])
    return ended + [as_recorded(at, life) for at, life in open_ones if life["actions"]]


def as_recorded(number: int, life: dict[str, Any]) -> Episode:
    """What must be read of a life."""
    flags = np.array(life["flags"])
    T = len(life["actions"])
    speed = np.array(life["speed"])
    infos: dict[str, Any] = {"lives": np.array(life["lives"]), "_lives": np.arange(T + 1) == 0}
    if np.isfinite(speed).any():
        infos |= {"speed": speed, "_speed": np.isfinite(speed)}
    return Episode(number, np.array(life["observations"]), np.array(life["actions"]), np.array(life["rewards"]), flags[:, 0], flags[:, 1],
                   infos, log_prob=np.array(life["log_prob"]), agent=life["agent"])


def all_the_same(found: list[Episode], expected: list[Episode]) -> bool:
    """Equal episodes, bit for bit, with equal numbers, in the same order."""
    return [each.id for each in found] == [each.id for each in expected] and all(map(recording.same, found, expected))
