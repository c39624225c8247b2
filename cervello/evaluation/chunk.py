"""Some episodes of the pass over the data: joined for all candidates, and what is kept of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from cervello.evaluation.logged import Logged
from cervello.recording.trees import Tree, concat_trees
from cervello.spec import Array


@dataclass(frozen=True)
class Needs:
    """What the estimators ask for.

    Attributes:
      propensities: the behaviour's probabilities. ratios: the candidates' too.
      modes: the candidates' own actions. matches: their agreement with the logged ones.
      values: the distributions at every observation, and the actions. trees: the observations. features: numbers of them.
      held: whether all of these stay in memory, for value functions that are fitted after the pass.
      ticks: when each step was decided, of several agents.
    """

    propensities: bool
    ratios: bool
    modes: bool
    matches: bool
    values: bool = False
    trees: bool = False
    features: bool = False
    held: bool = False
    ticks: bool = False


@dataclass(eq=False)
class Scores:
    """Of one candidate in some episodes: arrays of rows, episode by episode, which follow each other.

    Attributes:
      log_ratio: [steps]. modes: [steps, …]. matches: [episodes] sums over steps.
      every: [observations, K] probabilities of all actions. columns: the head's tensors at all observations, T + 1 of each episode.
      violations: steps where it puts weight on what the behaviour never does; None as long as that is not observable.
    """

    log_ratio: list[Array] = field(default_factory=list)
    modes: list[Array] = field(default_factory=list)
    matches: list[Array] = field(default_factory=list)
    every: list[Array] = field(default_factory=list)
    columns: list[dict[str, Array]] = field(default_factory=list)
    violations: int | None = None
    ties: int = 0
    deterministic: bool = True


@dataclass(eq=False)
class Data:
    """What all candidates share in some episodes.

    Attributes:
      rewards, logp, tick: [T] per episode, tick −1 where it is not known. actions: [T, …] as executed. sampled: as drawn.
      n_certain: steps of all that were taken without exploration.
      terminated: over after its last step. truncated: goes on. trees: of [T + 1, …], and `features` of them, where asked for.
    """

    rewards: list[Array] = field(default_factory=list)
    logp: list[Array] = field(default_factory=list)
    actions: list[Array] = field(default_factory=list)
    sampled: list[Array] = field(default_factory=list)
    terminated: list[bool] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    final_obs_missing: list[bool] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    features: list[Array] = field(default_factory=list)
    match: list[Any] = field(default_factory=list)
    tick: list[Array] = field(default_factory=list)
    discrete: bool = True
    n_certain: int = 0

    @property
    def n(self) -> int:
        return len(self.rewards)


Chunk = tuple[Data, list[Scores]]


class EpisodeBatch:
    """Some episodes one after the other, as all candidates see them. Immutable.

    Attributes:
      episodes: [n] of them. tree: their observations, T + 1 of each. lengths: [n] steps. stops: [n] ends among the steps.
      rows: [steps] rows of logged steps among the observations. sampled: [steps, …].
    """

    def __init__(self, some: Sequence[Logged]):
        self.episodes = some
        self.tree = concat_trees([each.observations for each in some])
        self.lengths = np.array([each.length for each in some])
        self.stops = np.cumsum(self.lengths)
        self.rows = np.arange(int(self.stops[-1])) + np.repeat(np.arange(len(some)), self.lengths)
        self.sampled = np.concatenate([each.sampled for each in some])

    @cached_property
    def pre_tanh(self) -> Array | None:
        """[steps, …] before squashing; None where an episode lacks it."""
        parts = [each.pre_tanh for each in self.episodes if each.pre_tanh is not None]
        return np.concatenate(parts) if len(parts) == len(self.episodes) else None

    @cached_property
    def choices(self) -> Array:
        """[steps] int64, what was drawn, where actions are single numbers."""
        return self.sampled.reshape(-1).astype(np.int64)
