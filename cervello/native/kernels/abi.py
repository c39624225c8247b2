"""The ABI between the planner, which writes programs, and the kernels, which run them.

A program is a row of int64 words per step, back to back: [kernel, n_words, (space, offset) per operand, attributes …].
A run's context is a block of int64 words: first what `Context` names, then a base address per space.
"""

from __future__ import annotations

from typing import Final

# Words of a run's context.
CTX_ROWS: Final = 1  # rows in this run
CTX_ROW: Final = 2  # first row of this run within the caller's batch
CTX_SLOTS: Final = 3  # address of int64 slots, one per row of the batch; 0 without agents
CTX_KEYS: Final = 4  # address of noise keys by slot, two words each; 0 when no noise may be drawn
CTX_STEPS: Final = 5  # address of int64 step counters by slot
CTX_DETERMINISTIC: Final = 6  # address of bool bytes by row; 0: no row is deterministic
CTX_SAVE_THREAD: Final = 7  # address of PyEval_SaveThread
CTX_RESTORE_THREAD: Final = 8
CTX_ARGUMENTS: Final = 9  # address of the argument records: expected arrays, and addresses of the given ones
CTX_ALL_DETERMINISTIC: Final = 10  # 1: every row is deterministic
CTX_DICT_GET: Final = 11  # addresses of PyDict_GetItemWithError, PyDict_Size and of the type dict
CTX_DICT_SIZE: Final = 12
CTX_DICT_TYPE: Final = 13
CTX_FUSED_OPS: Final = 14  # address of the wrappers' ops that run in the compiled call, and how many
CTX_N_FUSED_OPS: Final = 15
CTX_ITERATIONS: Final = 16  # loop iterations in this run, first ones excluded
CTX_CLOCK: Final = 17  # address of the interpreter's clock, a function
CTX_CLOCK_WRITES: Final = 18  # 1: it writes the time to its argument; 0: it returns it
CTX_NOW: Final = 19  # the last time read, in ns
CTX_UNTIL: Final = 20  # deadline of a chunked batch on that clock; 0: none
CTX_ROW_NS: Final = 21  # expected time per row in ns, for all chunks but the first
CTX_RUN: Final = 22  # rows that have run
CTX_SURE: Final = 23  # rows of the first chunk, which always runs
CTX_SINCE: Final = 24  # end time of the first chunk
CTX_DICT_NEXT: Final = 25  # addresses of PyDict_Next and of the type str
CTX_STR_TYPE: Final = 26
CTX_POSITION: Final = 27  # PyDict_Next's position, and the key and value it found
CTX_KEY: Final = 28
CTX_VALUE: Final = 29
CTX_INCREF: Final = 30  # addresses of Py_IncRef and Py_DecRef
CTX_DECREF: Final = 31
CTX_LINKS: Final = 32  # address of the links of chained graphs, and their number
CTX_N_LINKS: Final = 33
CTX_FOLLOW: Final = 34  # address of `kernels.links.follow` where there are links, else 0
CTX_KEEP: Final = 35  # address of `kernels.storing.keep` where wrappers keep outputs, else 0
CTX_DICT_SET: Final = 36  # addresses of PyDict_SetItem, PyErr_Clear and PyArray_Empty
CTX_ERR_CLEAR: Final = 37
CTX_ARRAY_EMPTY: Final = 38
CTX_RESULTS_TYPE: Final = 39  # address of the dict type whose empty instances are filled with new outputs; 0: none
CTX_SPACES: Final = 40  # base addresses start here

# Spaces.
ABSOLUTE: Final = 0  # weights and other constants: offset is an address
ARENA: Final = 1
FIRST_BUFFER: Final = 2  # inputs, then outputs

# Words of a step.
STEP_KERNEL: Final = 0
STEP_WORDS: Final = 1
JUMP: Final = -1 << 40  # a kernel's jump status: JUMP + the words from its step to the target
STEP_OPERANDS: Final = 2

# Words of a plan's facts.
PLAN_PROGRAM: Final = 0  # address of the resolved words
PLAN_END: Final = 1  # address behind them
PLAN_ROWS: Final = 2
PLAN_RELEASES_GIL: Final = 3  # 1: long enough to release the GIL
PLAN_PARTS: Final = 4  # number of parts; a chunked batch has no words but parts: (address of a plan's facts, repetitions) each
PLAN_PIECES: Final = 5  # chunks of all parts
PLAN_WORDS: Final = 6  # parts begin here

# A job for the thread pool: a batch whose chunks several threads take.
JOB_NEXT: Final = 0  # index of the next chunk
JOB_PENDING: Final = 1  # workers that are not done
JOB_STATUS: Final = 2  # status of a failed chunk
JOB_SLEEPING: Final = 3  # 1: the calling thread sleeps, or is about to
JOB_LOCK: Final = 4  # the lock that it sleeps on
JOB_PLAN: Final = 5  # address of the facts
JOB_CONTEXT: Final = 6  # the calling thread's context
JOB_ACQUIRE: Final = 7  # addresses of PyThread_acquire_lock and PyThread_release_lock
JOB_RELEASE: Final = 8
JOB_N_WORKERS: Final = 9  # number of workers; then (worker address, context address) each
JOB_WORDS: Final = 10

# A worker.
WORKER_JOB: Final = 0  # 0: none, -1: stop
WORKER_CONTEXT: Final = 1
WORKER_SLEEPING: Final = 2
WORKER_LOCK: Final = 3
WORKER_ACQUIRE: Final = 4
WORKER_SAVE_THREAD: Final = 5
WORKER_RESTORE_THREAD: Final = 6
WORKER_WORDS: Final = 8  # a cache line

# Arguments: a header, then a record per array: the program's inputs and outputs, then those of the chained graphs only.
ARG_BUFFERS: Final = 0
ARG_ARRAY_TYPE: Final = 1  # address of numpy.ndarray
ARG_GIVEN_INPUTS: Final = 2  # arrays the caller gives by name
ARG_GIVEN_OUTPUTS: Final = 3
ARG_HEADER: Final = 4
ARG_DESCR: Final = 0  # address of the dtype object
ARG_NDIM: Final = 1
ARG_FLAGS: Final = 2  # array flags that must be set
ARG_ROW_BYTES: Final = 3
ARG_BASE: Final = 4  # written when arrays are checked: the array's data
ARG_NAME: Final = 5  # address of the name's str object
ARG_HIDDEN: Final = 6  # 1: the array is internal, ARG_BASE is already set
ARG_FIXED_BYTES: Final = 7  # bytes of an array without a batch axis
ARG_ALSO: Final = 8  # address of a second accepted dtype; usually the same
ARG_OUTPUT: Final = 9  # 1: an output
ARG_DIMS: Final = 10  # -1 stands for N
ARG_MOST_DIMS: Final = 8
ARG_WORDS: Final = ARG_DIMS + ARG_MOST_DIMS

# A wrapper's op that runs in the compiled call.
FUSED_KIND: Final = 0
FUSED_PORT: Final = 1  # index of the array among the arguments
FUSED_ADDRESS: Final = 2  # slab, row or noise kernel
FUSED_ROW_BYTES: Final = 3
FUSED_NOISE: Final = 4  # the ten words of a noise kernel's block; of a scatter:
FUSED_GROUP: Final = 4  # scatters in this group, which store one agent's state together; -1: not the group's first; 0: single, unchecked
FUSED_ON_NONFINITE: Final = 5  # 0: keep the last state, 1: store FUSED_INITIAL, 2: refuse the batch
FUSED_EXPONENT: Final = 6  # exponent bits of every element in eight bytes; 0: nothing to check
FUSED_CARRY: Final = 7  # the lowest exponent bit of each element
FUSED_ELEMENT: Final = 8  # bytes of an element
FUSED_INITIAL: Final = 9  # address of a row
FUSED_COUNT: Final = 10  # address of a count of agents whose state was not stored
FUSED_WORDS: Final = 14
NONFINITE: Final = 1 << 62  # status of a successful run in which some agent's new state was nonfinite and was not stored
FUSED_KINDS: Final = {"gather": 0, "scatter": 1, "fill": 2, "start": 3, "noise": 4}

# A link: a step between the program and a graph that runs after it, in the same compiled call. A cell is a word that holds an address.
LINK_KIND: Final = 0
LINK_TARGET: Final = 1  # address of a cell; of a graph: of its context
LINK_SOURCE: Final = 2  # address of a cell; of noise: of its kernel; of flags: of bytes that are 0; of a graph: of its plan's facts
LINK_BYTES: Final = 3  # of a row
LINK_NOISE: Final = 4  # the ten words of a noise kernel's block; of a mask:
LINK_ELEMENT: Final = 4  # bytes of an element, with LINK_FLOAT
LINK_FLOAT: Final = 5  # 1: elements are floats
LINK_SIZES: Final = 6  # address of the int64 sizes of choices, each of which must allow an element
LINK_N_SIZES: Final = 7  # 0: nothing is checked
LINK_WORDS: Final = 14
LINK_SAME: Final = 0  # the target's cell gets the source's address
LINK_COPY: Final = 1  # rows are copied
LINK_REPEAT: Final = 2  # one row is copied to every row
LINK_NOISE_FILL: Final = 3  # the target is filled with noise
LINK_FLAGS: Final = 4  # the target's cell gets the address of the deterministic flags
LINK_ALLOWED: Final = 5  # bytes: 1 where a mask is not 0
LINK_INT8: Final = 6  # float32 to int8
LINK_GRAPH: Final = 7  # the graph runs
