"""Bit patterns of floats as the int64 words of a program."""

from __future__ import annotations

import numpy as np


def float_word(value: float) -> int:
    """The bits of a float32 as a word; the upper half is 0."""
    with np.errstate(over="ignore"):
        return int(np.float32(value).view(np.uint32))


def float64_word(value: float) -> int:
    """The bits of a float64 as a word."""
    return int(np.float64(value).view(np.int64))
