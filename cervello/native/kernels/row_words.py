"""Words of the compiled code that copies observations to rows and rows to arrays. A separate module, because importing compiled code takes
a second."""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record

# A reader of rows: a header, then one record per input.
# array_type, dict_type, str_type, int_type: addresses of the types
# dict_size, dict_get, dict_next, dict_set, int_to_word, int_from_word, decref, err_clear: of PyDict_Size, PyDict_GetItemWithError,
# PyDict_Next, PyDict_SetItem, PyLong_AsLongLong, PyLong_FromLongLong, Py_DecRef and PyErr_Clear
# position, key, value: PyDict_Next's position, and the last key and value
# single_input: 1: an observation may be the array of the only input instead of a dict
# accepts: 1: `push_row` may add rows; the following words describe the target
# slots: address of the dict of agents that have begun, with their slots; writer: of a word that is nonzero while the slots are being
# changed; generations_at: of a word that holds the address of the generations by slot
# generations, rows, enqueued_frames: addresses of the dicts by waiting agent: generation; row, and frame of its first push (0: no dict; if
# there are frames, there are rows)
# first: the first row
READER: Final = record("reader of rows", (
    "array_type dict_type str_type dict_size dict_get dict_next position key value n_inputs single_input accepts int_type dict_set "
    "int_to_word int_from_word decref err_clear slots writer generations_at generations rows enqueued_frames first capacity ..."))
# name, dtype: addresses of the str and of the dtype object; column: of row 0; sizes: of a row's axes
MAX_DIMS: Final = 8
INPUT: Final = record("input of a reader of rows", f"name dtype rank row_bytes column sizes*{MAX_DIMS}")

LOCK_OWNER: Final = 24  # byte offset in a threading.RLock of its owner, 0 while unlocked

# Addresses of PyArray_Empty, Py_IncRef, PyList_SetItem, PyErr_Clear, PyDict_New, PyDict_SetItem, Py_DecRef and of the type list; bytes from
# the start of a list or tuple to its elements or their address.
COPY_ROWS: Final = record(
    "functions of `copy_rows` and `split_rows`", "array_empty incref list_set_item err_clear dict_new dict_set decref list_type elements")
# Addresses of the type and dtype of the arrays; the bytes of one; their sizes follow.
STACK: Final = record("arrays of `stack`", "array_type dtype rank row_bytes ...")
