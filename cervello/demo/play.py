"""Plays a match with one policy per species and collects results and speeds.

Which lives count: those born no later than LONGEST_LIFE ticks before the end (in a match shorter than that, those born
with the match). All of them count, however they ended, cut off at the end of the match if still going on. Choosing by
birth and never by death is what keeps the mean honest: counting "finished lives" would prefer the short ones.

`RandomPolicy` and `mean_with_interval`, which go with a match, stand in `cervello.demo.baseline`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cervello.demo.arena import Arena
from cervello.demo.baseline import RandomPolicy, mean_with_interval
from cervello.demo.herd import FloatArray, Herd, IntArray, Life
from cervello.demo.species import LONGEST_LIFE, SPECIES, Species

__all__ = [
    "MatchReport",
    "PolicyLike",
    "RandomPolicy",
    "SpeciesReport",
    "Tick",
    "mean_with_interval",
    "play",
]


class PolicyLike(Protocol):
    """The methods of a policy that a match calls; `cervello.Policy` has them."""

    def begin_agents(self, ids: Sequence[int], /) -> object:
        """Begins newborn agents."""

    def end_agents(self, ids: Sequence[int], /) -> object:
        """Ends agents that died."""

    def infer_batch(self, ids: IntArray, observations: Mapping[str, FloatArray], /) -> Mapping[str, npt.NDArray[Any]]:
        """Returns the model's outputs by name; row i of every array belongs to ids[i]."""


@dataclass(frozen=True, slots=True)
class SpeciesReport:
    """One species' part of a match.

    Fields:
      returns: sum of rewards of each life that counts (see the module's docstring), in order of birth.
      inference_s: seconds spent in `infer_batch`, one number per tick.
      batch_sizes: rows handed to `infer_batch`, one number per tick.
      births: agents born, those of the start included. deaths: by cause.
    """

    returns: tuple[float, ...]
    inference_s: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    births: int
    deaths: Mapping[str, int]

    @property
    def agent_steps(self) -> int:
        """Actions chosen over the match."""
        return sum(self.batch_sizes)

    @property
    def batch_range(self) -> tuple[int, int, int]:
        """Smallest, median and largest batch; zeros if no tick was played."""
        if not self.batch_sizes:
            return 0, 0, 0
        return min(self.batch_sizes), int(np.median(self.batch_sizes)), max(self.batch_sizes)


@dataclass(frozen=True, slots=True)
class MatchReport:
    """A match's result; speeds are agent-steps per second."""

    ticks: int
    seed: int
    duration_s: float
    species: Mapping[str, SpeciesReport]

    @property
    def agent_steps(self) -> int:
        """Actions chosen by all species together."""
        return sum(report.agent_steps for report in self.species.values())

    @property
    def inference_s(self) -> float:
        """Seconds spent inside the policies."""
        return sum(sum(report.inference_s) for report in self.species.values())

    @property
    def agent_steps_per_inference_second(self) -> float:
        """Speed of the policies alone."""
        return self.agent_steps / self.inference_s if self.inference_s else 0.0

    @property
    def agent_steps_per_second(self) -> float:
        """Speed of the whole match: game, policies and callback together."""
        return self.agent_steps / self.duration_s if self.duration_s else 0.0


@dataclass(frozen=True, slots=True)
class Tick:
    """The argument of the `on_tick` callback after every tick; the callback must not step the arena.

    Fields:
      number: ticks played so far, 1 after the first.
      arena: the arena after this tick.
      inference_s: seconds in `infer_batch` this tick, by species name.
      rows: rows of the batch this tick, by species name.
      ended_returns: returns of all lives that ended so far, by species name, in order of death; the lists keep growing.
    """

    number: int
    arena: Arena
    inference_s: Mapping[str, float]
    rows: Mapping[str, int]
    ended_returns: Mapping[str, Sequence[float]]


@dataclass(slots=True)
class _Tally:
    """Mutable: one species' figures while the match goes on."""

    births: int = 0
    deaths: dict[str, int] = field(default_factory=dict)
    inference_s: list[float] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    lives: list[tuple[int, float]] = field(default_factory=list)  # (agent id, return) of the lives that count
    ended_returns: list[float] = field(default_factory=list)

    def add_ended(self, ended: Sequence[Life], last_birth: int) -> None:
        """Adds lives that ended; those that began after the tick last_birth do not count."""
        for life in ended:
            self.deaths[life.cause] = self.deaths.get(life.cause, 0) + 1
            self.ended_returns.append(life.total_reward)
            if life.born_tick <= last_birth:
                self.lives.append((life.agent_id, life.total_reward))

    def add_unfinished(self, herd: Herd, last_birth: int) -> None:
        """Adds lives that the end of the match cut short, if they began in time."""
        unfinished = np.flatnonzero(herd.alive & (herd.born_tick <= last_birth))
        self.lives += zip(herd.ids[unfinished].tolist(), herd.total_reward[unfinished].tolist(), strict=True)

    def report(self) -> SpeciesReport:
        """The figures of the whole match."""
        return SpeciesReport(
            returns=tuple(total for _, total in sorted(self.lives)),
            inference_s=tuple(self.inference_s),
            batch_sizes=tuple(self.batch_sizes),
            births=self.births,
            deaths=dict(sorted(self.deaths.items())),
        )


def play(
    policies: Mapping[str, PolicyLike],
    ticks: int = 600,
    seed: int = 0,
    on_tick: Callable[[Tick], None] | None = None,
) -> MatchReport:
    """Plays one match.

    Args:
      policies: one per species name ("grazer", "hunter", "scout").
      ticks: length of the match.
      seed: of the arena; the same seed and the same actions give the same match.
      on_tick: called after every tick; its time counts in `duration_s` but not in `inference_s`.
    Raises:
      ValueError: a species has no policy, or ticks is negative.
    """
    if ticks < 0:
        raise ValueError(f"ticks: expected 0 or more, got {ticks}")
    missing = [species.name for species in SPECIES if species.name not in policies]
    if missing:
        raise ValueError(f"policies: expected one for every species, got none for {missing}; add them to the mapping")

    arena = Arena(seed)
    tallies = {species.name: _Tally() for species in SPECIES}
    last_birth = max(0, ticks - LONGEST_LIFE)
    start = time.perf_counter()
    for name, tally in tallies.items():
        ids = arena.ids(name)
        policies[name].begin_agents(ids.tolist())
        tally.births += len(ids)

    for number in range(1, ticks + 1):
        observations = arena.observe()
        actions = {
            species.name: _act(policies[species.name], species, arena, observations, tallies[species.name])
            for species in SPECIES
        }
        outcome = arena.step(actions)
        for name, tally in tallies.items():
            ended, born = outcome.ended[name], outcome.born[name]
            tally.add_ended(ended, last_birth)
            tally.births += len(born)
            if ended:
                policies[name].end_agents([life.agent_id for life in ended])
            if len(born):
                policies[name].begin_agents(born.tolist())
        if on_tick is not None:
            on_tick(_tick(number, arena, tallies))

    duration_s = time.perf_counter() - start
    for name, tally in tallies.items():
        policies[name].end_agents(arena.ids(name).tolist())
        tally.add_unfinished(arena.herds[name], last_birth)
    return MatchReport(ticks, seed, duration_s, {name: tally.report() for name, tally in tallies.items()})


def _tick(number: int, arena: Arena, tallies: Mapping[str, _Tally]) -> Tick:
    return Tick(
        number=number,
        arena=arena,
        inference_s={name: tally.inference_s[-1] for name, tally in tallies.items()},
        rows={name: tally.batch_sizes[-1] for name, tally in tallies.items()},
        ended_returns={name: tally.ended_returns for name, tally in tallies.items()},
    )


def _act(
    policy: PolicyLike,
    species: Species,
    arena: Arena,
    observations: Mapping[str, Mapping[str, FloatArray]],
    tally: _Tally,
) -> npt.NDArray[Any]:
    ids = arena.ids(species.name)
    start = time.perf_counter()
    outputs = policy.infer_batch(ids, observations[species.name])
    tally.inference_s.append(time.perf_counter() - start)
    tally.batch_sizes.append(len(ids))
    output = outputs[species.output_name]
    return output.argmax(axis=1) if species.output_name == "logits" else output
