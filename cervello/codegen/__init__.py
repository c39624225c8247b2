"""Compiled code: compiles Python functions to machine code, caches it on disk, and calls it.

    simd, memory, functions    building blocks of kernels: 16-lane vectors, scalar memory access, exp, tanh, …
    compiler                   a function ▶ object code, through numba; the only place with compiler flags
    versions                   tested versions of numba and llvmlite; others are refused when something must be compiled
    prebuilt                   object code in the wheel
    cache                      object code ▶ a cache folder on disk
    linker                     object code ▶ addresses, compiled when first needed
    entry                      addresses ▶ Python callables

Only `simd`, `memory`, `functions` and `compiler` import numba. They are imported only when something must be compiled: a process with a
warm cache or with prebuilt code starts without numba.
"""
