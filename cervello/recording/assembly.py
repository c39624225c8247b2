"""Assembles episodes from records, each of which has rows of many episodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from cervello.recording.episode import Episode
from cervello.recording.filling import Part, fill_infos, join_parts, join_parts_with_mask
from cervello.recording.records import Kind, Record
from cervello.recording.trees import Path, from_leaves
from cervello.spec import Array

_FILLS: dict[str, Any] = {"tick": -1}  # of rows where a column is missing; else `filling.fill_value`: NaN, 0, False
_SOURCES = np.array(["unknown", "policy"])
_STEP_KINDS = (Kind.STEP, Kind.DECIDE)


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """The layout of a record's columns in the bytes of one row, so the cost of keeping a row does not depend on their number."""

    kind: Kind
    dtype: np.dtype[Any]
    paths: tuple[Path, ...]


@dataclass(slots=True)
class _OpenEpisode:
    """An episode that has not ended yet.

    Attributes:
      rows: recorded rows, in order.
      amendments: (step, reward to add or None, action by path).
    """

    id: int
    n_steps: int = 0
    rows: list[tuple[_Layout, bytes]] = field(default_factory=list)
    amendments: list[tuple[int, float | None, dict[Path, Array]]] = field(default_factory=list)


class Assembler:
    """Takes the records of a log in order and yields the episodes as they end. Holds open episodes only.

    Attributes:
      n_empty: episodes that ended without a step; they are not yielded.
    """

    def __init__(self) -> None:
        self._open: dict[int, _OpenEpisode] = {}  # by handle
        self._layouts: dict[Any, _Layout] = {}
        self._n_begun = 0
        self._policies: dict[int, Any] | None = None  # of the session
        self._session = -1
        self.n_empty = 0

    def add_record(self, record: Record) -> Iterator[Episode]:
        """Adds a record, and yields the episodes that end with it, in the order of its rows.

        Raises:
          ValueError: records that contradict each other.
        """
        if record.kind is Kind.SESSION:
            yield from self.flush()
            self._session += 1
            policies = record.metadata.get("policies")
            self._policies = None if policies is None else {int(version): about for version, about in policies.items()}
            return
        columns = dict(record.columns)
        handles = columns.pop(("episode",)).tolist()
        if record.kind is Kind.OUTCOME:
            self._amend(handles, columns)
            return
        if record.kind is Kind.BEGIN:
            self._begin(handles)
        layout, rows = self._packed_rows(record.kind, columns, len(handles))
        n_steps = int(record.kind in _STEP_KINDS)
        for handle, row in zip(handles, rows, strict=True):
            opened = self._find(handle)
            opened.rows.append((layout, row))
            opened.n_steps += n_steps
        if record.kind in (Kind.STEP, Kind.END):
            ends = columns["terminated",] | columns["truncated",]
            for i in np.flatnonzero(ends).tolist():
                yield from self._finish(self._open.pop(handles[i]))

    def flush(self) -> Iterator[Episode]:
        """Yields the episodes that never ended, in the order in which they began."""
        unfinished = sorted(self._open.values(), key=lambda opened: opened.id)
        self._open = {}
        for opened in unfinished:
            yield from self._finish(opened)

    def _begin(self, handles: list[int]) -> None:
        for handle in handles:
            if handle in self._open:
                raise ValueError(f"episode {handle} begins twice")
            self._open[handle] = _OpenEpisode(self._n_begun)
            self._n_begun += 1

    def _find(self, handle: int) -> _OpenEpisode:
        if handle not in self._open:
            raise ValueError(f"episode {handle} goes on, but is not there")
        return self._open[handle]

    def _finish(self, opened: _OpenEpisode) -> Iterator[Episode]:
        if opened.n_steps:
            episode = _assembled(opened)
            is_plain = self._policies is None and self._session < 1
            yield episode if is_plain else replace(episode, policies=self._policies, session=self._session)
        else:
            self.n_empty += 1

    def _packed_rows(self, kind: Kind, columns: dict[Path, Array], n_rows: int) -> tuple[_Layout, list[bytes]]:
        """The bytes of each row of a record, all columns in one."""
        key = kind, tuple((path, array.dtype.str, array.shape[1:]) for path, array in columns.items())
        layout = self._layouts.get(key)
        if layout is None:
            dtype = np.dtype([(f"f{i}", name, shape) for i, (_, name, shape) in enumerate(key[1])])
            layout = self._layouts[key] = _Layout(kind, dtype, tuple(columns))
        rows = np.empty(n_rows, layout.dtype)
        for i, array in enumerate(columns.values()):
            rows[f"f{i}"] = array
        data, n_bytes = rows.tobytes(), layout.dtype.itemsize
        return layout, [data[i * n_bytes:(i + 1) * n_bytes] for i in range(n_rows)]

    def _amend(self, handles: list[int], columns: dict[Path, Array]) -> None:
        steps = columns.pop(("step",)).tolist()
        rewards = columns.pop(("reward",), None)
        for i, (handle, step) in enumerate(zip(handles, steps, strict=True)):
            opened = self._find(handle)
            if not 0 <= step < opened.n_steps:
                raise ValueError(f"step {step} of episode {handle} is not there")
            reward = None if rewards is None else float(rewards[i])
            opened.amendments.append((step, reward, {path: array[i].copy() for path, array in columns.items()}))


@dataclass(slots=True)
class _Parts:
    """The columns of one episode, in parts: one for each run of records of one layout.

    Attributes:
      observations: in order, by path.
      infos, steps: by path, each part with the number of its first row among [T + 1, …] and [T, …].
      fields: scalar fields of the episode, by name.
      terminated, truncated: whether a record of the end says so.
    """

    observations: dict[Path, list[Array]] = field(default_factory=dict)
    infos: dict[Path, list[Part]] = field(default_factory=dict)
    steps: dict[Path, list[Part]] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    terminated: bool = False
    truncated: bool = False

    def add(self, path: Path, kind: Kind, t: int, rows: Array) -> None:
        """Adds the rows of a column.

        Args:
          kind: of their records.
          t: steps before them.
        """
        is_step = kind in _STEP_KINDS
        if path[0] == "observation":
            self.observations.setdefault(path[1:], []).append(rows)
        elif path[0] == "infos":
            self.infos.setdefault(path[1:], []).append((t + is_step, rows))
        elif is_step:
            self.steps.setdefault(path, []).append((t, rows))
        elif kind is Kind.BEGIN:
            self.fields[str(path[0])] = rows[0].item()
        elif path[0] == "terminated":
            self.terminated |= bool(rows[0])
        elif path[0] == "truncated":
            self.truncated |= bool(rows[0])


def _parts(rows: list[tuple[_Layout, bytes]]) -> _Parts:
    found = _Parts()
    t = 0
    for layout, group in groupby(rows, key=lambda row: row[0]):
        packed = [row for _, row in group]
        n = len(packed)
        structured = np.frombuffer(b"".join(packed), layout.dtype) if layout.dtype.itemsize else np.empty(n, layout.dtype)
        for i, path in enumerate(layout.paths):
            found.add(path, layout.kind, t, structured[f"f{i}"])
        if layout.kind in _STEP_KINDS:
            t += n
    return found


def _assembled(opened: _OpenEpisode) -> Episode:
    """The episode, of at least one step."""
    T, parts = opened.n_steps, _parts(opened.rows)
    observations, final_obs_missing = _observations(parts.observations, T)
    columns = {path: join_parts(each, T, _FILLS.get(str(path[0]))) for path, each in parts.steps.items()}
    rewards = columns.pop(("reward",), np.zeros(T))
    terminations, truncations = (columns.pop((name,), np.zeros(T, np.bool_)) for name in ("terminated", "truncated"))
    terminations[-1] |= parts.terminated
    truncations[-1] |= parts.truncated
    _apply_amendments(opened, rewards, columns, T)
    leaves_by_name: dict[str, dict[Path, Array]] = {}
    for path, array in columns.items():
        leaves_by_name.setdefault(str(path[0]), {})[path[1:]] = array
    trees = {name: from_leaves(flat) for name, flat in leaves_by_name.items()}
    if "source" in trees:
        trees["source"] = _SOURCES[trees["source"]]
    infos = fill_infos({path: join_parts_with_mask(each, T + 1) for path, each in parts.infos.items()})
    return Episode(opened.id, observations, trees.pop("action"), rewards, terminations, truncations, infos,
                   final_obs_missing=final_obs_missing, **trees, **parts.fields)


def _observations(parts: dict[Path, list[Array]], T: int) -> tuple[Any, bool]:
    """The tree of [T + 1, …], and whether its last row repeats the one before it."""
    flat = {path: np.concatenate(arrays) for path, arrays in parts.items()}
    counts = {len(array) for array in flat.values()}
    if counts not in ({T}, {T + 1}):
        raise ValueError(f"{sorted(counts)} observations of an episode of {T} steps")
    final_obs_missing = counts == {T}
    if final_obs_missing:
        flat = {path: np.concatenate([array, array[-1:]]) for path, array in flat.items()}
    return from_leaves(flat), final_obs_missing


def _apply_amendments(opened: _OpenEpisode, rewards: Array, columns: dict[Path, Array], T: int) -> None:
    for step, reward, action in opened.amendments:
        if reward is not None:
            rewards[step] += reward
        if action:
            for path, row in action.items():
                if path not in columns or columns[path].shape[1:] != row.shape:
                    raise ValueError(f"another action in place of one that has no {path!r} of {row.shape}")
                columns[path][step] = row
            columns.setdefault(("overridden",), np.zeros(T, np.bool_))[step] = True
            if ("log_prob",) in columns:
                columns["log_prob",][step] = np.nan
