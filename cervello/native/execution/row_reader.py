"""Reads observations of single agents into columns, where their arrays fit as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cervello.batcher.pad import sole_input
from cervello.codegen import entry
from cervello.native.execution.context import api
from cervello.native.kernels import row_words as words
from cervello.noise import layout
from cervello.spec import Specs

Array = np.ndarray[Any, Any]
_READ = "cervello.native.kernels.observations:read_rows"


class RowReader:
    """Copies observations to rows of columns in one compiled call. Mutable: it reads into the columns of the last `bind`.

    Attributes:
      read: f(first row, 0, *observations) → how many of them fit as they are and were copied, those in front of the first that does not.

    Args:
      specs: of the columns.
    """

    __slots__ = ("_records", "_specs", "_table", "read")

    def __init__(self, specs: Specs):
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
        keep = self._table, tuple(specs.values())
        self.read: Callable[..., int] = entry.fastcall_objects(_READ, self._table.ctypes.data, keep)

    @classmethod
    def of(cls, specs: Specs) -> RowReader | None:
        """A reader; None where compiled code cannot read arrays and dicts of this interpreter, or these inputs."""
        if not specs or not layout.is_known() or any(len(spec.shape) > words.MOST_DIMS for spec in specs.values()):
            return None
        return cls(specs)

    def bind(self, columns: Mapping[str, Array]) -> None:
        """Reads into these columns from here on, [capacity, *row] each, what has their types; the caller keeps them alive."""
        for name, column in columns.items():
            record, spec = self._records[name], self._specs[name]
            dtype = spec.dtype if column.dtype == spec.dtype else np.dtype(column.dtype.type)  # objects that live as long as this one
            record[words.COLUMN], record[words.DESCR] = column.ctypes.data, id(dtype)
            record[words.ROW_BYTES] = int(np.prod(spec.shape, dtype=np.int64)) * dtype.itemsize
