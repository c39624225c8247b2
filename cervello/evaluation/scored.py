"""What the pass over the data leaves: a few numbers per episode, and columns of numbers per step in a `ColumnStore`."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.evaluation.behavior import Behavior
from cervello.evaluation.candidates import Candidate
from cervello.evaluation.chunk import Data, Needs, Scores
from cervello.evaluation.column_store import ColumnStore
from cervello.evaluation.registry import alternatives, names_where
from cervello.evaluation.values import Values
from cervello.recording.trees import Tree, leaves
from cervello.spec import Array


class Scored:
    """A data set with the scores of K candidates. Mutable: `add` adds what some episodes left, in the order of the data set.

    Attributes:
      column_store: "reward", "tick", "logp", "sampled" and ("ratio", k), ("mode", k), ("q", k) with a row per step; "features" and ("v", k)
        with a row per observation, T + 1 of each episode.
      data, scores: what is held in memory for value functions that are fitted after the pass; empty otherwise.
      n_certain: steps without exploration. n_rows: observations. held_bytes: of them that are held.
      violations, ties, deterministic: [K], as in `Scores`. discrete: whether actions are integers.
    """

    def __init__(self, n_candidates: int, needs: Needs):
        self.needs = needs
        self.column_store = ColumnStore()
        self.data, self.scores = Data(), [Scores() for _ in range(n_candidates)]
        self.violations: list[int | None] = [None] * n_candidates
        self.ties, self.deterministic, self.discrete = [0] * n_candidates, [True] * n_candidates, True
        self._lengths, self._units = array("q"), array("q")
        self._terminated, self._truncated, self._blind, self._matched = array("b"), array("b"), array("b"), array("b")
        self._closeness = [array("d") for _ in range(n_candidates)]
        self._matches: dict[Any, int] = {}
        self._n_units = self.n_rows = self.held_bytes = self.n_certain = 0

    def add(self, data: Data, scores: Sequence[Scores], values: Sequence[Values] = ()) -> None:
        """Adds what some episodes left; values of the candidates, where they are known already."""
        self.discrete &= data.discrete
        lengths = [len(each) for each in data.rewards]
        self._lengths.extend(lengths)
        self.n_rows += sum(lengths) + len(lengths)
        self._terminated.extend(data.terminated)
        self._truncated.extend(data.truncated)
        self.n_certain += data.n_certain
        self._blind.extend(data.final_obs_missing)
        for match in data.match:
            unit = self._n_units if match is None else self._matches.setdefault(match, self._n_units)
            self._units.append(unit)
            self._matched.append(match is not None)
            self._n_units = max(self._n_units, unit + 1)
        self._append("reward", data.rewards)
        self._append("tick", data.tick)
        self._append("logp", data.logp if self.needs.modes else [])
        self._append("sampled", _flat(data.sampled))
        self._append("features", data.features)
        for k, its in enumerate(scores):
            self._append(("ratio", k), its.log_ratio)
            self._append(("mode", k), _flat(its.modes))
            for sums in its.matches:
                self._closeness[k].frombytes(sums.tobytes())
            if its.violations is not None:
                self.violations[k] = (self.violations[k] or 0) + its.violations
            self.ties[k] += its.ties
            self.deterministic[k] &= its.deterministic
        for k, found in enumerate(values):
            self.add_values(k, found)
        if self.needs.held:
            for name in ("rewards", "actions", "terminated", "final_obs_missing", "trees", "features"):
                getattr(self.data, name).extend(getattr(data, name))
            for its, more in zip(self.scores, scores, strict=True):
                its.every.extend(more.every)
                its.columns.extend(more.columns)
            self.held_bytes += sum(each.nbytes for each in chain(
                data.actions, data.features, *(map(_arrays, data.trees)), *(its.every for its in scores),
                *(columns.values() for its in scores for columns in its.columns)))

    def add_values(self, k: int, values: Values) -> None:
        """Adds Q̂ and V̂ of a candidate along the episodes that have none yet."""
        self._append(("q", k), [values.q])
        self._append(("v", k), [values.v])

    def _append(self, name: Any, rows: Sequence[Array]) -> None:
        if rows:
            self.column_store.append(name, np.concatenate(rows))

    def check(self, behavior: Behavior | Candidate | None) -> None:
        """Raises InputError where there was no episode, or another number of them than propensities were fitted to."""
        if not self.n:
            raise InputError("evaluation, dataset: expected episodes, got none; record some")
        if isinstance(behavior, Behavior):
            behavior.check_count(self.n)

    def check_final_observations(self, estimator: str) -> None:
        """Raises InputError where a truncated episode lacks the observation that an estimator bootstraps from."""
        lacking = self.truncated & np.array(self._blind, np.bool_)
        if lacking.any():
            i = int(np.argmax(lacking))
            raise InputError(f"episode {i}, step {self._lengths[i]}, observations: expected the final observation of a truncated "
                             f"episode for {estimator!r}, got none; log it, cut with horizon= (--horizon on the command line), or take "
                             f"{alternatives(names_where(lambda info: info.continues is False))}")

    # Per episode ----------------------------------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """Episodes."""
        return len(self._lengths)

    @property
    def n_units(self) -> int:
        """Matches, and episodes without one."""
        return self._n_units

    @property
    def length(self) -> Array:
        """[n] int64."""
        return np.array(self._lengths, np.int64)

    @property
    def truncated(self) -> Array:
        """[n] bool, episodes that go on after their last step."""
        return np.array(self._truncated, np.bool_)

    @property
    def unit(self) -> Array | None:
        """[n] number of each episode's match, or None where every episode stands alone. Episodes without a match are their own."""
        return None if self._n_units == self.n else np.array(self._units, np.int64)

    @property
    def matched(self) -> Array:
        """[n] bool, episodes whose match was recorded."""
        return np.array(self._matched, np.bool_)

    def closeness(self, k: int) -> Array:
        """[n] sums over steps of a candidate's agreement."""
        return np.array(self._closeness[k])


def _arrays(tree: Tree) -> list[Array]:
    return [np.asarray(rows) for _, rows in leaves(tree) if rows is not None]


def _flat(rows: Sequence[Array]) -> list[Array]:
    """[n, k] each; float64, since episodes may have logged actions of several types."""
    return [np.asarray(each, np.float64).reshape(len(each), -1) for each in rows]
