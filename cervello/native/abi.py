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
CTX_SPACES: Final = 12  # base addresses start here

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
DOOR_HEADER: Final = 4
DOOR_DESCR: Final = 0  # address of the dtype object
DOOR_NDIM: Final = 1
DOOR_FLAGS: Final = 2  # array flags that must be set
DOOR_ROW_BYTES: Final = 3
DOOR_BASE: Final = 4  # written by the door: the array's data
DOOR_DIMS: Final = 5  # -1 stands for N
DOOR_MOST_DIMS: Final = 8
DOOR_WORDS: Final = DOOR_DIMS + DOOR_MOST_DIMS
