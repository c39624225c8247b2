"""The rules of the game: three species in a walled field, with frequent births and deaths.

Grazers eat grass and are caught by hunters; hunters starve without a catch; scouts gather berries and lose strength
to every hunter that touches them. Everything is vectorised over agents and repeatable from the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cervello.demo.herd import FloatArray, Herd, IntArray, Life, shortened
from cervello.demo.senses import REST_TICKS, cells, perceive_as_grazer, perceive_as_hunter, perceive_as_scout, squared_distances
from cervello.demo.species import GRAZER, HUNTER, INERTIA, LONGEST_LIFE, SCOUT, SCOUT_DIRECTIONS, SHORTEST_LIFE, SPECIES, WIDTH
from cervello.demo.terrain import Terrain

CAUGHT_REWARD = -3.0
TOUCHED_REWARD = -0.3
TOUCHED_ENERGY = 0.04
TOUCH_DISTANCE = 0.9
START_ENERGY = 0.7
BIRTH_CHANCE = 0.25
"""Chance per tick that an empty place is filled; it makes the batch sizes vary."""

_STEPS = np.array(SCOUT_DIRECTIONS, np.float32)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one step of the arena, by species name.

    Fields:
      ended: the lives that ended this tick.
      born: ids of the newborns, [k] int64; they act from the next tick on.
      seen: model inputs by id of all that lived when all had moved, the dying among them; empty unless it was asked for.
    """

    ended: Mapping[str, tuple[Life, ...]]
    born: Mapping[str, IntArray]
    seen: Mapping[str, Mapping[int, FloatArray]] = field(default_factory=dict)


class Arena:
    """The game. Mutable; `observe` reads, `step` advances one tick.

    Attributes:
      tick: number of steps made.
      herds: the places of each species, by name.
      terrain: rocks, grass and berries.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._next_id = 0
        self.tick = 0
        self.terrain = Terrain(self._random)
        self.herds: dict[str, Herd] = {species.name: Herd(species) for species in SPECIES}
        for herd in self.herds.values():
            self._give_birth(herd, np.arange(herd.species.capacity))

    def ids(self, name: str) -> IntArray:
        """Returns the ids of the living of a species, [L] int64, in the order of observations and actions."""
        herd = self.herds[name]
        return herd.ids[herd.living()]

    def observe(self) -> dict[str, dict[str, FloatArray]]:
        """Returns, by species name, the model inputs {observation name: [L, ...] float32} of the living."""
        grazers, hunters, scouts = (self.herds[species.name] for species in SPECIES)
        return {
            GRAZER.name: {GRAZER.observation_name: perceive_as_grazer(grazers, hunters, self.terrain)},
            HUNTER.name: {HUNTER.observation_name: perceive_as_hunter(hunters, grazers, self.tick)},
            SCOUT.name: {SCOUT.observation_name: perceive_as_scout(scouts, hunters, self.terrain)},
        }

    def step(self, actions: Mapping[str, npt.NDArray[np.generic]], see: bool = False) -> Outcome:
        """Advances all agents: moves, meals, ages, deaths and births.

        Args:
          actions: by species name; grazers and hunters [L, 2] float, wished velocity in -1..1 per axis (longer than 1
            is shortened to 1); scouts [L] integer, direction 0..7.
          see: whether the outcome holds what all, the dying too, perceive after the move.
        Returns:
          the lives that ended and the newborns.
        Raises:
          ValueError: an action array has the wrong shape.
        """
        wishes = {name: _wished_velocity(herd, actions[name]) for name, herd in self.herds.items()}
        for name, herd in self.herds.items():
            self._move(herd, wishes[name])
        grazers, hunters, scouts = (self.herds[species.name] for species in SPECIES)
        self._graze(grazers)
        caught = self._hunt(hunters, grazers)
        self._gather(scouts)
        self._touch(scouts, hunters)
        self.tick += 1
        seen = self._seen() if see else {}
        ended = {
            name: self._die(herd, caught if herd is grazers else np.zeros(0, np.int64))
            for name, herd in self.herds.items()
        }
        born = {}
        for name, herd in self.herds.items():
            empty = np.flatnonzero(~herd.alive)
            born[name] = self._give_birth(herd, empty[self._random.random(len(empty)) < BIRTH_CHANCE])
        return Outcome(ended=ended, born=born, seen=seen)

    def _seen(self) -> dict[str, dict[int, FloatArray]]:
        columns = self.observe()
        return {species.name: dict(zip(self.ids(species.name).tolist(), columns[species.name][species.observation_name], strict=True))
                for species in SPECIES}

    def _move(self, herd: Herd, wish: FloatArray) -> None:
        living = herd.living()
        velocity = INERTIA * herd.velocity[living] + (1 - INERTIA) * herd.species.max_speed * wish
        herd.position[living], herd.velocity[living] = self.terrain.walk(herd.position[living], velocity)
        herd.reward[:] = 0.0
        herd.energy[living] -= herd.species.burn
        herd.rest[living] = np.maximum(herd.rest[living] - 1, 0)

    def _graze(self, grazers: Herd) -> None:
        living = grazers.living()
        squared = squared_distances(grazers.position[living], self.terrain.grass)
        eaters, eaten = _closest_claims(squared, grazers.species.reach)
        _feed(grazers, living[eaters])
        self.terrain.regrow_grass(eaten)

    def _hunt(self, hunters: Herd, grazers: Herd) -> IntArray:
        """Returns the places of the grazers caught, [k] int64."""
        hungry = hunters.living()
        hungry = hungry[hunters.rest[hungry] == 0]
        living = grazers.living()
        squared = squared_distances(hunters.position[hungry], grazers.position[living])
        catchers, caught = _closest_claims(squared, hunters.species.reach)
        _feed(hunters, hungry[catchers])
        hunters.rest[hungry[catchers]] = REST_TICKS
        grazers.reward[living[caught]] += CAUGHT_REWARD
        return living[caught]

    def _gather(self, scouts: Herd) -> None:
        living = scouts.living()
        standing = cells(scouts.position[living])
        scout_at = np.full(self.terrain.blocked.size, -1, np.int64)
        # Of several scouts in one cell the first place eats; assigning in reverse lets it be written last.
        scout_at[(standing[:, 1] * WIDTH + standing[:, 0])[::-1]] = living[::-1]
        berry = self.terrain.berry
        eater = scout_at[berry[:, 1] * WIDTH + berry[:, 0]]
        reached = np.flatnonzero(eater >= 0)
        eaters, first = np.unique(eater[reached], return_index=True)
        _feed(scouts, eaters)
        self.terrain.regrow_berries(reached[first])

    def _touch(self, scouts: Herd, hunters: Herd) -> None:
        living = scouts.living()
        squared = squared_distances(scouts.position[living], hunters.position[hunters.living()])
        touched = living[(squared < TOUCH_DISTANCE**2).any(axis=1)]
        scouts.reward[touched] += TOUCHED_REWARD
        scouts.energy[touched] -= TOUCHED_ENERGY

    def _die(self, herd: Herd, caught: IntArray) -> tuple[Life, ...]:
        herd.total_reward += herd.reward
        herd.age[herd.alive] += 1
        is_caught = np.zeros(len(herd.alive), np.bool_)
        is_caught[caught] = True
        starved = herd.energy <= 0.0
        dying = np.flatnonzero(herd.alive & (is_caught | starved | (herd.age >= herd.lifespan)))
        causes = ["caught" if is_caught[place] else "starved" if starved[place] else "aged" for place in dying]
        return herd.bury(dying, causes)

    def _give_birth(self, herd: Herd, places: IntArray) -> IntArray:
        count = len(places)
        ids = np.arange(self._next_id, self._next_id + count, dtype=np.int64)
        self._next_id += count
        lifespan = self._random.integers(SHORTEST_LIFE, LONGEST_LIFE, size=count, endpoint=True)
        herd.settle(places, ids, self.terrain.free_positions(count), lifespan, START_ENERGY, self.tick)
        return ids


def _wished_velocity(herd: Herd, action: npt.NDArray[np.generic]) -> FloatArray:
    name, count = herd.species.name, int(herd.alive.sum())
    expected = (count,) if name == SCOUT.name else (count, 2)
    if action.shape != expected:
        raise ValueError(f"actions of {name!r}: expected shape {expected}, got {action.shape}; act for Arena.ids order")
    if name == SCOUT.name:
        return _STEPS[action.astype(np.int64)]
    return shortened(action.astype(np.float32))


def _closest_claims(squared: FloatArray, reach: float) -> tuple[IntArray, IntArray]:
    """Gives every prize to the closest of its claimants; each claims only the prize nearest to itself.

    Args:
      squared: [A, B] squared distances of A claimants and B prizes.
      reach: farthest distance at which a prize can be claimed.
    Returns:
      claimants, prizes: [k] int64 each; no claimant and no prize twice.
    """
    if not squared.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    nearest = squared.argmin(axis=1)
    gap = squared[np.arange(len(squared)), nearest]
    claimants = np.flatnonzero(gap < reach**2)
    claimants = claimants[np.argsort(gap[claimants], kind="stable")]
    prizes, first = np.unique(nearest[claimants], return_index=True)
    return claimants[first], prizes


def _feed(herd: Herd, places: IntArray) -> None:
    herd.reward[places] += 1.0
    herd.energy[places] = np.minimum(herd.energy[places] + herd.species.meal, 1.0)
