"""Columns without a field in Minari: they are stored in infos, [T + 1]; element 0 belongs to the reset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.recording.arguments import DECISION_SCALARS
from cervello.recording.episode import Episode
from cervello.recording.filling import fill_value, split_masks
from cervello.recording.trees import Tree, from_leaves, leaves, map_tree

STEP_COLUMNS = {  # field of Episode: key of infos
    "log_prob": "behavior_logp", "pre_tanh": "pre_tanh", "pre_clip": "pre_clip", "deterministic": "deterministic",
    "source": "behavior_source", "overridden": "behavior_overridden", "version": "behavior_version", "stream": "behavior_stream",
    "tick": "behavior_tick",
}
EPISODE_COLUMNS = {"agent": "agent", "match": "match", "session": "behavior_session", "final_obs_missing": "final_obs_missing"}


def to_infos(episode: Episode) -> dict[str, Tree]:
    """An episode's infos, with the columns that have no field in Minari: trees of [T + 1, …].

    Raises:
      InputError: the environment's infos have a key that names such a column.
    """
    taken = sorted({*STEP_COLUMNS.values(), *EPISODE_COLUMNS.values()} & set(episode.infos))
    if taken:
        raise InputError(f"episode {episode.id}, infos: expected keys other than the recorder's own, got {taken}; rename them")
    found = dict(episode.infos)
    for name, key in STEP_COLUMNS.items():
        column = getattr(episode, name)
        if column is not None:
            found[key] = map_tree(_after_reset, column)
    T = len(episode)
    for name in ("agent", "match"):
        value = getattr(episode, name)
        if value is not None:
            found[name] = np.full(T + 1, value)
    if episode.session and episode.match is not None:
        found[EPISODE_COLUMNS["session"]] = np.full(T + 1, episode.session, np.int64)
    found["final_obs_missing"] = np.zeros(T + 1, np.bool_)
    found["final_obs_missing"][T] = episode.final_obs_missing
    return found


def _after_reset(column: Any) -> Any:
    return np.concatenate([np.full((1, *column.shape[1:]), fill_value(column.dtype), column.dtype), column])


def as_episode(given: Any, *, id: int | None = None, seed: int | None = None) -> Episode:
    """An `Episode` from one, or from anything with the fields of Minari's `EpisodeData`; arrays are not copied where they fit.

    Args:
      given: the episode.
      id, seed: replace those of the episode.
    Raises:
      InputError: fields are missing, or do not have T or T + 1 rows; the message names episode and field.
    """
    if isinstance(given, Episode):
        wanted = {"id": id, "seed": seed}
        changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None and value != getattr(given, name)}
        return replace(given, **changes) if changes else given
    missing = [name for name in ("observations", "actions", "rewards", "terminations", "truncations") if not hasattr(given, name)]
    if missing:
        raise InputError(f"episode: expected an Episode or Minari's EpisodeData, got {type(given).__name__} without {missing}")
    number = int(getattr(given, "id", 0)) if id is None else id
    where = f"episode {number}"
    rewards = np.asarray(given.rewards, np.float64)
    if rewards.ndim != 1 or not len(rewards):
        raise InputError(f"{where}, rewards: expected [T] with at least one step, got {rewards.shape}; leave the episode out")
    T = len(rewards)
    observations, final_obs_missing = _observations(map_tree(_array, given.observations), T, where)
    infos = _tuples(map_tree(_array, dict(getattr(given, "infos", None) or {})))
    columns: dict[str, Any] = {}
    for name, key in STEP_COLUMNS.items():
        column = _take_column(infos, key)
        if column is not None:
            columns[name] = map_tree(partial(_typed, name), _steps(column, T, f"{where}, infos {key!r}"))
    for name in ("agent", "match"):
        if name in infos and not isinstance(infos[name], Mapping | tuple) and np.ndim(infos[name]) == 1:
            column = _take_column(infos, name)
            if column is not None:
                columns[name] = column[-1].item()
    session = _take_column(infos, EPISODE_COLUMNS["session"])
    if session is not None:
        columns["session"] = int(_rows(session, T + 1, f"{where}, infos {EPISODE_COLUMNS['session']!r}")[T])
    if "final_obs_missing" in infos:
        final_obs_missing |= bool(_rows(infos.pop("final_obs_missing"), T + 1, f"{where}, infos 'final_obs_missing'")[T])
    return Episode(
        number, observations, _rows(map_tree(_array, given.actions), T, f"{where}, actions"), rewards,
        _rows(np.asarray(given.terminations, np.bool_), T, f"{where}, terminations"),
        _rows(np.asarray(given.truncations, np.bool_), T, f"{where}, truncations"), infos,
        final_obs_missing=final_obs_missing, seed=seed, **columns)


def _take_column(infos: dict[str, Tree], key: str) -> Any:
    """Removes a column from infos, with the masks that `InfoTree` puts beside one that only some episodes of a dataset have.

    Returns:
      the column; None if this episode has none.
    """
    if key not in infos:
        return None
    named = {name: infos.pop(name) for name in (key, f"_{key}") if name in infos}
    masks, values = split_masks(dict(leaves(named)))
    present = {path: value for path, value in values.items() if path not in masks or np.any(masks[path])}
    infos.update({name: value for name, value in named.items() if name != key and (name,) in values})  # no mask: a key of its own
    absent = (key,) in masks and not np.any(masks[(key,)])
    found = from_leaves({path: value for path, value in present.items() if path[0] == key})
    return None if absent or not found else found[key]


def _observations(tree: Tree, T: int, where: str) -> tuple[Tree, bool]:
    counts = {len(array) for _, array in leaves(tree) if array is not None}
    if counts <= {T + 1}:
        return tree, False
    if counts == {T}:  # some published datasets lack the last one
        return map_tree(lambda array: np.concatenate([array, array[-1:]]), tree), True
    raise InputError(f"{where}, observations: expected T + 1 = {T + 1} rows, got {sorted(counts)}")


def _array(value: Any) -> Any:
    """Makes an array; lists of strings and bytes objects of HDF5 become numpy strings."""
    array = np.asarray(value)
    if array.dtype.kind != "O":
        return array
    if array.ndim == 1 and len(array) and all(isinstance(each, Mapping) and each.keys() == array[0].keys() for each in array):
        return {key: _array([each[key] for each in array]) for key in array[0]}  # nested infos, as Parquet and Arrow give them
    return np.array([each.decode() if isinstance(each, bytes) else each for each in array.ravel().tolist()]).reshape(array.shape)


def _tuples(infos: Tree) -> Tree:
    """Restores tuples in infos, which Minari's HDF5 storage returns as dicts of `_index_0` and so on."""
    if not isinstance(infos, Mapping):
        return infos
    parts = {key: _tuples(value) for key, value in infos.items()}
    names = [f"_index_{i}" for i in range(len(parts))]
    return tuple(parts[name] for name in names) if parts and set(parts) == set(names) else parts


def _typed(name: str, column: Any) -> Any:
    return column.astype(DECISION_SCALARS[name]) if name in DECISION_SCALARS else column


def _steps(tree: Tree, T: int, where: str) -> Tree:
    return map_tree(lambda column: column[1:], _rows(tree, T + 1, where))


def _rows(tree: Tree, n: int, where: str) -> Tree:
    for _, array in leaves(tree):
        if array is not None and (np.ndim(array) < 1 or len(array) != n):
            raise InputError(f"{where}: expected {n} rows, got shape {np.shape(array)}; element 0 of infos belongs to the reset")
    return tree
