"""Copies observations of single agents into columns in compiled code, for arrays that need no conversion."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cervello.batcher.pad import sole_input
from cervello.codegen import entry
from cervello.native.execution.c_api import api
from cervello.native.kernels import row_words as words
from cervello.noise import layout
from cervello.spec import Specs

Array = np.ndarray[Any, Any]
_READ, _PUSH = (f"cervello.native.kernels.observations:{name}" for name in ("read_rows", "push_row"))


class Directory(NamedTuple):
    """Tables in which compiled code looks up the agents that have begun.

    Attributes:
      slots: slot by agent id (int or str).
      writer: [1] int64, nonzero while `slots` is being changed.
      births: [1] int64, the address of the int64 generations by slot.
    """

    slots: dict[Any, int]
    writer: Array
    births: Array


@lru_cache(maxsize=1)
def _locks_are_known() -> bool:
    """Whether this interpreter stores the owner of a `threading.RLock` at the offset that compiled code reads."""
    lock = threading.RLock()
    at = ctypes.c_int64.from_address(id(lock) + words.LOCK_OWNER)
    found = [at.value == 0]
    with lock:
        found.append(at.value == threading.get_ident())
        with lock:
            found.append(at.value == threading.get_ident())
        found.append(at.value != 0)
    return all([*found, at.value == 0])


class RowReader:
    """Copies observations to rows of columns in one compiled call. Mutable: it writes to the columns of the last `bind`.

    Attributes:
      read: f(first row, 0, *observations) → the number of observations copied; it stops at the first that needs a conversion.
      push: f(0, 0, agent, observation[, frame, lock]) → 1 if the agent was added to the dicts of the last `open`, else 0; see
        `kernels.observations.push_row`.

    Args:
      specs: of the columns.
      directory: agents that have begun; None disables `push`.
    """

    __slots__ = ("_open", "_records", "_specs", "_table", "push", "read")

    def __init__(self, specs: Specs, directory: Directory | None = None):
        self._table: Array = np.zeros(words.HEADER + words.WORDS * len(specs), np.int64)
        header = {words.ARRAY_TYPE: id(np.ndarray), words.DICT_TYPE: id(dict), words.STR_TYPE: id(str), words.DICT_SIZE: api("PyDict_Size"),
                  words.DICT_GET: api("PyDict_GetItemWithError"), words.DICT_NEXT: api("PyDict_Next"), words.N_INPUTS: len(specs),
                  words.SOLE: int(len(specs) == 1 and sole_input(specs) is not None)}
        self._table[list(header)] = list(header.values())
        self._specs, self._records = specs, dict[str, Array]()
        for i, (name, spec) in enumerate(specs.items()):
            record = self._records[name] = self._table[words.HEADER + words.WORDS * i:][:words.WORDS]
            record[words.NAME], record[words.N_DIMS] = id(spec.name), len(spec.shape)
            record[words.DIMS:words.DIMS + len(spec.shape)] = spec.shape
        keep = self._table, tuple(specs.values()), directory
        self.read: Callable[..., int] = entry.fastcall_objects(_READ, self._table.ctypes.data, keep)
        self._open: tuple[Any, ...] = (None,) * 5
        self.push: Callable[..., int] | None = None
        if directory is not None:
            known = {words.INT_TYPE: id(int), words.DICT_SET: api("PyDict_SetItem"), words.INT_VALUE: api("PyLong_AsLongLong"),
                     words.INT_MAKE: api("PyLong_FromLongLong"), words.DECREF: api("Py_DecRef"), words.ERR_CLEAR: api("PyErr_Clear"),
                     words.SLOTS: id(directory.slots), words.WRITER: directory.writer.ctypes.data,
                     words.BIRTHS_AT: directory.births.ctypes.data}
            self._table[list(known)] = list(known.values())
            self.push = entry.fastcall_objects(_PUSH, self._table.ctypes.data, keep)

    @classmethod
    def of(cls, specs: Specs, directory: Directory | None = None) -> RowReader | None:
        """A reader of rows of these `specs`, for the agents of `directory`.

        None if compiled code cannot read this interpreter's arrays and dicts, or if it does not support these inputs.
        """
        if not specs or not layout.is_known() or any(len(spec.shape) > words.MOST_DIMS for spec in specs.values()):
            return None
        return cls(specs, directory)

    def open(self, births: dict[Any, int], rows: dict[Any, int], since: dict[Any, int] | None, first: int, capacity: int) -> None:
        """Lets `push` add agents to these dicts and write rows from `first` on, until `shut`.

        Args:
          births, rows: generation and row of each waiting agent.
          since: the frame from which each agent waits (of its first push; later pushes keep it); None if frames are not counted.
          first, capacity: the first free row, and the rows of the columns.
        """
        if since is not None and not _locks_are_known():
            return
        table, last = self._table, self._open
        if births is not last[0] or rows is not last[1] or since is not last[2] or first != last[3] or capacity != last[4]:
            self._open = births, rows, since, first, capacity  # keepalive: compiled code holds their addresses
            table[words.BIRTHS:words.CAPACITY + 1] = id(births), id(rows), 0 if since is None else id(since), first, capacity
        table[words.OPEN] = 1

    def shut(self) -> None:
        """Disables `push` until the next `open`."""
        self._table[words.OPEN] = 0

    def bind(self, columns: Mapping[str, Array]) -> None:
        """Sets the target columns, [capacity, *row] each; observations must have their dtypes. The caller keeps them alive."""
        for name, column in columns.items():
            record, spec = self._records[name], self._specs[name]
            dtype = spec.dtype if column.dtype == spec.dtype else np.dtype(column.dtype.type)  # dtype objects that outlive this reader
            record[words.COLUMN], record[words.DESCR] = column.ctypes.data, id(dtype)
            record[words.ROW_BYTES] = int(np.prod(spec.shape, dtype=np.int64)) * dtype.itemsize
