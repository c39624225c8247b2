"""Writes Minari datasets (0.5.4, HDF5) from recordings. Needs the extra `minari`, which is imported when a dataset is written."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from cervello.errors import CervelloError, InputError, RecordingError
from cervello.recording.episode import Episode
from cervello.recording.info_tree import InfoTree
from cervello.recording.minari_columns import as_episode, to_infos
from cervello.recording.minari_reading import minari_module
from cervello.recording.reader import read
from cervello.recording.trees import Tree, map_tree

_LEFT_OUT = "(`.*` is set to|env_spec is) None"  # Minari warns about missing metadata


@dataclass(frozen=True, slots=True)
class Converted:
    """The result of `to_minari`.

    Attributes:
      dataset_id, path: the dataset and its folder.
      n_episodes, n_steps: of the dataset.
      n_unfinished: episodes that never ended: left out, or truncated.
      n_other_agents: episodes of agents outside `agents`.
    """

    dataset_id: str
    path: Path
    n_episodes: int
    n_steps: int
    n_unfinished: int
    n_other_agents: int


def to_minari(log: str | os.PathLike[str] | Iterable[Episode], dataset_id: str, *, unfinished: Literal["skip", "truncate"] = "skip",
              observation_space: Any = None, action_space: Any = None, agents: Collection[int | str] | None = None,
              **metadata: Any) -> Converted:
    """Writes a Minari dataset (HDF5) under MINARI_DATASETS_PATH. Pixels are kept bit for bit.

    Minari has fields for observations, actions, rewards, flags and infos only. The other columns of a recording become columns of infos
    ([T + 1]; element 0 belongs to the reset): `behavior_logp`, `pre_tanh`, `pre_clip`, `deterministic`, `final_obs_missing`, `agent`,
    `match`, and `behavior_source`, `_overridden`, `_version`, `_stream`, `_tick`, `_session` (of matches, where a log has several
    writers' sessions). Infos have one tree in all episodes. The episodes are read twice, one in memory at a time.

    Args:
      log: a path, or episodes that can be iterated over twice.
      dataset_id: "namespace/name-v0".
      unfinished: leave out episodes that never ended, or truncate them at their last step.
      observation_space, action_space: Gymnasium's, instead of the recorded ones; required where none were recorded.
      agents: only episodes of these agents.
      metadata: arguments of `minari.create_dataset_from_buffers`: algorithm_name, author, author_email, code_permalink, description.
    Raises:
      InputError: no spaces, episodes that do not fit them or each other, no episode at all. FormatError: the log is damaged.
      RecordingError: Minari is missing, the dataset exists, or it cannot be written; a partial dataset is removed.
    """
    minari = minari_module()
    if unfinished not in ("skip", "truncate"):
        raise InputError(f"to_minari, unfinished: expected 'skip' or 'truncate', got {unfinished!r}")
    source: Any = read(log) if isinstance(log, str | os.PathLike) else log
    if isinstance(source, Iterator):
        raise InputError("to_minari: expected episodes that can be iterated over twice, got an iterator; give a list or a path")
    spaces = {"observations": getattr(source, "observation_space", None) if observation_space is None else observation_space,
              "actions": getattr(source, "action_space", None) if action_space is None else action_space}
    for name, space in spaces.items():
        if space is None:
            raise InputError(f"to_minari, {name}: expected a space, got none recorded; give {name[:-1]}_space=")
    selected = _Selection(source, unfinished == "truncate", None if agents is None else frozenset(agents))
    tree, n_episodes, n_steps = _checked(selected, spaces)
    path = _new_path(minari, dataset_id)
    buffers = (_episode_buffer(minari, episode, tree) for episode in selected)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", _LEFT_OUT, UserWarning)  # metadata that the caller left out
            made = minari.create_dataset_from_buffers(
                dataset_id, buffers, observation_space=spaces["observations"], action_space=spaces["actions"], data_format="hdf5",
                jpeg_encoding=False, **metadata)
        found = int(made.total_episodes), int(made.total_steps)
        if found != (n_episodes, n_steps):
            raise RecordingError(f"to_minari {dataset_id!r}: expected {n_episodes} episodes of {n_steps} steps, got {found[0]} of "
                                 f"{found[1]}; convert a log when no writer has it open")
    except BaseException as error:
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, CervelloError) or not isinstance(error, Exception):
            raise
        raise RecordingError(f"to_minari {dataset_id!r}: expected to write {str(path)!r}, got {type(error).__name__}: {error}") from error
    return Converted(dataset_id, path, n_episodes, n_steps, selected.n_unfinished, selected.n_other_agents)


def _checked(selected: _Selection, spaces: Mapping[str, Any]) -> tuple[InfoTree, int, int]:
    """The first pass: checks every episode.

    Returns:
      the union of the episodes' infos, the number of episodes and of steps.
    """
    tree = InfoTree()
    n_episodes = n_steps = 0
    for episode in selected:
        where = f"to_minari, episode {episode.id}"
        _check_space(spaces["observations"], episode.observations, len(episode) + 1, f"{where}, observations")
        _check_space(spaces["actions"], episode.actions, len(episode), f"{where}, actions")
        tree.add(to_infos(episode), where)
        n_episodes += 1
        n_steps += len(episode)
    if not n_episodes:
        raise InputError(f"to_minari: expected at least one episode, got none; {selected.n_unfinished} never ended, "
                         f"{selected.n_other_agents} are of other agents")
    return tree, n_episodes, n_steps


class _Selection:
    """The selected episodes of a source, re-iterable; counts those of the last iteration."""

    def __init__(self, source: Iterable[Episode], truncate: bool, agents: frozenset[int | str] | None):
        self._source = source
        self._truncate = truncate
        self._agents = agents
        self.n_unfinished = self.n_other_agents = 0

    def __iter__(self) -> Iterator[Episode]:
        self.n_unfinished = self.n_other_agents = 0
        for given in self._source:
            episode = as_episode(given)
            if self._agents is not None and episode.agent not in self._agents:
                self.n_other_agents += 1
                continue
            if not episode.finished:
                self.n_unfinished += 1
                if not self._truncate:
                    continue
                truncations = episode.truncations.copy()
                truncations[-1] = True
                episode = replace(episode, truncations=truncations)
            yield episode


def _new_path(minari: ModuleType, dataset_id: str) -> Path:
    """The folder of a new dataset."""
    try:
        path = Path(minari.storage.get_dataset_path(dataset_id))
        minari.dataset.minari_dataset.parse_dataset_id(dataset_id)
    except (TypeError, ValueError) as error:
        raise InputError(f"to_minari, dataset_id: expected 'namespace/name-v0', got {dataset_id!r}; {error}") from error
    if path.exists():
        raise RecordingError(f"to_minari {dataset_id!r}: expected a new dataset, got one that is there, in {str(path)!r}; "
                             "count up its version or delete it")
    return path


def _episode_buffer(minari: ModuleType, episode: Episode, tree: InfoTree) -> Any:
    return minari.data_collector.EpisodeBuffer(
        seed=episode.seed, observations=_h5py_tree(episode.observations), actions=_h5py_tree(episode.actions), rewards=episode.rewards,
        terminations=episode.terminations, truncations=episode.truncations,
        infos=_h5py_tree(tree.unify(to_infos(episode), len(episode) + 1)))


def _h5py_tree(tree: Tree) -> Tree:
    """Converts strings to objects for h5py."""
    return map_tree(lambda array: array.astype(object) if array.dtype.kind == "U" else array, tree)


def _check_space(space: Any, tree: Tree, n: int, where: str) -> None:
    """Checks that a tree has the structure and shapes of a space, with n rows.

    Raises:
      InputError: the tree does not match.
    """
    kind = type(space).__name__
    if kind in ("Dict", "Tuple"):
        parts: dict[Any, Any] = dict(space.spaces) if kind == "Dict" else dict(enumerate(space.spaces))
        given = tree if isinstance(tree, Mapping) else dict(enumerate(tree)) if isinstance(tree, tuple) else None
        if given is None or set(given) != set(parts):
            what = type(tree).__name__ if given is None else str(sorted(given, key=str))
            raise InputError(f"{where}: expected a {kind} of {sorted(parts, key=str)}, got {what}; give the right space or agents=")
        for key, part in parts.items():
            _check_space(part, given[key], n, f"{where}.{key}")
        return
    shape = (n, *(space.shape or ()))
    if isinstance(tree, Mapping | tuple) or np.shape(tree) != shape:
        found = type(tree).__name__ if isinstance(tree, Mapping | tuple) else str(np.shape(tree))
        raise InputError(f"{where}: expected {shape} for {space}, got {found}; give the right space or agents=")
