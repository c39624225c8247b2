"""The ground of the arena: rocks that block all agents, grass for grazers, berries for scouts.

Food grows back at once elsewhere, mostly beside food that still stands, so that it comes in clumps.
"""

from __future__ import annotations

import numpy as np

from cervello.demo.herd import BoolArray, FloatArray, IntArray
from cervello.demo.species import HEIGHT, WIDTH

GRASS = 260
BERRIES = 300

_ROCK_CLUSTERS = 16
_ROCK_CLUSTER_STEPS = 14
_CLUMP_SPREAD = 2.5
_CLUMP_CHANCE = 0.6  # much more, and in a long match all food gathers in one place
_SHORE = 0.3  # how near an agent's centre may come to the outer wall, units


class Terrain:
    """Mutable ground; rocks never change, food does.

    Attributes:
      blocked: [HEIGHT, WIDTH] bool, True where rock lies; indexed row (y) first.
      grass: [GRASS, 2] float32 positions (x, y).
      berry: [BERRIES, 2] int64 cells (column, row); two berries may share a cell.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self.blocked: BoolArray = _scatter_rocks(random)
        rows, columns = np.nonzero(~self.blocked)
        self._free: IntArray = np.stack([columns, rows], axis=1).astype(np.int64)
        self.grass: FloatArray = self.free_positions(GRASS)
        self.berry: IntArray = self._free[random.integers(len(self._free), size=BERRIES)]
        # Growing everything back once turns the uniform start into clumps.
        self.regrow_grass(np.arange(GRASS))
        self.regrow_berries(np.arange(BERRIES))

    def free_positions(self, count: int) -> FloatArray:
        """Draws [count, 2] float32 positions, uniform over the cells without rock."""
        cells = self._free[self._random.integers(len(self._free), size=count)]
        return (cells + self._random.uniform(_SHORE, 1.0 - _SHORE, size=(count, 2))).astype(np.float32)

    def regrow_grass(self, eaten: IntArray) -> None:
        """Moves the grass with indices `eaten` [k] to new free places."""
        self.grass[eaten] = self._near(self.grass, len(eaten))

    def regrow_berries(self, eaten: IntArray) -> None:
        """Moves the berries with indices `eaten` [k] to new free cells."""
        self.berry[eaten] = self._near((self.berry + 0.5).astype(np.float32), len(eaten)).astype(np.int64)

    def walk(self, position: FloatArray, velocity: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Moves [L, 2] positions by [L, 2] velocities; an agent that is blocked slides along the obstacle.

        Returns:
          position, velocity: [L, 2] float32 each, after the move; a blocked velocity component is 0.
        """
        # One axis at a time, so that the other component survives a collision: that is the sliding.
        x = np.clip(position[:, 0] + velocity[:, 0], _SHORE, WIDTH - _SHORE)
        y = position[:, 1]
        x = np.where(self.blocked[y.astype(np.int64), x.astype(np.int64)], position[:, 0], x)
        y = np.clip(position[:, 1] + velocity[:, 1], _SHORE, HEIGHT - _SHORE)
        y = np.where(self.blocked[y.astype(np.int64), x.astype(np.int64)], position[:, 1], y)
        moved = np.stack([x, y], axis=1)
        return moved, np.where(moved == position, np.float32(0.0), velocity)

    def _near(self, food: FloatArray, count: int) -> FloatArray:
        parents = food[self._random.integers(len(food), size=count)]
        places = parents + self._random.normal(0.0, _CLUMP_SPREAD, size=(count, 2)).astype(np.float32)
        cells = places.astype(np.int64)
        inside = (places > _SHORE).all(axis=1) & (places[:, 0] < WIDTH - _SHORE) & (places[:, 1] < HEIGHT - _SHORE)
        rocky = self.blocked[cells[:, 1].clip(0, HEIGHT - 1), cells[:, 0].clip(0, WIDTH - 1)]
        elsewhere = ~inside | rocky | (self._random.random(count) > _CLUMP_CHANCE)
        places[elsewhere] = self.free_positions(int(elsewhere.sum()))
        return places


def _scatter_rocks(random: np.random.Generator) -> BoolArray:
    blocked = np.zeros((HEIGHT, WIDTH), np.bool_)
    for _ in range(_ROCK_CLUSTERS):
        column, row = int(random.integers(4, WIDTH - 4)), int(random.integers(4, HEIGHT - 4))
        for _ in range(_ROCK_CLUSTER_STEPS):
            blocked[row, column] = True
            column = int(np.clip(column + random.integers(-1, 2), 2, WIDTH - 3))
            row = int(np.clip(row + random.integers(-1, 2), 2, HEIGHT - 3))
    return ~_reachable(~blocked)


def _reachable(free: BoolArray) -> BoolArray:
    """Returns the cells of `free` that can be walked to from cell (0, 0): no agent is born into a closed hole."""
    reached = np.zeros_like(free)
    reached[0, 0] = True
    while True:
        wider = reached.copy()
        # No diagonals: a body cannot squeeze between two rocks that touch at a corner.
        wider[1:] |= reached[:-1]
        wider[:-1] |= reached[1:]
        wider[:, 1:] |= reached[:, :-1]
        wider[:, :-1] |= reached[:, 1:]
        wider &= free
        if (wider == reached).all():
            return reached
        reached = wider
