"""Checks the results of a decision before any state is stored, and passes them to the caller."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from cervello.errors import ExecutionError, InputError
from cervello.native.execution.arguments import bind_outputs
from cervello.spec import Array, Specs


def check_no_extra_outputs(where: str, specs: Specs, outputs: Mapping[str, Array]) -> None:
    """Raises ExecutionError if custom wrappers or inferers return outputs that are not in the specs."""
    more = [name for name in outputs if name not in specs]
    if more:
        raise ExecutionError(f"policy {where!r}: expected outputs {list(specs)}, got {more} too; a wrapper's attach must declare what "
                             "it adds to view.outputs, and an inferer returns its raw_outputs only")


def check_out(where: str, specs: Specs, n_rows: int, out: Mapping[str, Array]) -> None:
    """Raises InputError unless `out` holds arrays of the right shape and type, by names of outputs, that do not overlap."""
    for name, array in out.items():
        spec = specs.get(name)
        plain = spec is not None and type(array) is np.ndarray and array.shape == spec.batched(n_rows) and array.dtype == spec.dtype
        if not plain or not array.flags.writeable or 0 in array.strides:
            bind_outputs(where, specs, n_rows, out)  # raises the error, or finds that a subclass of an array is valid
            break
    for (first, a), (second, b) in combinations(out.items(), 2):
        if np.may_share_memory(a, b) and np.shares_memory(a, b):
            raise InputError(f"policy {where!r}, out {second!r}: expected memory of its own, got an array that overlaps {first!r}; give "
                             "every output its own")


def copy_to_out(results: dict[str, Array], out: Mapping[str, Array]) -> None:
    """Copies results into the caller's arrays."""
    for name, array in out.items():
        if results[name] is not array:
            array[...] = results[name]
            results[name] = array
