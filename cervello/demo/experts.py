"""Scripted players: teachers of the hunter and the scout, and sparring partners during training.

They read the same observations as the policies (the hunter's also its own past actions), never the arena.
"""

from __future__ import annotations

import numpy as np

from cervello.demo.herd import BoolArray, FloatArray, IntArray, shortened
from cervello.demo.species import GRAZER, HUNTER, IMAGE_SIDE, INERTIA, SCOUT_DIRECTIONS, SIGHT

_FLIGHT_CLOSENESS = 0.4
_LEAD_TICKS = 2.0
_BRAKING_DISTANCE = 0.8  # units; nearer than this to where the prey should be, the hunter slows down
_DANGER = 0.35
_DISCOUNT = 0.8
_ROUNDS = 7


def graze(obs: FloatArray) -> FloatArray:
    """Returns [N, 2] actions from grazer observations [N, 16]: away from a close hunter, else to the grass."""
    flight = -obs[:, 3:5] * (obs[:, 5:6] > _FLIGHT_CLOSENESS) * 3.0 - obs[:, 6:8] * (obs[:, 8:9] > _FLIGHT_CLOSENESS)
    wish = obs[:, 0:2] + 2.0 * flight + 0.5 * obs[:, 14:16] * (obs[:, 5:6] > _FLIGHT_CLOSENESS)
    return shortened(wish)


class TrackingHunter:
    """Remembers where the prey was, moves the memory by both velocities, and runs there. One row per place.

    Mutable attributes (n places):
      offset: [n, 2] believed offset of the prey, units.
      drift: [n, 2] believed velocity of the prey, units per tick.
      own: [n, 2] own velocity as far as the own actions tell it, units per tick.
    """

    def __init__(self, places: int) -> None:
        self.offset = np.zeros((places, 2), np.float32)
        self.drift = np.zeros((places, 2), np.float32)
        self.own = np.zeros((places, 2), np.float32)

    def forget(self, places: IntArray | BoolArray) -> None:
        """Clears the memory of `places`, which newborns have taken."""
        for memory in (self.offset, self.drift, self.own):
            memory[places] = 0.0

    def act(self, places: IntArray, obs: FloatArray) -> FloatArray:
        """Returns [L, 2] actions of `places` [L] from hunter observations [L, 9]."""
        flash = obs[:, 0:1] > 0.5
        self.offset[places] = np.where(flash, obs[:, 1:3] * SIGHT, self.offset[places])
        self.drift[places] = np.where(flash, obs[:, 3:5] * GRAZER.max_speed, self.drift[places] * 0.9)
        goal = self.offset[places] + _LEAD_TICKS * self.drift[places]
        return shortened((goal / _BRAKING_DISTANCE).astype(np.float32, copy=False))

    def moved(self, places: IntArray, action: FloatArray) -> None:
        """Learns what was really done: `action` [L, 2], the expert's own or a pupil's."""
        wish = HUNTER.max_speed * shortened(action)
        self.own[places] = INERTIA * self.own[places] + (1 - INERTIA) * wish
        self.offset[places] += self.drift[places] - self.own[places]


def gather(image: FloatArray) -> IntArray:
    """Returns [N] directions from scout images [N, 3, S, S]: towards the nearest berry, around rocks and hunters.

    Value iteration within the view: a berry is worth 1, every step discounts, cells near a hunter are worth less.
    """
    direction: IntArray = direction_values(image).argmax(axis=1).astype(np.int64)
    return direction


def direction_values(image: FloatArray) -> FloatArray:
    """Returns [N, 8] float32, what each direction is worth to a scout that sees `image` [N, 3, S, S]."""
    open_cells = 1.0 - image[:, 2]
    near_hunter = _neighbours(image[:, 1]).max(axis=1)
    comfort = open_cells * np.where(np.maximum(near_hunter, image[:, 1]) > 0, np.float32(_DANGER), np.float32(1.0))
    # Open cells at the rim are worth a little: with no berry in sight it is better to walk on than to stand.
    rim = np.zeros((IMAGE_SIDE, IMAGE_SIDE), np.float32)
    rim[[0, -1], :] = rim[:, [0, -1]] = 0.2
    prize = np.maximum(image[:, 0], rim) * comfort
    prize[:, IMAGE_SIDE // 2, IMAGE_SIDE // 2] = 0.0
    value = prize
    for _ in range(_ROUNDS):
        value = np.maximum(prize, _DISCOUNT * comfort * _neighbours(value).max(axis=1))
    middle = IMAGE_SIDE // 2
    return _neighbours(value)[:, :, middle, middle]


def _neighbours(plane: FloatArray) -> FloatArray:
    """Returns [N, 8, S, S]: for each cell of `plane` [N, S, S] its neighbour in each of the eight directions, 0 outside."""
    padded = np.pad(plane, ((0, 0), (1, 1), (1, 1)), constant_values=0.0)
    side = plane.shape[1]
    shifts = [(1 + round(y), 1 + round(x)) for x, y in SCOUT_DIRECTIONS]
    return np.stack([padded[:, y : y + side, x : x + side] for y, x in shifts], axis=1)
