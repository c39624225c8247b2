"""Numbers among the options of an evaluation: what counts as one."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np


def is_real(value: Any) -> bool:
    """Whether it is a real number, numpy's included; NaN and truth values are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def is_integer(value: Any) -> bool:
    """Whether it is an integer, numpy's included; truth values are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_range(value: Any) -> bool:
    """Whether it is a pair (low, high) of real numbers, low ≤ high."""
    return isinstance(value, tuple | list | np.ndarray) and len(value) == 2 and all(map(is_real, value)) and bool(value[0] <= value[1])
