"""Columns with a NaN or an infinity in them, and a recording without the episodes that have some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cervello.recording.episode import Episode
from cervello.recording.trees import Tree, map_tree
from cervello.spec import Array


class FiniteEpisodes:
    """The episodes of a recording whose observations, actions and rewards are finite. Iterating reads it, and may be done again.

    Args:
      recording: what `read` opened.
      horizon: only so many steps of each episode count; None for all.

    Attributes:
      action_space: the recording's. n_left_out: episodes that the last iteration left out.
    """

    def __init__(self, recording: Any, horizon: int | None = None):
        self._recording, self._horizon = recording, horizon
        self.action_space: Any = recording.action_space
        self.n_left_out = 0

    @property
    def damage(self) -> str | None:
        """The recording's, where it was read up to its damage."""
        found: str | None = getattr(self._recording, "damage", None)
        return found

    def __iter__(self) -> Iterator[Episode]:
        """The episodes that are left; errors as those of the recording."""
        self.n_left_out = 0
        for episode in self._recording:
            if self._is_finite(episode):
                yield episode
            else:
                self.n_left_out += 1

    def _is_finite(self, episode: Episode) -> bool:
        T = len(episode) if self._horizon is None else min(len(episode), self._horizon)
        n_seen = T + (len(episode) > T or not episode.final_obs_missing)
        steps = tuple(column for column in (episode.actions, episode.rewards, episode.pre_clip, episode.pre_tanh) if column is not None)
        return is_finite(map_tree(lambda rows: rows[:n_seen], episode.observations)) and is_finite(map_tree(lambda rows: rows[:T], steps))


def is_finite(tree: Tree) -> bool:
    """Whether no float in a tree of arrays is NaN or infinite."""
    if isinstance(tree, Mapping):
        return all(map(is_finite, tree.values()))
    if isinstance(tree, tuple):
        return all(map(is_finite, tree))
    array: Any = np.asarray(tree)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def finite_rows(tree: Tree, n: int) -> Array:
    """[n] bool, the rows of a tree of [n, …] without a NaN or an infinity."""
    if isinstance(tree, Mapping | tuple):
        found: Array = np.ones(n, np.bool_)
        for part in tree.values() if isinstance(tree, Mapping) else tree:
            found &= finite_rows(part, n)
        return found
    array: Any = np.asarray(tree)
    if array.dtype.kind != "f":
        return np.ones(n, np.bool_)
    return np.asarray(np.isfinite(array).reshape(n, -1).all(1))
