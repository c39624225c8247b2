"""What every source of experience has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cervello.envs.decision import Decision
from cervello.recording.trees import Tree, map_tree
from cervello.spaces.kinds import kind
from cervello.spec import Array

_RAGGED = ("Graph", "Sequence", "OneOf")  # spaces whose elements differ in shape

Masks = list[Any] | Array
Seeds = Callable[[Array], Sequence[int]]  # environments whose next episode begins → the seeds of their resets


@dataclass(slots=True)
class TimeStep:
    """The result of a reset or a step, a row per environment. n rows, of N environments.

    Attributes:
      rows: [n] int64, environments by number.
      observation: tree of [n, …], what the next action is decided on.
      fresh: [n] bool, rows whose observation is the first of an episode.
      acts: [n] bool, rows whose next action will be executed; False after an episode's end where the environment resets itself in a step
        of its own.
      valid: [n] bool, rows of which an action has been executed; False for such an empty step, and after a reset.
      reward: [n] float64, as the environment gives it.
      innermost: [n] float64, the reward within all wrappers; None where it was not asked for or cannot be reached.
      terminated, truncated: [n] bool.
      next_observation: tree of [n, …], what followed the action in the same episode: the true last observation where it has ended. None
        after a reset.
      masks: one mask of actions for each row, [n, …], or a list with a mask or None for each; None when there are none.
      mid_episode: True says that every row acts and is valid, and that no episode ends or begins; False says nothing.
    """

    rows: Array
    observation: Tree
    fresh: Array
    acts: Array
    valid: Array
    reward: Array
    terminated: Array
    truncated: Array
    next_observation: Tree = None
    masks: Masks | None = None
    innermost: Array | None = None
    mid_episode: bool = False

    @classmethod
    def restart(cls, observation: Tree, n: int, masks: Masks | None = None) -> TimeStep:
        """The result of a reset: episodes begin in all n rows."""
        no = np.zeros(n, np.bool_)
        return cls(np.arange(n), observation, ~no, ~no, no, np.zeros(n), no, no, masks=masks)

    def some(self, places: Array) -> TimeStep:
        """The rows at [m] int64 places, for a decision."""
        masks = self.masks
        if masks is not None:
            masks = masks[places] if isinstance(masks, np.ndarray) else [masks[i] for i in places.tolist()]
        return TimeStep(self.rows[places], take(self.observation, places), self.fresh[places], self.acts[places], self.valid[places],
                       self.reward[places], self.terminated[places], self.truncated[places], masks=masks)

    @property
    def ended(self) -> Array:
        """[n] bool, rows whose episode is over."""
        return self.terminated | self.truncated


class Source(Protocol):
    """N environments that are stepped together. One thread.

    Attributes:
      n_envs: N.
      observation_space, action_space: of one environment.
      seeds_rows: whether every episode begins with a seed of its own; else `reset` is seeded once and the environments go on from there.
      steps_rows_apart: whether `step` takes any of the rows, and leaves the others as they are.
      innermost_missing: why the rewards within all wrappers cannot be reached; "" where they can.
    """

    n_envs: int
    observation_space: Any
    action_space: Any
    seeds_rows: bool
    steps_rows_apart: bool
    innermost_missing: str

    def reset(self, seeds: Seeds | None, seed: int | None) -> TimeStep:
        """Begins the first episodes: with a seed for each row where `seeds_rows`, else with one for all."""

    def step(self, rows: Array, actions: Array) -> TimeStep:
        """Steps environments; `actions` has a row for each of `rows`, those that act and those that do not."""

    def tell(self, rows: Array, decision: Decision) -> None:
        """Tells recorders around the environment what was decided for rows, just before the step."""

    def close(self) -> None:
        """Closes what was opened here; an environment that was given stays open."""


def take(tree: Tree, rows: Array) -> Tree:
    """Some rows of a tree of columns, copied; [n] int64."""
    if type(tree) is np.ndarray:
        return tree.take(rows, 0)  # the usual case, in a third of the time of tree[rows]; so in `copied`
    return map_tree(lambda column: np.asarray(column)[rows], tree)


def put(tree: Tree, rows: Array, values: Tree) -> Tree:
    """A copy of a tree of columns with some rows replaced; strings may be longer than those that were there."""
    if isinstance(tree, dict):
        return {key: put(column, rows, values[key]) for key, column in tree.items()}
    if isinstance(tree, tuple):
        return tuple(put(column, rows, value) for column, value in zip(tree, values, strict=True))
    values = np.asarray(values)
    longer = values.dtype.kind in "US" and values.dtype.itemsize > np.asarray(tree).dtype.itemsize
    replaced = np.array(tree, values.dtype if longer else None)
    replaced[rows] = values
    return replaced


def stack(rows: Sequence[Tree]) -> Tree:
    """A tree of columns out of separate rows, at least one."""
    first = rows[0]
    if isinstance(first, dict):
        return {key: stack([row[key] for row in rows]) for key in first}
    if isinstance(first, tuple):
        return tuple(stack([row[i] for row in rows]) for i in range(len(first)))
    return np.stack([np.asarray(row) for row in rows])


def is_ragged(space: Any) -> bool:
    """Whether elements of a space, or of a part of it, differ in shape."""
    name = kind(space)
    if name in ("Dict", "Tuple"):
        return any(map(is_ragged, space.spaces.values() if name == "Dict" else space.spaces))
    return name in _RAGGED


def stack_observations(space: Any, observations: Sequence[Any]) -> Tree:
    """A tree of columns out of observations of a space, at least one; parts whose elements differ in shape become [N] objects."""
    name, first = kind(space), observations[0]
    if name == "Dict":
        return {key: stack_observations(space.spaces.get(key), [each[key] for each in observations]) for key in first}
    if name == "Tuple":
        return tuple(stack_observations(part, [each[i] for each in observations]) for i, part in enumerate(space.spaces))
    return _objects(observations) if name in _RAGGED else stack(observations)


def _objects(rows: Sequence[Any]) -> Array:
    """[N] objects; numpy itself would make a table of rows of one length."""
    found: Array = np.empty(len(rows), np.object_)
    for i, row in enumerate(rows):
        found[i] = deepcopy(row)  # environments may write into theirs again
    return found


def copied(tree: Tree) -> Tree:
    """A copy of a tree, since environments reuse their arrays."""
    if type(tree) is np.ndarray:
        return tree.copy()
    return map_tree(lambda column: np.array(column), tree)


def columns_of(space: Any, batch: Tree) -> Tree:
    """A vector environment's observations, copied to columns; strings come as a tuple of N, which becomes an array."""
    if type(batch) is np.ndarray:
        return batch.copy()  # row by row in memory, as policies take it in one compiled call
    if isinstance(batch, Mapping):
        return {key: columns_of(space[key], column) for key, column in batch.items()}
    name = kind(space)
    if isinstance(batch, tuple) and name == "Tuple":
        return tuple(columns_of(part, column) for part, column in zip(space, batch, strict=True))
    if name in _RAGGED:
        return _objects(batch)
    return stack(batch) if isinstance(batch, tuple) else np.array(batch, order="C")


def masks_of(infos: Any, n_rows: int) -> Masks | None:
    """Masks by row out of a vector environment's infos, {"action_mask": [N, …], "_action_mask": [N] bool}; None where there is none."""
    masks = infos.get("action_mask") if isinstance(infos, dict) else None
    if masks is None:
        return None
    there = infos.get("_action_mask")
    flags = np.ones(n_rows, np.bool_) if there is None else np.asarray(there, np.bool_)
    if isinstance(masks, np.ndarray) and masks.ndim == 2 and masks.dtype != object and flags.all():
        return masks.copy()  # environments write into theirs again
    return [_row(masks, i) if flags[i] else None for i in range(n_rows)]


def masks_by_row(infos: Sequence[Any]) -> list[Any] | None:
    """Masks out of an info for each row; None when no row has one."""
    masks = [info.get("action_mask") if isinstance(info, dict) else None for info in infos]
    return masks if any(mask is not None for mask in masks) else None


def _row(masks: Any, i: int) -> Any:
    return tuple(_row(mask, i) for mask in masks) if isinstance(masks, tuple) else masks[i]
