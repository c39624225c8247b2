"""Addresses of C API functions of the interpreter and of numpy, for compiled code."""

from __future__ import annotations

import ctypes
import importlib
from functools import lru_cache

import numpy as np

from cervello.noise import layout

_ARRAY_EMPTY = 184  # index in numpy's C API table, see numpy/__multiarray_api.h


def api(name: str) -> int:
    """The address of an interpreter function."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


@lru_cache(maxsize=1)
def array_empty() -> int:
    """The address of PyArray_Empty(n_dims, dims, descr, 0), which steals a reference to descr; 0 if numpy's C API is not found."""
    core = "numpy._core._multiarray_umath" if hasattr(np, "_core") else "numpy.core._multiarray_umath"
    capsule = getattr(importlib.import_module(core), "_ARRAY_API", None)
    if capsule is None or not layout.is_known():
        return 0
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.c_int64.from_address(pointer(capsule, None) + 8 * _ARRAY_EMPTY).value
