"""Compiled kernels, one family per file. A step kernel is `int64 kernel(step, ctx)`; it returns 0 or a status.

    step   the address of the step's words: [kernel, n_words, then (space, offset) per operand, then words by the kernel's schema]
    ctx    the address of the run's words: base addresses by space, then the run's own facts (see `cervello.native.kernels.abi`)

`schemas` declares the words' names. Kernels do not check words: `cervello.native.memory.verifier` checks them when the program is built,
against the declarations in `cervello.native.memory.extents`. A change of a kernel's accesses must change its declaration too.
"""
