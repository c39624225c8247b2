"""Steps of environments into a recording: which rows have an open episode, and what they were told to do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from cervello.envs.decision import Decision
from cervello.errors import AgentError, RecordingError
from cervello.recording import Writer
from cervello.recording.trees import KINDS, Tree
from cervello.spec import AgentId, Array


class EpisodeLog:
    """One writer for the rows of an environment. Mutable.

    Args:
      target: a path, or a writer that others use too, which stays open.
      spaces: (observation space, action space) of one row, or None.
      durable: wait for the disk whenever an episode ends.

    A step or reset that cannot be recorded ends the recording of all episodes that are open, as truncated: with a step missing, what
    follows would be taken for what its action led to. `check` refuses further steps until the next reset.
    """

    def __init__(self, target: str | os.PathLike[str] | Writer, spaces: tuple[Any, Any] | None, durable: bool):
        self._owned = not isinstance(target, Writer)
        observation, action = spaces or (None, None)
        self.writer = target if isinstance(target, Writer) else Writer(
            target, observation_space=observation, action_space=action, durable=durable)
        self._handles: dict[AgentId, int] = {}
        self._cut: list[int] = []  # episodes to end as truncated
        self._failed = False
        self._decision: Decision | None = None

    def tell(self, decision: Decision) -> None:
        """Notes what a policy decided for the next step."""
        self._decision = decision

    def __contains__(self, row: object) -> bool:
        return row in self._handles

    def check(self) -> None:
        """Raises RecordingError after a step or reset that could not be recorded, until the next reset."""
        if self._failed:
            self._decision = None
            raise RecordingError(f"{self.writer.path}: expected episodes of which every step is recorded, got one that could not be; reset "
                                 "the environment to record again")

    def cut(self, rows: Sequence[AgentId] | None = None) -> None:
        """Truncates the episodes of rows, all by default, as a reset does."""
        self._cut += [self._handles.pop(row) for row in (list(self._handles) if rows is None else rows) if row in self._handles]
        if self._cut:
            self._failed = True  # unless the next lines return
            try:
                self.writer.end(np.array(self._cut), truncated=True)
            except AgentError:  # the writer had ended one of them when it failed
                for handle in self._cut:
                    with suppress(AgentError):
                        self.writer.end(np.array([handle]), truncated=True)
            self._cut = []
        self._failed = False
        self._decision = None

    @contextmanager
    def whole(self) -> Iterator[None]:
        """What is recorded within is recorded, or no open episode goes on."""
        try:
            yield
        except BaseException:
            self._cut += self._handles.values()
            self._handles.clear()
            self._failed = True
            raise

    def begin(self, rows: Sequence[AgentId], observations: Tree, infos: Mapping[str, Tree] | None,
              seeds: Sequence[int | None] | None = None,
              agents: Sequence[AgentId] | None = None, match: int | None = None) -> None:
        """Episodes begin in rows; one that is open there is truncated, as the reset has cut it.

        Args:
          observations: tree of [n, …]; infos: tree of [n, …].
          seeds: of the resets. agents, match: whose lives these are, and in which match.
        """
        known = None if seeds is None or any(seed is None for seed in seeds) else [int(seed) for seed in seeds if seed is not None]
        with self.whole():
            self.cut(rows)
            handles = self.writer.begin(len(rows), observations, infos=infos, seed=known, agent=agents, match=match)
        self._handles.update(zip(rows, handles.tolist(), strict=True))

    def step(self, rows: Sequence[AgentId], observations: Tree, actions: Tree, rewards: Array, terminated: Array, truncated: Array,
             infos: Mapping[str, Tree] | None, places: Array | None = None) -> None:
        """One step of rows, [n, …]; episodes that are over end.

        Args:
          places: [n] int64, the rows' positions among those that a decision was told for.
        Raises:
          RecordingError: the file cannot be written, or a row has no episode.
        """
        missing = next((row for row in rows if row not in self._handles), None)
        if missing is not None:
            self._decision = None
            with self.whole():  # the environment has moved on, so the steps of its other rows are missing too
                raise RecordingError(f"{self.writer.path}: expected a step of an episode that has begun, got one of {missing!r}; reset the "
                                     "environment first")
        decision, self._decision = self._decision, None
        n = len(rows)
        options: dict[str, Any] = {"source": "unknown", "log_prob": np.full(n, np.nan, np.float32)}
        if decision is not None:
            options = _told(decision, np.arange(n) if places is None else places, actions)
        with self.whole():
            self.writer.step(np.array([self._handles[row] for row in rows]), observations, actions, rewards, terminated=terminated,
                             truncated=truncated, infos=infos, **options)
        for row, over in zip(rows, (terminated | truncated).tolist(), strict=True):
            if over:
                del self._handles[row]

    def close(self) -> None:
        """Closes the writer, unless others use it; episodes that are open stay unfinished."""
        if self._owned:
            self.writer.close()


def _told(decision: Decision, places: Array, actions: Tree) -> dict[str, Any]:
    """Columns of a decision for rows at places; rows it says nothing of are of unknown source."""
    index = {place: i for i, place in enumerate(decision.places.tolist())}
    found = np.array([index.get(place, -1) for place in places.tolist()])
    known = found >= 0
    columns: dict[str, Any] = {
        "source": ["policy" if each else "unknown" for each in known],
        "log_prob": np.where(known, decision.log_prob[found], np.float32(np.nan)),
        "deterministic": known & decision.deterministic[found], "version": np.where(known, decision.version, 0)}
    if decision.stream is not None:
        columns["stream"] = np.where(known, np.uint64(decision.stream), np.uint64(0))
    executed = np.asarray(decision.action)[found]
    same = np.array([np.array_equal(a, b, equal_nan=True) for a, b in zip(executed, np.asarray(actions), strict=True)])
    columns["overridden"] = known & ~same
    columns["log_prob"] = np.where(columns["overridden"], np.float32(np.nan), columns["log_prob"])
    if known.all():
        for name in ("pre_tanh", "pre_clip"):
            given = getattr(decision, name)
            if given is not None:
                columns[name] = np.asarray(given)[found]
    return columns


def info_columns(infos: list[Any]) -> dict[str, Tree]:
    """Infos of rows as columns: numbers, bools, strings and arrays of one shape; other things are left out.

    Beside a key that some row lacks stands the bool column `_key`.
    """
    columns: dict[str, Tree] = {}
    for key in dict.fromkeys(key for info in infos for key in (info or {}) if isinstance(key, str) and not key.startswith("_")):
        there = np.array([key in (info or {}) for info in infos])
        values = [np.asarray(info[key]) for info, has in zip(infos, there, strict=True) if has and not isinstance(info[key], Mapping)]
        first = values[0] if len(values) == int(there.sum()) else None
        if first is None or first.dtype.kind not in KINDS or any((v.shape, v.dtype) != (first.shape, first.dtype) for v in values):
            continue
        column = np.zeros((len(infos), *first.shape), first.dtype)
        column[there] = values
        columns[key] = column
        if not there.all():
            columns[f"_{key}"] = there
    return columns


def vector_info_columns(infos: Mapping[str, Any], rows: Array, n: int) -> dict[str, Tree]:
    """The infos of some rows of a vector environment, {key: [N, …], _key: [N] bool}."""
    found: dict[str, Tree] = {}
    for key, value in infos.items():
        if key.startswith("_") or key in ("final_obs", "final_info") or isinstance(value, Mapping):
            continue
        column = np.asarray(value)
        if column.dtype.kind not in KINDS or column.ndim < 1 or len(column) != n:
            continue
        found[key] = column[rows]
        there = infos.get(f"_{key}")
        if there is not None and not np.asarray(there)[rows].all():
            found[f"_{key}"] = np.asarray(there, np.bool_)[rows]
    return found


def infos_of_the_step(infos: Mapping[str, Any], ended: Array) -> dict[str, Any]:
    """What SAME_STEP says of the steps themselves: rows that have ended have it in `final_info`, beside the next episode's infos.

    Args:
      infos: of a vector environment; ended: [N] bool.
    """
    final = infos.get("final_info")
    final = final if isinstance(final, Mapping) else {}
    found: dict[str, Any] = {}
    for key in dict.fromkeys([*infos, *final]):
        if key.startswith("_") or key in ("final_obs", "final_info"):
            continue
        going, over = infos.get(key), final.get(key)
        given = going if over is None else over
        if not isinstance(given, np.ndarray) or given.shape[:1] != ended.shape:
            continue
        there = np.zeros(len(ended), np.bool_)
        column = np.zeros_like(given)
        for source, values, rows in ((infos, going, ~ended), (final, over, ended)):
            if isinstance(values, np.ndarray) and (values.shape, values.dtype) == (given.shape, given.dtype):
                column[rows] = values[rows]
                there[rows] = np.asarray(source.get(f"_{key}", rows), np.bool_)[rows]
        if there.any():
            found[key], found[f"_{key}"] = column, there
    return found
