"""Checks columns against the specs after a custom wrapper or inferer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cervello.array_like import castable
from cervello.errors import ExecutionError
from cervello.spec import Array, Specs


def check_columns(where: str, kind: str, specs: Specs, columns: Mapping[str, Array], n_rows: int, remedy: str) -> None:
    """Raises ExecutionError unless every spec has an array of its shape and type.

    Args:
      where: the wrapper or inferer, for messages.
      kind: "input" or "output". An input may be of a type that is cast to that of the spec.
      remedy: what to do.
    """
    for name, spec in specs.items():
        array = columns.get(name)
        shape = spec.batched(n_rows)
        fits = isinstance(array, np.ndarray) and array.shape == shape and (
            array.dtype == spec.dtype or (kind == "input" and castable(array.dtype, spec.dtype)))
        if fits:
            continue
        got = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ExecutionError(f"{where}, {kind} {name!r}: expected {shape} {spec.dtype}, got {got}; {remedy}")
