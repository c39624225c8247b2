"""Compiled code: compiles Python functions to machine code, caches it on disk, and calls it.

    simd, memory, functions    what kernels are written with: 16-lane vectors, raw scalars, our own exp, tanh, …
    compiler                   a function ▶ object code, through numba; the one place for compiler flags
    versions                   of numba and llvmlite that are known to work; others are refused when something must be compiled
    prebuilt                   object code that the wheel carries
    cache                      object code ▶ a folder of our own
    linker                     object code ▶ addresses, compiled when first needed
    entry                      addresses ▶ Python callables

Only `simd`, `memory`, `functions` and `compiler` import numba, and they are imported only when something must be
compiled: a process with a warm cache, or with what the wheel carries, starts without numba.
"""
