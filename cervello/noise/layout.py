"""Whether compiled code may read numpy arrays and Python floats in place.

`ndarray.ctypes.data` costs a microsecond; reading the struct costs a nanosecond. The offsets hold for every CPython
with a GIL and numpy 1 and 2. They are probed once; if the probe fails, addresses come from ctypes.

Source: numpy/ndarraytypes.h, PyArrayObject_fields; CPython Include/floatobject.h.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any, Final

import numpy as np

TYPE: Final = 8  # bytes from an object's address to its type pointer; the other offsets likewise
DATA, RANK, SHAPE, STRIDES, DTYPE, FLAGS = 16, 24, 32, 40, 56, 64
FLOAT_VALUE: Final = 16
READABLE, WRITEABLE = 0x0100, 0x0400  # aligned; writeable


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _has_expected_layout(array: np.ndarray[Any, Any]) -> bool:
    at, rank = id(array), array.ndim
    flags = ctypes.c_int32.from_address(at + FLAGS).value
    return (
        _word(at + TYPE) == id(np.ndarray)
        and _word(at + DATA) == array.ctypes.data
        and ctypes.c_int32.from_address(at + RANK).value == rank
        and tuple(_word(_word(at + SHAPE) + 8 * i) for i in range(rank)) == array.shape
        and tuple(_word(_word(at + STRIDES) + 8 * i) for i in range(rank)) == array.strides
        and _word(at + DTYPE) == id(array.dtype)
        and bool(flags & WRITEABLE) == array.flags.writeable
        and bool(flags & READABLE) == array.flags.aligned
    )


@lru_cache(maxsize=1)
def is_known() -> bool:
    """Whether this interpreter lays objects out as the constants here define."""
    if sys.implementation.name != "cpython" or "free-threading" in sys.version:
        return False
    if hasattr(sys, "getobjects") or ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
        return False
    flat = np.zeros(7, np.int64)
    wide = np.zeros((3, 8), np.float32)[1:, 2:7]
    locked = np.zeros((2, 4), np.uint64)
    locked.flags.writeable = False
    skewed = np.zeros(17, np.uint8)[1:].view(np.float32)
    value = 0.15625
    probes: tuple[np.ndarray[Any, Any], ...] = (flat, wide, locked, skewed, np.zeros(3, np.bool_))
    return all(_has_expected_layout(probe) for probe in probes) and (
        _word(id(value) + TYPE) == id(float) and ctypes.c_double.from_address(id(value) + FLOAT_VALUE).value == value)
