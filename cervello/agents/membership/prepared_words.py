"""Words of the compiled code that decides for the agents of the last batch. They have their own file because importing compiled code takes
a second."""

from __future__ import annotations

from typing import Final

RUN: Final = 0  # addresses of the compiled `control.run_named` and of the context that it runs in
CONTEXT: Final = 1
CURRENT: Final = 2  # address of two words: of the plan that the context is prepared for, 0 for none, and its number of rows
HOLDER: Final = 3  # address of the dict that is not empty while a thread holds the exclusive lock
VERSIONS: Final = 4  # address of the table's words: version of the slots, membership version
DICT_SIZE: Final = 5  # addresses of PyDict_Size and of the type list
LIST_TYPE: Final = 6
SIZE_AT: Final = 7  # bytes from the start of a list or tuple to its length
IDS: Final = 8  # address of the list or tuple of ids, 0 for none, and their slots
SLOTS: Final = 9
STEPS: Final = 10  # addresses of the arrays of step counters and noise keys, by slot
KEYS: Final = 11
SLOTS_VERSION: Final = 12  # at the lookup of the slots
WORDS: Final = 13
