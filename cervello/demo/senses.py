"""Observations of each species: computes the policies' inputs from the arena's state.

The layouts are spelled out number by number in `cervello.demo.species`.
"""

from __future__ import annotations

import numpy as np

from cervello.demo.herd import FloatArray, Herd, IntArray
from cervello.demo.species import ALARM, FLASH_PERIOD, GRAZER, HEIGHT, HUNTER, IMAGE_SIDE, SIGHT, WIDTH
from cervello.demo.terrain import Terrain

REST_TICKS = 8
"""Ticks a hunter rests after a catch, during which it cannot catch again."""

_MARGIN = IMAGE_SIDE // 2
_FAR = np.float32(1e9)


def squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """Returns [A, B] float32 squared distances between positions a [A, 2] and b [B, 2]."""
    x = a[:, 0, None] - b[:, 0]
    y = a[:, 1, None] - b[:, 1]
    x *= x
    y *= y
    x += y
    return x


def perceive_as_grazer(grazers: Herd, hunters: Herd, terrain: Terrain) -> FloatArray:
    """Returns `obs` [L, 16] float32 of the L living grazers."""
    living, hunting = grazers.living(), hunters.living()
    position = grazers.position[living]
    rows = np.arange(len(living))
    obs = np.zeros((len(living), *GRAZER.observation_shape), np.float32)

    nearest = squared_distances(position, terrain.grass).argmin(axis=1)
    offset = terrain.grass[nearest] - position
    distance = np.hypot(offset[:, 0], offset[:, 1])
    obs[:, 0:2] = offset / np.maximum(distance, 1e-6)[:, None]
    obs[:, 2] = np.minimum(distance / SIGHT, 1.0)

    if len(hunting):
        squared = squared_distances(position, hunters.position[hunting])
        for column in (3, 6):
            nearest = squared.argmin(axis=1)
            offset = hunters.position[hunting[nearest]] - position
            distance = np.sqrt(squared[rows, nearest])
            closeness = np.clip(1.0 - distance / ALARM, 0.0, 1.0)
            obs[:, column : column + 2] = offset * (closeness / np.maximum(distance, 1e-6))[:, None]
            obs[:, column + 2] = closeness
            if column == 3:
                seen = closeness > 0.0
                obs[:, 9:11] = hunters.velocity[hunting[nearest]] / HUNTER.max_speed * seen[:, None]
            squared[rows, nearest] = _FAR  # so that the second round finds the second nearest

    obs[:, 11:13] = grazers.velocity[living] / GRAZER.max_speed
    obs[:, 13] = grazers.energy[living]
    obs[:, 14:16] = _wall_push(position)
    return obs


def perceive_as_hunter(hunters: Herd, grazers: Herd, tick: int) -> FloatArray:
    """Returns `obs` [L, 9] float32 of the L living hunters; the flashes are staggered by agent id."""
    living, fleeing = hunters.living(), grazers.living()
    position = hunters.position[living]
    obs = np.zeros((len(living), *HUNTER.observation_shape), np.float32)

    flashed = np.flatnonzero((hunters.ids[living] + tick) % FLASH_PERIOD == 0)
    obs[flashed, 0] = 1.0
    if len(fleeing) and len(flashed):
        near = squared_distances(position[flashed], grazers.position[fleeing]).argmin(axis=1)
        prey = fleeing[near]
        offset = grazers.position[prey] - position[flashed]
        distance = np.hypot(offset[:, 0], offset[:, 1])
        obs[flashed, 1:3] = offset / np.maximum(distance, SIGHT)[:, None]
        obs[flashed, 3:5] = grazers.velocity[prey] / GRAZER.max_speed

    obs[:, 5] = hunters.rest[living] / REST_TICKS
    obs[:, 6] = hunters.energy[living]
    obs[:, 7:9] = _wall_push(position)
    return obs


def perceive_as_scout(scouts: Herd, hunters: Herd, terrain: Terrain) -> FloatArray:
    """Returns `image` [L, 3, IMAGE_SIDE, IMAGE_SIDE] float32 of the L living scouts; rows grow with y."""
    ground = np.zeros((3, HEIGHT + 2 * _MARGIN, WIDTH + 2 * _MARGIN), np.float32)
    ground[0, terrain.berry[:, 1] + _MARGIN, terrain.berry[:, 0] + _MARGIN] = 1.0
    hunting = cells(hunters.position[hunters.living()])
    ground[1, hunting[:, 1] + _MARGIN, hunting[:, 0] + _MARGIN] = 1.0
    ground[2] = 1.0
    ground[2, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = terrain.blocked
    windows = np.lib.stride_tricks.sliding_window_view(ground, (IMAGE_SIDE, IMAGE_SIDE), axis=(1, 2))
    seen = cells(scouts.position[scouts.living()])
    return np.ascontiguousarray(windows.transpose(1, 2, 0, 3, 4)[seen[:, 1], seen[:, 0]])


def cells(position: FloatArray) -> IntArray:
    """Returns the grid cells [L, 2] int64 (column, row) of positions [L, 2]."""
    return position.astype(np.int64)


def _wall_push(position: FloatArray) -> FloatArray:
    reach = SIGHT / 2
    size = np.array([WIDTH, HEIGHT], np.float32)
    near, far = np.clip(1.0 - position / reach, 0.0, 1.0), np.clip(1.0 - (size - position) / reach, 0.0, 1.0)
    push: FloatArray = (near - far).astype(np.float32, copy=False)
    return push
