"""Copies the rows of a column to separate arrays in compiled code, in a third of the time of `ndarray.copy`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from cervello.codegen import entry
from cervello.native.execution.c_api import api, array_empty
from cervello.native.kernels import row_words as words

Array = np.ndarray[Any, Any]
_COPY = "cervello.native.kernels.observations:copy_rows"
_NUMBERS = frozenset("fiubc")
_copy = np.ndarray.copy


def row_copies(column: Array) -> list[Array]:
    """Copies of the rows of a column [N, …] of at least two axes."""
    n_rows = len(column)
    if n_rows and type(column) is np.ndarray and column.flags.c_contiguous and column.dtype.kind in _NUMBERS:
        copier = _copier()
        rows: list[Any] = [None] * n_rows
        if copier is not None and copier(n_rows, column.nbytes // n_rows, column, rows) == n_rows:
            return rows
    return list(map(_copy, column))


@lru_cache(maxsize=1)
def _copier() -> Callable[..., int] | None:
    """The compiled loop; None if numpy's C API is not found."""
    if not array_empty():
        return None
    table = np.zeros(4, np.int64)
    table[[words.EMPTY, words.INCREF, words.SET_ITEM, words.CLEAR]] = (
        array_empty(), api("Py_IncRef"), api("PyList_SetItem"), api("PyErr_Clear"))
    return entry.fastcall_objects(_COPY, table.ctypes.data, (table,))
