"""Gymnasium's spaces as plain data in a log. Gymnasium is imported only when a space is read back."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.errors import FormatError, InputError
from cervello.recording.records import decode_array, encode_array

_LONGEST = 4096
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


def describe(space: Any) -> dict[str, Any]:
    """A space as maps, lists, numbers and arrays in the log's form; the keys are those of the space's constructor.

    A user-defined space of strings becomes a Text.

    Raises:
      InputError: an unknown kind of space.
    """
    kind = type(space).__name__
    if kind == "Box":
        return {"type": kind, "low": encode_array(space.low), "high": encode_array(space.high)}
    if kind == "Discrete":
        return {"type": kind, "n": int(space.n), "start": int(space.start), "dtype": np.dtype(space.dtype).str}
    if kind == "MultiDiscrete":
        return {"type": kind, "nvec": encode_array(np.asarray(space.nvec)), "start": encode_array(np.asarray(space.start)),
                "dtype": np.dtype(space.dtype).str}
    if kind == "MultiBinary":
        return {"type": kind, "n": space.n if isinstance(space.n, int) else [int(n) for n in space.n]}
    if kind == "Text":
        return {"type": kind, "min_length": int(space.min_length), "max_length": int(space.max_length),
                "charset": "".join(space.character_list)}
    if kind == "Dict":
        return {"type": kind, "spaces": {key: describe(value) for key, value in space.spaces.items()}}
    if kind == "Tuple":
        return {"type": kind, "spaces": [describe(value) for value in space.spaces]}
    if getattr(space, "dtype", None) is not None and space.dtype.kind == "U":
        return {"type": "Text", "min_length": 0, "max_length": _LONGEST, "charset": _PRINTABLE}
    raise InputError(f"recording, space: expected Box, Discrete, MultiDiscrete, MultiBinary, Text, Dict or Tuple, got {kind}; leave it out")


def build(description: Any) -> Any:
    """Makes the space of a description; None for None.

    Raises:
      FormatError: it is no description of a space.
    """
    if description is None:
        return None
    from gymnasium import spaces

    try:
        return _built(spaces, description)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"recording, space: expected a description of one, got {description!r:.200}; {error}") from error


def _built(spaces: Any, given: Any) -> Any:
    kind = given["type"]
    if kind == "Box":
        low, high = decode_array(given["low"]), decode_array(given["high"])
        return spaces.Box(low, high, dtype=low.dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(given["n"], start=given["start"], dtype=np.dtype(given["dtype"]).type)
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(decode_array(given["nvec"]), start=decode_array(given["start"]), dtype=np.dtype(given["dtype"]).type)
    if kind == "MultiBinary":
        return spaces.MultiBinary(given["n"])
    if kind == "Text":
        return spaces.Text(given["max_length"], min_length=given["min_length"], charset=given["charset"])
    if kind == "Dict":
        return spaces.Dict({key: _built(spaces, value) for key, value in given["spaces"].items()})
    if kind == "Tuple":
        return spaces.Tuple([_built(spaces, value) for value in given["spaces"]])
    raise ValueError(f"a kind of space that is not known: {kind!r}")
