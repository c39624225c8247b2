"""Assembles episodes from records, each of which has rows of many episodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from cervello.recording.episode import Episode
from cervello.recording.filling import gathered, joined, one_tree
from cervello.recording.records import Kind, Record
from cervello.recording.trees import Path, from_leaves
from cervello.spec import Array

_FILLS: dict[str, Any] = {"tick": -1}  # fill of a missing column; else `filling.nothing`: NaN, 0, False
_SOURCES = np.array(["unknown", "policy"])


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """The layout of a record's columns in the bytes of one row, so the cost of keeping a row does not depend on their number."""

    kind: Kind
    dtype: np.dtype[Any]
    paths: tuple[Path, ...]


@dataclass(slots=True)
class _Life:
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
        self._lives: dict[int, _Life] = {}
        self._layouts: dict[Any, _Layout] = {}
        self._n_begun = 0
        self._policies: dict[int, Any] | None = None  # of the session
        self._session = -1
        self.n_empty = 0

    def take(self, record: Record) -> Iterator[Episode]:
        """Takes a record, and yields the episodes that end with it, in the order of its rows.

        Raises:
          ValueError: records that contradict each other.
        """
        if record.kind is Kind.SESSION:
            yield from self.rest()
            self._session += 1
            policies = record.metadata.get("policies")
            self._policies = None if policies is None else {int(version): about for version, about in policies.items()}
            return
        columns = dict(record.columns)
        handles = columns.pop(("episode",)).tolist()
        if record.kind is Kind.OUTCOME:
            self._amend(handles, columns)
            return
        layout, data = self._laid_out(record.kind, columns, len(handles))
        n_bytes = layout.dtype.itemsize
        if record.kind is Kind.BEGIN:
            for handle in handles:
                if handle in self._lives:
                    raise ValueError(f"episode {handle} begins twice")
                self._lives[handle] = _Life(self._n_begun)
                self._n_begun += 1
        steps = record.kind in (Kind.STEP, Kind.DECIDE)
        at = 0
        for handle in handles:
            life = self._life(handle)
            life.rows.append((layout, data[at:at + n_bytes]))
            life.n_steps += steps
            at += n_bytes
        if record.kind in (Kind.STEP, Kind.END):
            ends = columns["terminated",] | columns["truncated",]
            for i in np.flatnonzero(ends).tolist():
                yield from self._given(self._lives.pop(handles[i]))

    def rest(self) -> Iterator[Episode]:
        """The episodes that never ended, in the order in which they began."""
        lives = sorted(self._lives.values(), key=lambda life: life.id)
        self._lives = {}
        for life in lives:
            yield from self._given(life)

    def _life(self, handle: int) -> _Life:
        if handle not in self._lives:
            raise ValueError(f"episode {handle} goes on, but is not there")
        return self._lives[handle]

    def _given(self, life: _Life) -> Iterator[Episode]:
        if life.n_steps:
            episode = _episode(life)
            plain = self._policies is None and self._session < 1
            yield episode if plain else replace(episode, policies=self._policies, session=self._session)
        else:
            self.n_empty += 1

    def _laid_out(self, kind: Kind, columns: dict[Path, Array], n_rows: int) -> tuple[_Layout, bytes]:
        """The rows of a record one after the other."""
        key = kind, tuple((path, array.dtype.str, array.shape[1:]) for path, array in columns.items())
        layout = self._layouts.get(key)
        if layout is None:
            dtype = np.dtype([(f"f{i}", name, shape) for i, (_, name, shape) in enumerate(key[1])])
            layout = self._layouts[key] = _Layout(kind, dtype, tuple(columns))
        rows = np.empty(n_rows, layout.dtype)
        for i, array in enumerate(columns.values()):
            rows[f"f{i}"] = array
        return layout, rows.tobytes()

    def _amend(self, handles: list[int], columns: dict[Path, Array]) -> None:
        steps = columns.pop(("step",)).tolist()
        rewards = columns.pop(("reward",), None)
        for i, (handle, step) in enumerate(zip(handles, steps, strict=True)):
            life = self._life(handle)
            if not 0 <= step < life.n_steps:
                raise ValueError(f"step {step} of episode {handle} is not there")
            reward = None if rewards is None else float(rewards[i])
            life.amendments.append((step, reward, {path: array[i].copy() for path, array in columns.items()}))


def _episode(life: _Life) -> Episode:
    """Makes the episode of a life with at least one step."""
    observations: dict[Path, list[Array]] = {}
    infos: dict[Path, list[tuple[int, Array]]] = {}
    steps: dict[Path, list[tuple[int, Array]]] = {}
    plain: dict[str, Any] = {}
    t = 0
    flags = np.zeros(2, np.bool_)
    for layout, group in groupby(life.rows, key=lambda row: row[0]):
        pieces = [row for _, row in group]
        n = len(pieces)
        rows = np.frombuffer(b"".join(pieces), layout.dtype) if layout.dtype.itemsize else np.empty(n, layout.dtype)
        is_step = layout.kind in (Kind.STEP, Kind.DECIDE)
        for i, path in enumerate(layout.paths):
            column = rows[f"f{i}"]
            if path[0] == "observation":
                observations.setdefault(path[1:], []).append(column)
            elif path[0] == "infos":
                infos.setdefault(path[1:], []).append((t + is_step, column))
            elif is_step:
                steps.setdefault(path, []).append((t, column))
            elif layout.kind is Kind.BEGIN:
                plain[str(path[0])] = column[0].item()
            elif path[0] in ("terminated", "truncated"):
                flags[int(path[0] == "truncated")] |= column[0]
        if is_step:
            t += n
    T = life.n_steps
    seen, missing = _observations(observations, T)
    found = {path: joined(parts, T, _FILLS.get(str(path[0]))) for path, parts in steps.items()}
    rewards = found.pop(("reward",), np.zeros(T))
    terminations, truncations = (found.pop((name,), np.zeros(T, np.bool_)) for name in ("terminated", "truncated"))
    terminations[-1] |= flags[0]
    truncations[-1] |= flags[1]
    _amended(life, rewards, found, T)
    trees: dict[str, dict[Path, Array]] = {}
    for path, array in found.items():
        trees.setdefault(str(path[0]), {})[path[1:]] = array
    columns = {name: from_leaves(flat) for name, flat in trees.items()}
    if "source" in columns:
        columns["source"] = _SOURCES[columns["source"]]
    return Episode(life.id, seen, columns.pop("action"), rewards, terminations, truncations,
                   one_tree({path: gathered(parts, T + 1) for path, parts in infos.items()}), final_obs_missing=missing, **columns, **plain)


def _observations(parts: dict[Path, list[Array]], T: int) -> tuple[Any, bool]:
    """The tree of [T + 1, …], and whether its last row repeats the one before it."""
    flat = {path: np.concatenate(arrays) for path, arrays in parts.items()}
    counts = {len(array) for array in flat.values()}
    if counts not in ({T}, {T + 1}):
        raise ValueError(f"{sorted(counts)} observations of an episode of {T} steps")
    missing = counts == {T}
    if missing:
        flat = {path: np.concatenate([array, array[-1:]]) for path, array in flat.items()}
    return from_leaves(flat), missing


def _amended(life: _Life, rewards: Array, found: dict[Path, Array], T: int) -> None:
    for step, reward, action in life.amendments:
        if reward is not None:
            rewards[step] += reward
        if action:
            for path, row in action.items():
                if path not in found or found[path].shape[1:] != row.shape:
                    raise ValueError(f"another action in place of one that has no {path!r} of {row.shape}")
                found[path][step] = row
            found.setdefault(("overridden",), np.zeros(T, np.bool_))[step] = True
            if ("log_prob",) in found:
                found["log_prob",][step] = np.nan
