"""Copies observations of single agents into columns in compiled code, for arrays that need no conversion."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cervello.batcher.observation import sole_input
from cervello.codegen import entry
from cervello.native.execution.c_api import api
from cervello.native.kernels.row_words import INPUT, LOCK_OWNER, MAX_DIMS, READER
from cervello.noise import layout
from cervello.spec import Specs

Array = np.ndarray[Any, Any]
_W, _IN = READER.index, INPUT.index
_ACCEPTS = _W.accepts
_READ, _PUSH = (f"cervello.native.kernels.observations:{name}" for name in ("read_rows", "push_row"))


class Directory(NamedTuple):
    """Tables in which compiled code looks up the agents that have begun.

    Attributes:
      slots: slot by agent id (int or str).
      writer: [1] int64, nonzero while `slots` is being changed.
      generations: [1] int64, the address of the int64 generations by slot.
    """

    slots: dict[Any, int]
    writer: Array
    generations: Array


@lru_cache(maxsize=1)
def _locks_are_known() -> bool:
    """Whether this interpreter stores the owner of a `threading.RLock` at the offset that compiled code reads."""
    lock = threading.RLock()
    at = ctypes.c_int64.from_address(id(lock) + LOCK_OWNER)
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
      push: f(agent, observation[, frame, lock]) → 1 if the agent was added to the dicts of the last `open`, else 0; see
        `kernels.observations.push_row`.

    Args:
      specs: of the columns.
      directory: agents that have begun; None disables `push`.
    """

    __slots__ = ("_open", "_records", "_specs", "_table", "_words", "push", "read")

    def __init__(self, specs: Specs, directory: Directory | None = None):
        known = {"array_type": id(np.ndarray), "dict_type": id(dict), "str_type": id(str), "dict_size": api("PyDict_Size"),
                 "dict_get": api("PyDict_GetItemWithError"), "dict_next": api("PyDict_Next"), "n_inputs": len(specs),
                 "single_input": int(len(specs) == 1 and sole_input(specs) is not None)}
        if directory is not None:
            known |= {"int_type": id(int), "dict_set": api("PyDict_SetItem"), "int_to_word": api("PyLong_AsLongLong"),
                      "int_from_word": api("PyLong_FromLongLong"), "decref": api("Py_DecRef"), "err_clear": api("PyErr_Clear"),
                      "slots": id(directory.slots), "writer": directory.writer.ctypes.data,
                      "generations_at": directory.generations.ctypes.data}
        self._table: Array = np.array(READER.filled(**known) + [0] * (INPUT.n_words * len(specs)), np.int64)
        self._words = self._table.data  # a memoryview, which sets a word in half of the time
        self._specs, self._records = specs, dict[str, Array]()
        records = self._table[_W.more:].reshape(len(specs), INPUT.n_words)
        for record, (name, spec) in zip(records, specs.items(), strict=True):
            record[_IN.name], record[_IN.rank] = id(spec.name), len(spec.shape)
            record[_IN.sizes:_IN.sizes + len(spec.shape)] = spec.shape
            self._records[name] = record
        keep = self._table, tuple(specs.values()), directory
        self.read: Callable[..., int] = entry.fastcall_objects(_READ, self._table.ctypes.data, keep)
        self._open: tuple[Any, ...] = (None,) * 5
        self.push: Callable[..., int] | None = None
        if directory is not None:
            self.push = entry.fastcall_objects(_PUSH, self._table.ctypes.data, keep, words=False)

    @classmethod
    def of(cls, specs: Specs, directory: Directory | None = None) -> RowReader | None:
        """A reader of rows of these `specs`, for the agents of `directory`.

        None if compiled code cannot read this interpreter's arrays and dicts, or if it does not support these inputs.
        """
        if not specs or not layout.is_known() or any(len(spec.shape) > MAX_DIMS for spec in specs.values()):
            return None
        return cls(specs, directory)

    def open(self, generations: dict[Any, int], rows: dict[Any, int] | None, enqueued_frames: dict[Any, int] | None, first: int,
             capacity: int) -> None:
        """Lets `push` add agents to these dicts and write rows from `first` on, until `shut`.

        Args:
          generations: of each waiting agent. rows: its row; None if none is to be recorded, which needs `enqueued_frames` of None.
          enqueued_frames: the frame from which each agent waits (of its first push; later pushes keep it); None if frames are not counted.
          first, capacity: the first free row, and the rows of the columns.
        """
        last = self._open
        if generations is not last[0] or rows is not last[1] or enqueued_frames is not last[2] or first != last[3] or capacity != last[4]:
            if enqueued_frames is not None and not _locks_are_known():
                return
            self._open = generations, rows, enqueued_frames, first, capacity  # keepalive: compiled code holds their addresses
            addresses = [0 if given is None else id(given) for given in self._open[:3]]
            self._table[_W.generations:_W.more] = *addresses, first, capacity
        self._words[_ACCEPTS] = 1

    def shut(self) -> None:
        """Disables `push` until the next `open`."""
        self._words[_ACCEPTS] = 0

    def bind(self, columns: Mapping[str, Array]) -> None:
        """Sets the target columns, [capacity, *row] each; observations must have their dtypes. The caller keeps them alive."""
        for name, column in columns.items():
            record, spec = self._records[name], self._specs[name]
            dtype = spec.dtype if column.dtype == spec.dtype else np.dtype(column.dtype.type)  # dtype objects that outlive this reader
            record[_IN.column], record[_IN.dtype] = column.ctypes.data, id(dtype)
            record[_IN.row_bytes] = int(np.prod(spec.shape, dtype=np.int64)) * dtype.itemsize
