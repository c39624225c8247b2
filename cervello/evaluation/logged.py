"""One logged episode, checked: what an evaluation reads of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.evaluation.support import least_log_prob
from cervello.recording import Episode, as_episode, read
from cervello.recording.trees import Path, Tree, format_path, leaves, map_tree
from cervello.spec import Array

_ROUNDING = 1e-6  # of a logarithm above 0
_PROB_KEY, _LOGP_KEY = "behavior_prob", "behavior_logp"


@dataclass(frozen=True, eq=False)
class Logged:
    """An episode up to the horizon.

    Attributes:
      index: its place in the data set, from 0. length: T.
      observations: tree of [T + 1, …]. actions: [T, …] as executed. sampled: [T, …] as drawn, before clipping; of squashed actions as
        executed. pre_tanh: [T, …] before squashing, or None.
      rewards: [T] float64.
      logp: [T] float64, the behaviour's logarithm of the probability (density) of the sampled action; None where it was not logged.
      deterministic: [T] bool, steps that did not draw; None where not recorded.
      terminated: whether it is over after its last step. truncated: whether it goes on, so that what follows is bootstrapped; neither
        where the horizon cuts it.
      final_obs_missing: whether the state after the last step is not known.
      discrete: whether actions are integers. version: [T] int64, of the policy that was recorded, or None.
      match: the match and the session that recorded it, or None. policies: as `Episode.policies`.
    """

    index: int
    length: int
    observations: Tree
    actions: Array
    sampled: Array
    pre_tanh: Array | None
    rewards: Array
    logp: Array | None
    deterministic: Array | None
    terminated: bool
    truncated: bool
    final_obs_missing: bool
    discrete: bool
    infos: Mapping[str, Tree]
    agent: int | str | None
    match: tuple[int, int | str] | None
    tick: Array | None
    version: Array | None
    policies: Mapping[int, Mapping[str, str]] | None

    @property
    def where(self) -> str:
        return f"episode {self.index}"

    @property
    def n_certain(self) -> int:
        """Steps that were taken without a draw, or with a logged probability of 1."""
        certain = np.zeros(self.length, np.bool_) if self.deterministic is None else self.deterministic
        return int(np.count_nonzero(certain | (self.logp == 0) if self.discrete and self.logp is not None else certain))


def episodes(dataset: Any) -> Iterator[Episode]:
    """The episodes of "minari:ID", a log's path, a Minari dataset's folder, a recording, or an iterable of episodes.

    Raises:
      InputError: no episode, or one that does not fit.
    """
    empty = True
    for _, episode in enumerated(open_dataset(dataset)):
        empty = False
        yield episode
    if empty:
        raise InputError("evaluation, dataset: expected episodes, got none; record some")


def enumerated(source: Any, space: Any = None) -> Iterator[tuple[int, Episode]]:
    """Places and episodes of an open data set. Integer actions of a Discrete or MultiDiscrete space are counted from 0, whatever its
    `start`.

    Args:
      space: of the actions, where the data set does not say it.
    """
    known = getattr(source, "action_space", None)
    start = np.asarray(getattr(space if known is None else known, "start", 0))
    in_memory = not hasattr(source, "action_space")  # a recording has fields for these columns; its infos are the game's own
    for i, given in enumerate(source):
        episode = as_episode(given, id=i)
        if in_memory:
            episode = _with_columns_of_infos(episode, i)
        if start.any():
            episode = replace(episode, **{name: map_tree(lambda rows: np.asarray(rows) - start, column) for name in ("actions", "pre_clip")
                                          if (column := getattr(episode, name)) is not None})
        yield i, episode


def _with_columns_of_infos(episode: Episode, index: int) -> Episode:
    """An episode whose `agent`, `match` and `log_prob`, where it has none, are those of its infos, as Minari's episodes have them."""
    if not episode.infos:
        return episode
    found: dict[str, Any] = {}
    for name in ("agent", "match"):
        column = np.asarray(episode.infos.get(name, ()))
        if getattr(episode, name) is None and column.shape == (len(episode) + 1,) and (column == column[0]).all():
            found[name] = column[0].item()
    if episode.log_prob is None and _LOGP_KEY in episode.infos:
        logs = np.asarray(episode.infos[_LOGP_KEY])
        if logs.shape != (len(episode) + 1,):
            raise InputError(f"episode {index}, {_LOGP_KEY}: expected ({len(episode) + 1},) numbers, got {logs.shape}; element 0 belongs "
                             "to the reset")
        found["log_prob"] = logs[1:]
    return replace(episode, **found) if found else episode


def open_dataset(dataset: Any) -> Any:
    """What a data set's name stands for, or what a function gives; anything else as it is."""
    if isinstance(dataset, str) and dataset.startswith("minari:"):
        return read(minari=dataset.removeprefix("minari:"))
    if isinstance(dataset, str) or hasattr(dataset, "__fspath__"):
        return read(dataset)
    if callable(dataset) and not hasattr(dataset, "__iter__"):
        dataset = dataset()
    if not hasattr(dataset, "__iter__"):
        raise InputError(f"evaluation, dataset: expected 'minari:ID', a path, a recording, episodes or a function that gives them, got "
                         f"{type(dataset).__name__}")
    return dataset


def checked(episode: Episode, index: int, horizon: int | None = None, reward_range: tuple[float, float] | None = None) -> Logged:
    """An episode as an evaluation takes it.

    Raises:
      InputError: columns that are damaged or contradict each other; the message names episode, step and column.
    """
    where = f"episode {index}"
    whole = len(episode)
    if not whole:
        raise InputError(f"{where}: expected at least one step, got none; leave it out")
    _check_rows(episode.observations, whole + 1, f"{where}, observations", "log one row per step, and one after the last step")
    _check_rows(episode.actions, whole, f"{where}, actions", "log one row per step")
    over = np.logical_or(*(_numbers(getattr(episode, name), whole, where, name, "log one flag per step")
                           for name in ("terminations", "truncations")))
    if over[:-1].any():
        raise InputError(f"{where}, step {int(np.argmax(over))}, terminations: expected an end at the last step ({whole - 1}) only, got "
                         "one before it; split the episode there")
    T = whole if horizon is None else min(whole, horizon)
    rewards = _numbers(episode.rewards, whole, where, "rewards", "log one reward per step")[:T]
    _check_finite(rewards, where, "rewards")
    if reward_range is not None:
        low, high = reward_range
        wrong = (rewards < low) | (rewards > high)
        if wrong.any():
            t = int(np.argmax(wrong))
            raise InputError(f"{where}, step {t}, rewards: expected {low} to {high} as reward_range says, got {rewards[t]}; give a range "
                             "that holds")
    observations = map_tree(lambda rows: rows[:T + 1], episode.observations)
    if whole == T and episode.final_obs_missing:  # whatever stands in its place
        observations = map_tree(lambda rows: np.concatenate([rows[:T], rows[T - 1:T]]), observations)
    for path, rows in leaves(observations):
        if rows is not None:
            _check_finite(rows, where, "observations", path)
    actions = np.asarray(_single(episode.actions, where, "actions"))[:T]
    if actions.dtype.kind not in "iufb":
        raise InputError(f"{where}, actions: expected numbers, got {actions.dtype}; encode them as the policy's head does")
    _check_finite(actions, where, "actions")
    discrete = actions.dtype.kind in "iub"
    sampled = _same_shape(_single(episode.pre_clip, where, "pre_clip"), actions, where, "pre_clip", T)
    flags = None if episode.deterministic is None else _numbers(
        episode.deterministic, whole, where, "deterministic", "log one flag per step")[:T].astype(np.bool_)
    return Logged(
        index, T, observations, actions, actions if sampled is None else sampled,
        _same_shape(_single(episode.pre_tanh, where, "pre_tanh"), actions, where, "pre_tanh", T),
        rewards, _logp(episode, where, T, least_log_prob(actions[0].size) if discrete else None, flags), flags,
        whole == T and bool(episode.terminations[-1]), whole == T and not bool(episode.terminations[-1]) and horizon != T,
        whole == T and episode.final_obs_missing, discrete,
        episode.infos, episode.agent, None if episode.match is None else (episode.session, episode.match),
        None if episode.tick is None else np.asarray(episode.tick)[:T],
        None if episode.version is None else np.asarray(episode.version)[:T], episode.policies)


def _single(tree: Tree, where: str, column: str) -> Any:
    """The one array of a tree. Of a bridge's outputs by name it is "action", or the only one."""
    if isinstance(tree, np.ndarray):
        return tree
    if isinstance(tree, Mapping) and tree and not any(isinstance(part, Mapping | tuple) for part in tree.values()):
        names = [name for name in ("action", *tree) if name in tree][:1]
        if len(tree) == 1 or "action" in tree:
            return tree[names[0]]
    if isinstance(tree, Mapping | tuple):
        raise InputError(f"{where}, {column}: expected one array, got {type(tree).__name__}; flatten Dict and Tuple actions")
    return tree


def _logp(episode: Episode, where: str, T: int, least: float | None, flags: Array | None) -> Array | None:
    """[T] the behaviour's log-probabilities, NaN where unknown; None where there is no column.

    Args:
      least: below which the probability of a discrete action is 0; None for continuous ones.
    """
    discrete = least is not None
    logs = None if episode.log_prob is None else _numbers(
        episode.log_prob, len(episode), where, "behavior_logp", "give one logarithm per step")[:T]
    odds = None
    if _PROB_KEY in episode.infos:
        odds = _numbers(episode.infos[_PROB_KEY], len(episode) + 1, where, _PROB_KEY, "element 0 belongs to the reset")
        odds = odds[1:T + 1]
        _refuse(odds < 0, where, _PROB_KEY, odds, "a probability", "are these logarithms? name them behavior_logp")
        if discrete:
            _refuse(odds > 1 + _ROUNDING, where, _PROB_KEY, odds, "at most 1 for a discrete action", "mend the column")
        _refuse(odds == 0, where, _PROB_KEY, odds, "a probability above 0, since the action was taken", "log the distribution that drew it")
        _refuse(np.isposinf(odds), where, _PROB_KEY, odds, "a finite density", "record the action before clipping or squashing")
    lowest = -np.finfo(np.float64).max if least is None else least
    if logs is not None and not (logs.min() >= lowest and logs.max() <= 0):  # looked at one by one only where some may be wrong
        _refuse(logs < lowest, where, "behavior_logp", logs, "a probability above 0, since the action was taken",
                "log the distribution that drew it")
        _refuse(np.isposinf(logs), where, "behavior_logp", logs, "a finite logarithm", "record the action before clipping or squashing")
        if discrete:
            _refuse(logs > _ROUNDING, where, "behavior_logp", logs, "at most 0, a probability of 1, for a discrete action",
                    "are these probabilities? name them behavior_prob")
    if logs is not None and odds is not None:
        with np.errstate(over="ignore"):
            _refuse(np.abs(np.exp(logs) - odds) > 1e-5 * np.maximum(1.0, odds), where, f"behavior_logp beside {_PROB_KEY}", logs,
                    "logarithms of the probabilities beside them", "leave out the wrong column")
    found = logs if logs is not None else None if odds is None else np.log(odds)
    if flags is not None and flags.any() and discrete:
        found = np.where(flags, 0.0, np.full(T, np.nan) if found is None else found)
    return found


def _numbers(values: Any, n: int, where: str, column: str, remedy: str) -> Array:
    """[n] float64 of real numbers."""
    given = np.asarray(values)
    try:
        found = given.astype(np.float64, copy=False) if given.dtype.kind in "iufbO" else None
    except (TypeError, ValueError):  # objects that are no numbers
        found = None
    if found is None or found.shape != (n,):
        raise InputError(f"{where}, {column}: expected ({n},) numbers, got {given.dtype if found is None else given.shape}; {remedy}")
    return found


def _refuse(wrong: Array, where: str, column: str, values: Array, expected: str, remedy: str) -> None:
    if wrong.any():
        t = int(np.argmax(wrong))
        raise InputError(f"{where}, step {t}, {column}: expected {expected}, got {values[t]:g}; {remedy}")


def _check_finite(rows: Any, where: str, column: str, path: Path = ()) -> None:
    array = np.asarray(rows)
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    t = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(1)))
    column = ".".join(filter(None, [column, format_path(path)]))
    raise InputError(f"{where}, step {t}, {column}: expected finite numbers, got {array[t]!s:.80}; mend or leave out the episode "
                     "(--skip-nonfinite on the command line)")


def _check_rows(tree: Tree, n: int, where: str, remedy: str) -> None:
    for _, rows in leaves(tree):
        if rows is not None and (np.ndim(rows) < 1 or len(rows) != n):
            raise InputError(f"{where}: expected {n} rows, got shape {np.shape(rows)}; {remedy}")


def _same_shape(column: Any, actions: Array, where: str, name: str, T: int) -> Array | None:
    if column is None:
        return None
    rows = np.asarray(column)[:T]
    if rows.shape != actions.shape:
        raise InputError(f"{where}, {name}: expected {actions.shape} as the actions, got {rows.shape}; log it in their shape")
    _check_finite(rows, where, name)
    return rows
