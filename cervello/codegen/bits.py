"""Numbers as the int64 words of a program."""

from __future__ import annotations

import numpy as np


def float_word(value: float) -> int:
    """The word that carries a float32."""
    with np.errstate(over="ignore"):
        return int(np.float32(value).view(np.uint32))


def float64_word(value: float) -> int:
    """The word that carries a float64."""
    return int(np.float64(value).view(np.int64))
