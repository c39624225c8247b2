"""The three species of the arena: numbers, speeds, hunger and observations.

Distances are in arena units (one unit is one cell of the rock grid), time is in ticks, energy runs from 0 (dead) to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WIDTH = 96
"""Arena width, units; also the number of grid columns."""

HEIGHT = 64
"""Arena height, units; also the number of grid rows."""

SIGHT = 10.0
"""Distance at which offsets in observations saturate at length 1, units."""

ALARM = 6.0
"""Distance beyond which a grazer does not notice a hunter, units."""

FLASH_PERIOD = 8
"""A hunter perceives its prey on one tick in this many; between flashes it must remember."""

IMAGE_SIDE = 11
"""Side of a scout's square view, cells; the scout stands in the middle cell."""

INERTIA = 0.4
"""Share of its velocity that a body keeps from one tick to the next; the rest follows the wish."""

SHORTEST_LIFE = 160
LONGEST_LIFE = 240
"""Age limits are drawn uniformly from SHORTEST_LIFE..LONGEST_LIFE, ticks, both included."""


@dataclass(frozen=True, slots=True)
class Species:
    """Parameters of one species.

    Fields:
      capacity: most agents alive at once; an empty place is filled by a newborn after a while.
      max_speed: units per tick.
      burn: energy spent per tick.
      meal: energy gained per meal.
      reach: distance at which food is caught, units (scouts eat by cell instead).
      observation_name, observation_shape: the model's input, without the batch dimension.
      observation_layout: what each number (or each image channel) means, in order.
      output_name, output_shape: the model's output that the game acts on, without the batch dimension.
    """

    name: str
    capacity: int
    max_speed: float
    burn: float
    meal: float
    reach: float
    observation_name: str
    observation_shape: tuple[int, ...]
    observation_layout: tuple[str, ...]
    output_name: str
    output_shape: tuple[int, ...]


GRAZER = Species(
    name="grazer",
    capacity=160,
    max_speed=0.45,
    burn=0.008,
    meal=0.10,
    reach=0.7,
    observation_name="obs",
    observation_shape=(16,),
    observation_layout=(
        "nearest grass, unit direction x",
        "nearest grass, unit direction y",
        "nearest grass, distance / SIGHT, at most 1",
        "nearest hunter, direction x times closeness",
        "nearest hunter, direction y times closeness",
        "nearest hunter, closeness: 1 at touch, 0 at ALARM and beyond",
        "second nearest hunter, direction x times closeness",
        "second nearest hunter, direction y times closeness",
        "second nearest hunter, closeness",
        "nearest hunter, velocity x / hunter speed, 0 beyond ALARM",
        "nearest hunter, velocity y / hunter speed, 0 beyond ALARM",
        "own velocity x / own speed",
        "own velocity y / own speed",
        "own energy",
        "wall push x: 1 at the left wall, -1 at the right wall, 0 farther than SIGHT / 2",
        "wall push y: 1 at the lower wall, -1 at the upper wall, 0 farther than SIGHT / 2",
    ),
    output_name="action",
    output_shape=(2,),
)
"""Eats grass, flees hunters. Stateless and stochastic. Action: wished velocity (x, y) as parts of its speed."""

HUNTER = Species(
    name="hunter",
    capacity=100,
    max_speed=0.55,
    burn=0.007,
    meal=0.50,
    reach=0.8,
    observation_name="obs",
    observation_shape=(9,),
    observation_layout=(
        "flash: 1 on the one tick in FLASH_PERIOD on which the prey is perceived, else 0",
        "nearest grazer, offset x / SIGHT, length at most 1; 0 in the dark",
        "nearest grazer, offset y / SIGHT, length at most 1; 0 in the dark",
        "nearest grazer, velocity x / grazer speed; 0 in the dark",
        "nearest grazer, velocity y / grazer speed; 0 in the dark",
        "rest: 1 just after a catch, falling to 0 when it can catch again",
        "own energy",
        "wall push x: 1 at the left wall, -1 at the right wall, 0 farther than SIGHT / 2",
        "wall push y: 1 at the lower wall, -1 at the upper wall, 0 farther than SIGHT / 2",
    ),
    output_name="action",
    output_shape=(2,),
)
"""Catches grazers. Recurrent. Its own velocity is deliberately not observed, so that its body is no memory."""

SCOUT = Species(
    name="scout",
    capacity=80,
    max_speed=0.60,
    burn=0.009,
    meal=0.10,
    reach=0.0,
    observation_name="image",
    observation_shape=(3, IMAGE_SIDE, IMAGE_SIDE),
    observation_layout=(
        "berries: 1 where one grows",
        "hunters: 1 where at least one stands",
        "blocked: 1 for rock and for everything outside the arena",
    ),
    output_name="logits",
    output_shape=(8,),
)
"""Gathers berries and keeps out of hunters' way. Sees a picture; walks in one of eight directions (the argmax)."""

SPECIES: tuple[Species, ...] = (GRAZER, HUNTER, SCOUT)

_HALF = math.sqrt(0.5)
SCOUT_DIRECTIONS: tuple[tuple[float, float], ...] = (
    (1.0, 0.0),
    (_HALF, _HALF),
    (0.0, 1.0),
    (-_HALF, _HALF),
    (-1.0, 0.0),
    (-_HALF, -_HALF),
    (0.0, -1.0),
    (_HALF, -_HALF),
)
"""[8, 2] unit steps (x, y), counter-clockwise from +x; logit k stands for direction k. Image rows grow with y."""
