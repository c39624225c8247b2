"""Conversion of array-like arguments to numpy, and the types that may be converted silently."""

from __future__ import annotations

from collections.abc import Collection, Container
from typing import Any

import numpy as np

from cervello.errors import InputError

Array = np.ndarray[Any, Any]


def check_names(where: str, wanted: Collection[str], given: Collection[str], optional: Container[str] = (), kind: str = "") -> None:
    """Raises InputError unless arrays of exactly these names are given; `optional` ones may be missing. kind: "inputs " in messages."""
    missing, unknown = [n for n in wanted if n not in given and n not in optional], [n for n in given if n not in wanted]
    if missing and not unknown:
        noun, required = kind.strip() or "inputs", [n for n in wanted if n not in optional]
        one = len(missing) == 1
        named = f"{noun.removesuffix('s') if one else noun} {', '.join(map(repr, missing))} {'is' if one else 'are'} missing"
        raise InputError(f"{where}: expected {noun} {required}, got a dict in which {named}; give all of them")
    if unknown:
        problem = "; ".join([f"{missing} missing"] * bool(missing) + [f"{unknown} unknown"] * bool(unknown))
        raise InputError(f"{where}: expected {kind}{list(wanted)}, got {problem}; give exactly these names")


def is_array_like(given: Any) -> bool:
    """Whether this is an array, a tensor of another library, a number or a list of numbers, and no mapping."""
    return isinstance(given, (np.ndarray, np.generic, list, tuple, int, float)) or hasattr(given, "__array__")


def as_numpy(where: str, given: Any) -> Array:
    """An array, a tensor of another library, a number or lists of numbers as a numpy array; without a copy if possible.

    A torch tensor that requires grad is detached.

    Args:
      where: beginning of messages.
    Raises:
      InputError: it is no array.
    """
    try:
        return np.asarray(given)
    except Exception as error:  # any error of the tensor's library
        if getattr(given, "requires_grad", False) and hasattr(given, "detach"):
            return as_numpy(where, given.detach())
        if isinstance(given, (list, tuple)):
            if any(getattr(part, "requires_grad", False) for part in given):
                return as_numpy(where, [part.detach() if hasattr(part, "detach") else part for part in given])
            raise InputError(f"{where}: expected an array, got something ragged") from error
        raise InputError(f"{where}: expected an array that numpy can read, got {type(given).__name__} ({error}); convert it first, a torch "
                         "tensor with .detach().cpu().float()") from error


def castable(source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    """Whether values may be converted silently: any number to a float, integers to integers that hold them, never a float to an
    integer or a bool."""
    if source == target:
        return True
    if target.kind == "f":
        return source.kind in "fiub"
    return bool(target.kind in "iu" and source.kind in "iub" and np.can_cast(source, target, "safe"))


def as_typed(where: str, given: Array, dtype: np.dtype[Any], is_mask: bool) -> Array:
    """An array as an input takes it: unchanged if its values may be converted silently; a mask of another type is converted.

    Args:
      where: beginning of messages.
      dtype: of the input.
      is_mask: whether the input is one.
    Raises:
      InputError: the input does not take such values.
    """
    if is_mask and given.dtype != dtype:
        return as_mask(where, given, dtype)
    if not castable(given.dtype, dtype):
        raise InputError(f"{where}: expected {dtype}, got {given.dtype}, which is never cast to it; convert it yourself")
    return given


def as_mask(where: str, given: Array, dtype: np.dtype[Any]) -> Array:
    """A mask of another type than its input's, converted to that type: 1 for allowed, else 0.

    Args:
      given: bools, integers of which nonzero ones allow, or floats of 0 and 1.
      dtype: of the input.
    Raises:
      InputError: other floats, or no numbers.
    """
    if given.dtype.kind not in "biuf":
        raise InputError(f"{where}: expected a mask of bools or numbers, got {given.dtype}")
    if given.dtype.kind == "f" and not ((given == 0) | (given == 1)).all():
        raise InputError(f"{where}: expected a mask of bools, integers, or floats 0 and 1, got other floats; compare it with 0 first")
    return np.asarray(given != 0, dtype)
