"""Checks the arrays that a caller passes to a model: names, shapes, dtypes. Copies those that need a conversion, refuses the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello import array_like
from cervello.array_like import as_numpy, as_typed
from cervello.errors import InputError
from cervello.native.passes.batch_axes import OPEN_BATCH
from cervello.spec import Specs, TensorSpec

Array = np.ndarray[Any, Any]
_byte_bounds = np.lib.array_utils.byte_bounds if hasattr(np.lib, "array_utils") else np.byte_bounds  # type: ignore[attr-defined]


def check_names(where: str, specs: Specs, given: Mapping[str, Any], owner: str = "policy", kind: str = "") -> None:
    """Raises InputError unless the names given are exactly those of the specs.

    Args:
      owner: "model" or "policy"; kind: "outputs " for outputs. Both are for messages.
    """
    check_mapping(where, given)
    array_like.check_names(f"{owner} {where!r}", specs, given, kind=kind)


def check_mapping(where: str, given: Any) -> None:
    """Raises InputError unless `given` is a mapping."""
    if not isinstance(given, Mapping):
        raise InputError(f"policy {where!r}: expected arrays by name, as a dict, got {type(given).__name__}")


def as_array(where: str, spec: TensorSpec, given: Any) -> Array:
    """An input converted to a numpy array.

    Raises:
      InputError: it is not an array.
    """
    return as_numpy(f"policy {where!r}, input {spec.name!r}", given)


def fitted(where: str, spec: TensorSpec, given: Any, n_rows: int | None) -> Array:
    """The array with the exact dtype and shape, C-contiguous and aligned; a copy only if necessary.

    Args:
      n_rows: the expected number of rows; None accepts any number.
    Raises:
      InputError: the shape is wrong or the dtype cannot be converted.
    """
    array = as_array(where, spec, given)
    rows: Any = "N" if n_rows is None else n_rows
    expected = spec.batched(n_rows if n_rows is not None else -1)
    if array.shape == spec.shape and spec.batch_axis is not None and n_rows == 1:
        array = array.reshape(expected)  # one row without its batch axis
    if array.shape != expected:
        shown = tuple(rows if d == -1 else d for d in expected)
        axis, remedy = spec.batch_axis, spec.shape_remedy
        if n_rows is not None and axis is not None and array.shape == (*spec.shape[:axis], *array.shape[axis:axis + 1], *spec.shape[axis:]):
            remedy = (f"{array.shape[axis]} rows and {n_rows} ids (or rows of other inputs) differ: row i belongs to ids[i], so give "
                      "one row for each")
        elif array.ndim == len(spec.shape) > 1 and array.shape[1:] == spec.shape[1:]:
            remedy = f"{remedy}; the file fixes the first axis at {spec.shape[0]}: if that is a batch, {OPEN_BATCH}"
        raise InputError(f"policy {where!r}, input {spec.name!r}: expected {_written(shown)} {spec.dtype}, got {_written(array.shape)} "
                         f"{array.dtype}; {remedy}")
    if array.dtype != spec.dtype:
        array = as_typed(f"policy {where!r}, input {spec.name!r}", array, spec.dtype, spec.is_mask)
    plain = (type(array) is np.ndarray and array.dtype is spec.dtype and array.flags.c_contiguous and array.flags.aligned)
    if plain:
        return array
    dtype = spec.kept_dtype(array.dtype)
    if array.dtype is dtype and type(array) is np.ndarray and array.flags.c_contiguous and array.flags.aligned:
        return array
    copy = np.empty(array.shape, dtype)
    with np.errstate(over="ignore"):
        copy[...] = array
    return copy


def _written(shape: tuple[Any, ...]) -> str:
    inner = ", ".join(str(d) for d in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def first_overlap(arrays: Sequence[Array]) -> tuple[int, int] | None:
    """The indices of two arrays that share memory, in ascending order; None if no two do."""
    bounds = [_byte_bounds(array) if array.size else (0, 0) for array in arrays]
    reaching: list[int] = []  # arrays that end after the first byte of the next one
    for place in sorted(range(len(arrays)), key=lambda place: bounds[place]):
        reaching = [other for other in reaching if bounds[other][1] > bounds[place][0]]
        for other in reaching:
            if np.shares_memory(arrays[other], arrays[place]):
                return min(other, place), max(other, place)
        reaching.append(place)
    return None


def bind_outputs(where: str, specs: Specs, n_rows: int, out: Mapping[str, Array] | None) -> dict[str, Array]:
    """Result arrays by name: the caller's where given, else new ones.

    Raises:
      InputError: an unknown name, a wrong shape or dtype, a read-only array, or one whose rows share memory.
    """
    results: dict[str, Array] = {}
    if out is None:
        for spec in specs.values():
            results[spec.name] = np.empty(spec.batched(n_rows), spec.dtype)
        return results
    check_mapping(f"{where}, out", out)
    unknown = [name for name in out if name not in specs]
    if unknown:
        raise InputError(f"policy {where!r}, out: expected names among {list(specs)}, got {unknown}")
    for spec in specs.values():
        array = out.get(spec.name)
        if array is None:
            array = np.empty(spec.batched(n_rows), spec.dtype)
        elif not isinstance(array, np.ndarray) or array.shape != spec.batched(n_rows) or array.dtype != spec.dtype:
            got = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise InputError(f"policy {where!r}, out {spec.name!r}: expected {spec.batched(n_rows)} {spec.dtype}, got {got}")
        elif not array.flags.writeable:
            raise InputError(f"policy {where!r}, out {spec.name!r}: expected an array that can be written, got a read-only one")
        elif array.size and any(stride == 0 and size > 1 for stride, size in zip(array.strides, array.shape, strict=True)):
            raise InputError(f"policy {where!r}, out {spec.name!r}: expected memory for every element, got an array that repeats its own "
                             f"(strides {array.strides}); give a copy of it")
        results[spec.name] = array
    return results
