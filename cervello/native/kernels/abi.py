"""The ABI between the planner, which writes programs, and the kernels, which run them: records of int64 words, see `codegen.schema`.

A program is a contiguous sequence of steps. A step is [kernel, n_words, (space, offset) per operand, attributes …]. The context of a run
holds the words of CONTEXT, then one base address per space. Kernels read these records through `views`; Python code uses indices of words,
such as `CTX.rows`. An absent address is 0.
"""

from __future__ import annotations

from typing import Final

from cervello.codegen.schema import record
from cervello.noise.words import FILL

# A run's context.
# rows: of this run; row: index of the first one in the caller's batch
# slots: address of int64 slots, one per row of the batch; keys, steps: of noise keys (two words each) and int64 step counters by slot;
# deterministic: of bool bytes by row; all_deterministic: 1 if every row is deterministic. If keys is 0, no noise may be drawn.
# save_thread, restore_thread: addresses of PyEval_SaveThread and PyEval_RestoreThread
# arguments: address of ARGUMENTS
# dict_get, dict_size, dict_next, dict_set: of PyDict_GetItemWithError, PyDict_Size, PyDict_Next and PyDict_SetItem; dict_type, str_type: of
# the types; position, key, value: PyDict_Next's position, and what it found; incref, decref, err_clear, array_empty: of Py_IncRef,
# Py_DecRef, PyErr_Clear and PyArray_Empty; results_type: of the dict type whose empty instances are filled with new outputs
# fused_ops, n_fused_ops: the wrappers' ops that run in the compiled call
# iterations: loop iterations of this run, without the first of each loop
# clock: address of the interpreter's clock; clock_writes: 1 if it writes the time to its argument, 0 if it returns it; now: the time of
# the last reading, in ns
# deadline: of a chunked batch on that clock, 0 for none; row_ns: expected ns per row in all chunks except the first; n_run: rows that
# have run; guaranteed_rows, first_chunk_end: rows of the first chunk, which always runs, and its end time
# links, n_links: of chained graphs; run_links: address of `links.run_links` where there are links; fill_inputs, store_state: of
# `filling.fill_inputs` and `storing.store_state` where wrappers supply inputs and store outputs
CONTEXT: Final = record("context of a run", (
    "unused rows row slots keys steps deterministic save_thread restore_thread arguments all_deterministic dict_get dict_size dict_type "
    "fused_ops n_fused_ops iterations clock clock_writes now deadline row_ns n_run guaranteed_rows first_chunk_end dict_next str_type "
    "position key value incref decref links n_links run_links fill_inputs store_state dict_set err_clear array_empty results_type "
    "spaces..."))
CTX: Final = CONTEXT.index
SPACES: Final[int] = CTX.spaces

# Spaces.
ABSOLUTE: Final = 0  # weights and other constants: the offset is an address
ARENA: Final = 1
FIRST_BUFFER: Final = 2  # inputs, then outputs

# Words of a step.
STEP_KERNEL: Final = 0
STEP_WORDS: Final = 1
JUMP: Final = -1 << 40  # status of a jump: JUMP + the distance from this step to the target, in words
STEP_OPERANDS: Final = 2

# A plan. program, end: addresses of the first resolved word and of the end; releases_gil: 1: long enough to release the GIL; n_chunks: of
# all parts. The plan of a chunked batch has parts, a PART each, instead of a program.
PLAN: Final = record("facts of a plan", "program end n_rows releases_gil n_parts n_chunks parts...")
PART: Final = record("part of a chunked batch", "plan repetitions")  # plan: its address

# A job of the thread pool: a batch whose chunks are shared between threads. next: index of the next chunk; pending: number of workers that
# have not finished; status: of a failed chunk; sleeping: 1: the calling thread sleeps or is about to; lock: the lock it sleeps on; plan:
# address of the plan; context: of the calling thread; acquire, release: addresses of PyThread_acquire_lock and PyThread_release_lock;
# workers: a JOB_WORKER each.
JOB: Final = record("job", "next pending status sleeping lock plan context acquire release n_workers workers...")
JOB_WORKER: Final = record("worker of a job", "worker context")
WORKER: Final = record("worker", "job context sleeping lock acquire save_thread restore_thread")  # job: address, 0: none, -1: stop

# Arguments: a header, then a record per array: inputs and outputs of the program, then those of chained graphs only; then the addresses of
# the arrays that were found by name.
# array_type: address of numpy.ndarray; given_inputs, given_outputs: numbers of arrays that the caller passes by name
ARGUMENTS: Final = record("header of arguments", "n_arrays array_type given_inputs given_outputs arrays...")
# dtype: address of the dtype object; second_dtype: of a second accepted one, usually the same; flags: array flags that must be set; base:
# address of the array's data, written when arrays are checked; name: address of the str object; hidden: 1: the array is internal, `base` is
# already set; fixed_bytes: bytes of an array without a batch axis; output: 1: an output; sizes: of the axes, -1 stands for N
MAX_DIMS: Final = 8
ARGUMENT: Final = record("argument", f"dtype rank flags row_bytes base name hidden fixed_bytes second_dtype output sizes*{MAX_DIMS}")
ARG: Final = ARGUMENT.index

# A wrapper's op that runs in the compiled call. port: index of the array among the arguments; address: of a slab, a row or a noise kernel.
# settings: the words of a noise kernel's block or of a scatter.
FUSED_OP: Final = record("fused op", "kind port address row_bytes settings...")
# group: number of scatters that store one agent's state together; -1: not the first of its group; 0: single, unchecked; on_nonfinite: 0:
# keep the last state, 1: store `initial`, 2: refuse the batch; exponent: the exponent bits of every element in eight bytes, 0: no check;
# carry: the lowest exponent bit of each element; element: bytes of an element; initial: address of a row; count: address of the number of
# agents whose state was not stored
SCATTER: Final = record("scatter", "group on_nonfinite exponent carry element initial count")
FUSED_WORDS: Final = FUSED_OP.n_words + max(FILL.n_words, SCATTER.n_words)
NONFINITE: Final = 1 << 62  # status of a successful run in which a nonfinite new state was not stored
FUSED_GATHER: Final = 0
FUSED_SCATTER: Final = 1
FUSED_FILL: Final = 2
FUSED_START: Final = 3
FUSED_NOISE: Final = 4
FUSED_KINDS: Final = {"gather": FUSED_GATHER, "scatter": FUSED_SCATTER, "fill": FUSED_FILL, "start": FUSED_START, "noise": FUSED_NOISE}

# A link: a step between the program and a graph that runs after it, in the same compiled call. A cell is a word that holds an address.
# target: address of a cell; for a graph, of its context. source: address of a cell; for noise, of its kernel; for flags, of zero bytes; for
# a graph, of its plan. row_bytes: bytes of a row; for a mask and for int8, elements of a row. settings: the words of a noise kernel's block
# or of a mask.
LINK: Final = record("link", "kind target source row_bytes settings...")
# element: bytes of an element; is_float: 1: elements are floats; sizes: address of the int64 sizes of choices, each of which must allow at
# least one element; n_sizes: number of choices, 0: no check
MASK: Final = record("mask", "element is_float sizes n_sizes")
LINK_WORDS: Final = LINK.n_words + max(FILL.n_words, MASK.n_words)
LINK_ALIAS: Final = 0  # the address in the source cell is written to the target cell
LINK_COPY: Final = 1  # rows are copied
LINK_REPEAT: Final = 2  # one row is copied to every row
LINK_NOISE_FILL: Final = 3  # the target is filled with noise
LINK_FLAGS: Final = 4  # the address of the deterministic flags is written to the target cell
LINK_MASK: Final = 5  # a mask is converted to bytes of 0 and 1
LINK_INT8: Final = 6  # float32 is cast to int8
LINK_GRAPH: Final = 7  # a graph runs
