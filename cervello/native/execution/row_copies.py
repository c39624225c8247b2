"""Copies the rows of a column to separate arrays in compiled code, in a third of the time of `ndarray.copy`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from cervello.codegen import entry
from cervello.native.execution.c_api import api, array_empty
from cervello.native.kernels.row_words import COPY_ROWS

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
    table = np.array(COPY_ROWS.filled(empty=array_empty(), incref=api("Py_IncRef"), set_item=api("PyList_SetItem"),
                                      clear=api("PyErr_Clear")), np.int64)
    return entry.fastcall_objects(_COPY, table.ctypes.data, (table,))
