"""A herd: the places of one species, each holding a living agent or waiting for a newborn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cervello.demo.species import Species

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Life:
    """One agent's finished episode.

    Fields:
      agent_id: the id it had; ids are never used twice.
      total_reward: sum of rewards over the whole life, the episode's return.
      born_tick: tick at which it was born.
      ticks: how many ticks it lived.
      cause: "caught", "starved" or "aged".
    """

    agent_id: int
    total_reward: float
    born_tick: int
    ticks: int
    cause: str


class Herd:
    """Mutable arrays of one species, one row per place; `alive` tells which rows mean something.

    Attributes (n = capacity):
      species: whose places these are.
      alive: [n] bool.
      ids: [n] int64 agent ids.
      position: [n, 2] float32, units. velocity: [n, 2] float32, units per tick.
      energy: [n] float32, 0..1.
      age, lifespan, born_tick: [n] int64, ticks.
      rest: [n] int64, ticks until a hunter may catch again.
      reward: [n] float32, reward of the latest tick, kept even if the place changed hands at its end.
      total_reward: [n] float64, rewards so far in the life.
    """

    def __init__(self, species: Species) -> None:
        n = species.capacity
        self.species = species
        self.alive: BoolArray = np.zeros(n, np.bool_)
        self.ids: IntArray = np.full(n, -1, np.int64)
        self.position: FloatArray = np.zeros((n, 2), np.float32)
        self.velocity: FloatArray = np.zeros((n, 2), np.float32)
        self.energy: FloatArray = np.zeros(n, np.float32)
        self.age: IntArray = np.zeros(n, np.int64)
        self.lifespan: IntArray = np.zeros(n, np.int64)
        self.born_tick: IntArray = np.zeros(n, np.int64)
        self.rest: IntArray = np.zeros(n, np.int64)
        self.reward: FloatArray = np.zeros(n, np.float32)
        self.total_reward: npt.NDArray[np.float64] = np.zeros(n, np.float64)

    def living(self) -> IntArray:
        """Returns the places of the living, [L] int64 ascending; observations and actions follow this order."""
        return np.flatnonzero(self.alive).astype(np.int64, copy=False)

    def settle(
        self, places: IntArray, ids: IntArray, position: FloatArray, lifespan: IntArray, energy: float, tick: int
    ) -> None:
        """Puts newborns with `ids` [k] and `position` [k, 2] into `places` [k]."""
        self.alive[places] = True
        self.ids[places] = ids
        self.position[places] = position
        self.velocity[places] = 0.0
        self.energy[places] = energy
        self.age[places] = 0
        self.lifespan[places] = lifespan
        self.born_tick[places] = tick
        self.rest[places] = 0
        self.total_reward[places] = 0.0

    def bury(self, places: IntArray, causes: list[str]) -> tuple[Life, ...]:
        """Empties `places` [k] and returns the lives that ended there, in the same order."""
        self.alive[places] = False
        return tuple(
            Life(
                agent_id=int(self.ids[place]),
                total_reward=float(self.total_reward[place]),
                born_tick=int(self.born_tick[place]),
                ticks=int(self.age[place]),
                cause=cause,
            )
            for place, cause in zip(places.tolist(), causes, strict=True)
        )


def shortened(vector: FloatArray) -> FloatArray:
    """Returns vectors [N, 2] with those longer than 1 shortened to 1."""
    length = np.hypot(vector[:, 0], vector[:, 1])
    return (vector / np.maximum(length, 1.0)[:, None]).astype(np.float32, copy=False)
