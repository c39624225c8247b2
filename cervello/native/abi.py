"""The agreement between the planner, which writes programs, and the kernels, which run them.

A program is a row of int64 words per step, back to back: [kernel, n_words, (space, offset) per operand, attributes …].
A run's context is a block of int64 words: first what `Context` names, then a base address per space.
"""

from __future__ import annotations

from typing import Final

# Words of a run's context.
CTX_FUNCTION: Final = 0  # not used by kernels
CTX_ROWS: Final = 1  # rows in this run
CTX_ROW: Final = 2  # first row of this run within the caller's batch
CTX_SLOTS: Final = 3  # address of int64 slots, one per row of the batch; 0 without agents
CTX_KEYS: Final = 4  # address of noise keys by slot, two words each; 0 when no noise may be drawn
CTX_STEPS: Final = 5  # address of int64 step counters by slot
CTX_DETERMINISTIC: Final = 6  # address of bool bytes by row; 0 means nobody
CTX_SAVE_THREAD: Final = 7  # address of PyEval_SaveThread
CTX_RESTORE_THREAD: Final = 8
CTX_DOOR: Final = 9  # address of the door's description
CTX_ALL_DETERMINISTIC: Final = 10  # 1: every row is deterministic
CTX_DICT_GET: Final = 11  # addresses of PyDict_GetItemWithError, PyDict_Size and of the type dict
CTX_DICT_SIZE: Final = 12
CTX_DICT_TYPE: Final = 13
CTX_MOVES: Final = 14  # address of the wrappers' moves, and how many
CTX_N_MOVES: Final = 15
CTX_SPACES: Final = 16  # base addresses start here

# Spaces.
ABSOLUTE: Final = 0  # weights and other constants: offset is an address
ARENA: Final = 1
FIRST_BUFFER: Final = 2  # inputs, then outputs

# Words of a step.
STEP_KERNEL: Final = 0
STEP_WORDS: Final = 1
STEP_OPERANDS: Final = 2

# Words of a plan's facts.
PLAN_PROGRAM: Final = 0  # address of the resolved words
PLAN_END: Final = 1  # address behind them
PLAN_ROWS: Final = 2
PLAN_LONG: Final = 3  # 1: long enough to release the interpreter's lock
PLAN_WORDS: Final = 4

# The door: a header, then a record per array, inputs before outputs.
DOOR_BUFFERS: Final = 0
DOOR_ARRAY_TYPE: Final = 1  # address of numpy.ndarray
DOOR_INPUTS: Final = 2  # how many of the arrays are inputs
DOOR_GIVEN_INPUTS: Final = 3  # arrays the caller gives by name
DOOR_GIVEN_OUTPUTS: Final = 4
DOOR_HEADER: Final = 5
DOOR_DESCR: Final = 0  # address of the dtype object
DOOR_NDIM: Final = 1
DOOR_FLAGS: Final = 2  # array flags that must be set
DOOR_ROW_BYTES: Final = 3
DOOR_BASE: Final = 4  # written by the door: the array's data
DOOR_NAME: Final = 5  # address of the name's str object
DOOR_HIDDEN: Final = 6  # 1: wrappers provide the array, DOOR_BASE is set already
DOOR_FIXED_BYTES: Final = 7  # bytes of an array that all rows share
DOOR_DIMS: Final = 8  # -1 stands for N
DOOR_MOST_DIMS: Final = 8
DOOR_WORDS: Final = DOOR_DIMS + DOOR_MOST_DIMS

# A wrapper's move.
MOVE_KIND: Final = 0
MOVE_PORT: Final = 1  # index of the array at the door
MOVE_ADDRESS: Final = 2  # slab, row or noise kernel
MOVE_ROW_BYTES: Final = 3
MOVE_NOISE: Final = 4  # the ten words of a noise kernel's block
MOVE_WORDS: Final = 14
MOVE_KINDS: Final = {"gather": 0, "scatter": 1, "fill": 2, "start": 3, "noise": 4}
