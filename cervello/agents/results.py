"""What a user's inferer and wrappers gave, before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cervello.errors import ExecutionError
from cervello.spec import Array, Specs, View


def check_results(where: str, specs: Specs, view: View) -> None:
    """Raises ExecutionError unless an inferer filled every output with an array of the promised shape and type."""
    for name, spec in specs.items():
        array = view.outputs.get(name)
        shape = spec.batched(view.n_rows)
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != spec.dtype:
            got = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise ExecutionError(f"inferer {where}, output {name!r}: expected {shape} {spec.dtype}, got {got}; infer_raw must fill "
                                 "view.outputs")


def hand_over(results: dict[str, Array], out: Mapping[str, Array]) -> None:
    """Puts results that were made elsewhere where the caller wants them."""
    for name, array in out.items():
        if results[name] is not array:
            array[...] = results[name]
            results[name] = array
