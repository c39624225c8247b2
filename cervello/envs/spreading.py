"""Puts the rows of environments that act among the rows of all."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from cervello.codegen import entry
from cervello.noise import layout
from cervello.spec import Array


def spread(acts: Array, *pairs: Array) -> None:
    """Writes rows of columns to the rows of arrays at which `acts` is True, in order; the other rows of the arrays stay as they are.

    Args:
      acts: [n] bool, contiguous, m of them True.
      pairs: a column [m, …], then an array [n, …] of its own dtype and row, contiguous; again and again.
    """
    compiled = _compiled()
    for column in pairs[::2]:
        if not column.size or column.dtype.hasobject:
            compiled = None
    if compiled is None or compiled(len(acts), 0, acts, *pairs):
        for column, target in zip(pairs[::2], pairs[1::2], strict=True):
            target[acts] = column


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., int] | None:
    """f(n, 0, acts, *pairs) of `native.kernels.observations`; None where it does not apply."""
    return entry.fastcall_objects("cervello.native.kernels.observations:spread", id(np.ndarray)) if layout.is_known() else None
