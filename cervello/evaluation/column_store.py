"""Columns of numbers that only grow: in memory up to a size, and in a temporary file from there."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import IO, Any

import numpy as np

from cervello.errors import ConfigurationError
from cervello.spec import Array

_MEMORY_BYTES = 1 << 26  # in memory, before they are written


@dataclass(eq=False)
class _Column:
    """Parts as they were appended: arrays, or places in the file. ends: rows up to each part's end."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    parts: list[Array | int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


class ColumnStore:
    """Columns of rows by name. Mutable: `append` adds rows at the end of a column.

    At most 64 MiB of it, and the part that is read, are in memory; the rest is in a temporary file without a name, which the system deletes
    with the last reference to the store. Safe to read from several threads.
    """

    def __init__(self) -> None:
        self._columns: dict[Hashable, _Column] = {}
        self._held: list[tuple[_Column, int]] = []  # parts in memory
        self._held_bytes = 0
        self._file: IO[bytes] | None = None
        self._lock = Lock()

    def append(self, name: Hashable, rows: Array) -> None:
        """Adds [n, …] rows; the array belongs to the store from then on. A column has the type of its first rows.

        Raises:
          ConfigurationError: the temporary file cannot be written.
        """
        column = self._columns.setdefault(name, _Column(rows.shape[1:], rows.dtype))
        rows = np.ascontiguousarray(rows, column.dtype)
        column.parts.append(rows)
        column.ends.append(len(rows) + (column.ends[-1] if column.ends else 0))
        self._held.append((column, len(column.parts) - 1))
        self._held_bytes += rows.nbytes
        if self._held_bytes > _MEMORY_BYTES:
            self._write()

    def __contains__(self, name: Hashable) -> bool:
        return name in self._columns

    def read(self, name: Hashable, start: int, stop: int) -> Array:
        """[stop − start, …] rows of a column."""
        column = self._columns[name]
        first, last = np.searchsorted(column.ends, [start, stop - 1], "right").tolist()
        begins = [column.ends[part - 1] if part else 0 for part in range(first, last + 1)]
        found = [self._part(column, part)[max(start - begin, 0):stop - begin] for part, begin in zip(range(first, last + 1), begins,
                                                                                                  strict=True)]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def take(self, name: Hashable, rows: Array) -> Array:
        """[N, …] rows of a column, at any places [N]."""
        column = self._columns[name]
        found = np.empty((len(rows), *column.shape), column.dtype)
        at = np.searchsorted(column.ends, rows, "right")
        for part in np.unique(at).tolist():
            mine = at == part
            found[mine] = self._part(column, part)[rows[mine] - (column.ends[part - 1] if part else 0)]
        return found

    def _part(self, column: _Column, part: int) -> Array:
        place = column.parts[part]
        if not isinstance(place, int):
            return place
        n = column.ends[part] - (column.ends[part - 1] if part else 0)
        found = np.empty((n, *column.shape), column.dtype)
        assert self._file is not None
        with self._lock:
            self._file.seek(place)
            left = found.reshape(-1).view(np.uint8).data
            while left:  # one call reads 2 GiB at most
                n_read = self._file.readinto(left)  # type: ignore[attr-defined]
                if not n_read:
                    raise ConfigurationError("evaluation, temporary file: expected the numbers that were written, got the file's end; does "
                                             "another process change files in the temporary folder?")
                left = left[n_read:]
        return found

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  it lives as long as the store
                weakref.finalize(self, self._file.close)
            with self._lock:
                at = self._file.seek(0, 2)
                for column, part in self._held:
                    rows = column.parts[part]
                    assert not isinstance(rows, int)
                    left = rows.reshape(-1).view(np.uint8)
                    while len(left):
                        left = left[self._file.write(left.data):]
                    column.parts[part] = at
                    at += rows.nbytes
        except OSError as error:
            raise ConfigurationError(f"evaluation, temporary file: expected room in {tempfile.gettempdir()!r} for what is known of each "
                                     f"step, got {error}; set TMPDIR to a folder with more room, or evaluate fewer policies at a time",
                                     ) from error
        self._held, self._held_bytes = [], 0
