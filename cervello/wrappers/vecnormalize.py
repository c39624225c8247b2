"""Reads statistics from Stable-Baselines3's VecNormalize files, which are pickles, without running anything in them.

A pickle is a program. Here each function or class that it names, including numpy's, is replaced by an inert record of its call;
arrays are then read from the record. Anything that does not belong in such a file is rejected by name.
"""

from __future__ import annotations

import os
import pickle
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cervello.errors import FormatError, MissingFileError
from cervello.spec import Array

_ALLOWED_PACKAGES = ("numpy", "stable_baselines3", "gymnasium", "gym")
_DTYPE = re.compile(r"[<>|=]?([fiu][1248])")


@dataclass(frozen=True)
class Statistics:
    """Mean and variance of an observation, float64 arrays; bound and epsilon of the normalisation."""

    mean: Array
    var: Array
    clip: float
    epsilon: float


class _RecordedCall:
    """Placeholder for an object that the pickle would have created."""

    origin = ""
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *arguments: Any, **_: Any) -> _RecordedCall:
        made = object.__new__(cls)
        made.arguments = arguments
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def get(self, name: str) -> Any:
        """An attribute from its recorded state."""
        return self.state.get(name) if isinstance(self.state, dict) else None


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module.split(".")[0] in _ALLOWED_PACKAGES:
            return type("_RecordedCall", (_RecordedCall,), {"origin": f"{module}.{name}"})
        raise FormatError(f"expected objects of {', '.join(_ALLOWED_PACKAGES)} only, got {module}.{name}; such a file could run any "
                          "code, so it is not read")

    def persistent_load(self, pid: Any) -> Any:
        raise FormatError("expected a file that is complete, got a reference to something outside it")


def read_statistics(path: str | os.PathLike[str], observation: str) -> Statistics:
    """Reads what `VecNormalize.save` wrote.

    Args:
      observation: entry of a Dict observation; ignored for others.
    Raises:
      MissingFileError: no such file. FormatError: it is no such file, or contains something that is not needed.
    """
    where = f"statistics {os.fspath(path)!r}"
    try:
        with Path(path).open("rb") as file:
            found = _Reader(file).load()
    except FileNotFoundError as error:
        raise MissingFileError(f"{where}: expected a file, found none; check the path") from error
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error
    except Exception as error:  # malformed bytes make an unpickler raise any error
        raise FormatError(f"{where}: expected what VecNormalize.save wrote, got a file that fails with {type(error).__name__}: {error}"
                          ) from error
    try:
        return _statistics(found, observation)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error


def _statistics(found: Any, observation: str) -> Statistics:
    if not isinstance(found, _RecordedCall) or not found.origin.endswith(".VecNormalize"):
        raise FormatError(f"expected a VecNormalize, got {_describe(found)}; save it with VecNormalize.save")
    moments = found.get("obs_rms")
    keys = found.get("norm_obs_keys")
    if isinstance(moments, dict):
        if observation not in moments:
            raise FormatError(f"expected an observation among {list(moments)}, got {observation!r}")
        moments = moments[observation]
    elif isinstance(keys, list) and keys:
        raise FormatError(f"expected statistics of {keys}, got none by name")
    if not isinstance(moments, _RecordedCall):
        raise FormatError("expected running means of observations, got none; was norm_obs off?")
    return Statistics(_array(moments.get("mean")), _array(moments.get("var")), _number(found.get("clip_obs"), "clip_obs"),
                      _number(found.get("epsilon"), "epsilon"))


def _describe(record: Any) -> str:
    return record.origin if isinstance(record, _RecordedCall) else type(record).__name__


def _number(value: Any, what: str) -> float:
    array = _array(value)
    if array.size != 1:
        raise FormatError(f"expected a number as {what}, got {array.shape}")
    return float(array.reshape(()))


def _array(record: Any) -> Array:
    """An array of float64 from the record of its creation by numpy: `_reconstruct` (pickle protocols up to 4), `_frombuffer` (from 5) or
    `scalar`."""
    if isinstance(record, (int, float)) and not isinstance(record, bool):
        return np.array(record, np.float64)
    if isinstance(record, _RecordedCall) and record.origin.startswith("numpy."):
        name, given = record.origin.rpartition(".")[2], record.arguments
        if name == "_reconstruct" and isinstance(record.state, tuple) and len(record.state) == 5:
            _, shape, dtype, fortran, raw = record.state
            return _from_bytes(raw, dtype, shape, "F" if fortran is True else "C")
        if name == "_frombuffer" and len(given) == 4:
            return _from_bytes(given[0], given[1], given[2], "F" if given[3] == "F" else "C")
        if name == "scalar" and len(given) == 2:
            return _from_bytes(given[1], given[0], (), "C")
    raise FormatError(f"expected an array of numbers, got {_describe(record)}")


def _from_bytes(raw: Any, dtype: Any, shape: Any, order: Any) -> Array:
    dtype_text = dtype.arguments[0] if isinstance(dtype, _RecordedCall) and dtype.origin.startswith("numpy") and dtype.arguments else None
    kind = _DTYPE.fullmatch(dtype_text) if isinstance(dtype_text, str) else None
    if kind is None:
        raise FormatError(f"expected an array of numbers, got one of {dtype_text!r}")
    # The pickled state of a dtype contains its byte order.
    state = dtype.state
    swapped = isinstance(state, tuple) and len(state) > 1 and state[1] == ">"
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise FormatError(f"expected the bytes and the shape of an array, got {type(raw).__name__} and {shape!r:.200}")
    try:
        flat = np.frombuffer(raw, np.dtype((">" if swapped else "<") + kind[1]))
        return flat.reshape(shape, order=order).astype(np.float64)
    except ValueError as error:
        raise FormatError(f"expected {shape!r} numbers of {dtype_text}, got {len(raw)} bytes") from error
