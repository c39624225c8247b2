"""Words of the compiled code that copies observations to rows and rows to arrays. They have their own file because importing compiled code
takes a second."""

from __future__ import annotations

from typing import Final

# A reader's words: a header, then a record per input.
ARRAY_TYPE: Final = 0  # addresses of the types numpy.ndarray, dict and str
DICT_TYPE: Final = 1
STR_TYPE: Final = 2
DICT_SIZE: Final = 3  # addresses of PyDict_Size, PyDict_GetItemWithError and PyDict_Next
DICT_GET: Final = 4
DICT_NEXT: Final = 5
POSITION: Final = 6  # PyDict_Next's position, and the key and value it found
KEY: Final = 7
VALUE: Final = 8
N_INPUTS: Final = 9
SOLE: Final = 10  # 1: the row of the only input may come without a dict
OPEN: Final = 11  # 1: `push_row` may add rows; the words below describe the target
INT_TYPE: Final = 12  # addresses of the type int, and of PyDict_SetItem, PyLong_AsLongLong, PyLong_FromLongLong, Py_DecRef and PyErr_Clear
DICT_SET: Final = 13
INT_VALUE: Final = 14
INT_MAKE: Final = 15
DECREF: Final = 16
ERR_CLEAR: Final = 17
SLOTS: Final = 18  # address of the dict of agents that have begun, with their slots
WRITER: Final = 19  # address of a word that is nonzero while the slots are being changed
BIRTHS_AT: Final = 20  # address of a word that holds the address of the generations by slot
BIRTHS: Final = 21  # addresses of the dicts by waiting agent: generation, row, and the frame it waits from (0: no such dict)
ROWS: Final = 22
SINCE: Final = 23
FIRST: Final = 24  # the first row
CAPACITY: Final = 25
HEADER: Final = 26
NAME: Final = 0  # address of the name's str object
DESCR: Final = 1  # address of the dtype object
N_DIMS: Final = 2
ROW_BYTES: Final = 3
COLUMN: Final = 4  # address of row 0
DIMS: Final = 5
MOST_DIMS: Final = 8
WORDS: Final = DIMS + MOST_DIMS

LOCK_OWNER: Final = 24  # byte offset in a threading.RLock of its owner, 0 while unlocked

# The words of `copy_rows` and `split_rows`: addresses of PyArray_Empty, Py_IncRef, PyList_SetItem, PyErr_Clear, PyDict_New, PyDict_SetItem,
# Py_DecRef and of the type list; bytes from the start of a list or tuple to its elements or their address.
EMPTY: Final = 0
INCREF: Final = 1
SET_ITEM: Final = 2
CLEAR: Final = 3
NEW: Final = 4
SET: Final = 5
RELEASE: Final = 6
LIST_TYPE: Final = 7
ELEMENTS: Final = 8
COPY_WORDS: Final = 9
