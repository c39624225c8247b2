"""Compiled kernels, one family per file. A step kernel is `int64 kernel(step, ctx)`; it returns 0 or a status.

    step   the address of the step's words: [kernel, n_words, then (space, offset) per operand, then words by the kernel's schema]
    ctx    the address of the run's words: base addresses by space, then the run's own facts (see `cervello.native.kernels.abi`)

Words have names, which are declared in `schemas`. Kernels trust them: everything was checked when the program was built
(`cervello.native.memory.verifier`), by what `cervello.native.memory.extents` says of each kernel; a kernel that changes what it touches
changes that too.
"""
