"""Copies the rows of columns to separate arrays in compiled code, in a third of the time of `ndarray.copy`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cervello.codegen import entry
from cervello.native.execution.c_api import api, array_empty
from cervello.native.kernels.row_words import COPY_ROWS

Array = np.ndarray[Any, Any]
_COPY, _SPLIT = (f"cervello.native.kernels.observations:{name}" for name in ("copy_rows", "split_rows"))
_NUMBERS = frozenset("fiubc")
_ELEMENTS = 24  # bytes from the start of a tuple to its elements, and of a list to their address
_copy = np.ndarray.copy


class _Copiers(NamedTuple):
    """The compiled loops, see `kernels.observations`.

    Attributes:
      copy: f(rows, bytes of a row, column, list) → rows copied. split: f(rows, 0, ids, dict, name, column, …) → agents in the dict.
    """

    copy: Callable[..., int]
    split: Callable[..., int]


def row_copies(column: Array) -> list[Array]:
    """Copies of the rows of a column [N, …] of at least two axes."""
    n_rows = len(column)
    if n_rows and _can_copy(column):
        copiers = _copiers()
        rows: list[Any] = [None] * n_rows
        if copiers is not None and copiers.copy(n_rows, column.nbytes // n_rows, column, rows) == n_rows:
            return rows
    return list(map(_copy, column))


def split_rows(ids: tuple[Any, ...], target: dict[Any, Any], columns: Mapping[str, Array | list[Any]], most_bytes: int) -> bool:
    """Fills an empty dict with {agent: {output: row}}; returns False if compiled code is not available or fails: the dict may have some of
    the agents then.

    It returns False, without an effect, if a column has another number of rows.

    Args:
      ids: [N] of the agents, distinct, at least two.
      columns: by output, arrays [N, ...] or lists of N rows. Of arrays of at least two axes, rows are copied; rows of more than most_bytes
        bytes are views.
    """
    copiers, n_rows = _copiers(), len(ids)
    if copiers is None or type(ids) is not tuple or n_rows < 2:
        return False
    given: list[Any] = []
    for name, column in columns.items():
        if len(column) != n_rows:
            return False
        if not isinstance(column, list):
            if column.ndim == 1 or column.nbytes > most_bytes * n_rows:
                column = list(column)
            elif not column.nbytes or not _can_copy(column):
                column = list(map(_copy, column))
        given += name, column
    return copiers.split(n_rows, 0, ids, target, *given) == n_rows


def _can_copy(column: Array) -> bool:
    return type(column) is np.ndarray and column.flags.c_contiguous and column.dtype.kind in _NUMBERS


@lru_cache(maxsize=1)
def _copiers() -> _Copiers | None:
    """None if numpy's C API is not found."""
    if not array_empty():
        return None
    table = np.array(COPY_ROWS.filled(
        array_empty=array_empty(), incref=api("Py_IncRef"), list_set_item=api("PyList_SetItem"), err_clear=api("PyErr_Clear"),
        dict_new=api("PyDict_New"), dict_set=api("PyDict_SetItem"), decref=api("Py_DecRef"), list_type=id(list),
        elements=_ELEMENTS), np.int64)
    return _Copiers(*(entry.fastcall_objects(name, table.ctypes.data, (table,)) for name in (_COPY, _SPLIT)))
