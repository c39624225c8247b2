"""Encodes arrays as bins by a policy's `spec`, and decodes answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.spec import Array

Ids = Sequence[int] | Array
Flags = bool | Sequence[bool] | Array


class Port:
    """One input or output of a `spec`.

    Attributes:
      shape: of one agent's row. dtype: on the wire. optional: may be left out.
    """

    def __init__(self, spec: Mapping[str, Any]):
        self.shape = tuple(spec["shape"])
        self.dtype: np.dtype[Any] = np.dtype(spec["dtype"]).newbyteorder("<")
        self.optional = spec.get("default") is not None

    def __repr__(self) -> str:
        return f"{self.shape} {self.dtype.name}{', optional' if self.optional else ''}"


class Columns:
    """Inputs and outputs of a policy, from the server's `spec`."""

    def __init__(self, name: str, spec: Mapping[str, Any]):
        self.name = name
        self.inputs, self.outputs = ({key: Port(each) for key, each in dict(spec[side]).items()} for side in ("inputs", "outputs"))
        self.constants = {key: np.frombuffer(each["value"], np.dtype(each["dtype"]).newbyteorder("<")).reshape(each["shape"])
                          for key, each in dict(spec["constants"]).items()}

    def __repr__(self) -> str:
        sides = (f"{side}={{{', '.join(f'{name}: {port!r}' for name, port in ports.items())}}}"
                 for side, ports in (("inputs", self.inputs), ("outputs", self.outputs)))
        return f"Columns({self.name!r}, {', '.join(sides)}, constants={list(self.constants)})"

    def packed(self, what: str, ports: Mapping[str, Port], given: Mapping[str, Any], n_rows: int) -> dict[str, bytes]:
        """Encodes columns as bins.

        Raises:
          InputError: an unknown name, or an array that does not fit; nothing is sent.
        """
        if not isinstance(given, Mapping):
            raise InputError(f"policy {self.name!r}, {what}: expected arrays by name, got {type(given).__name__}")
        found = {}
        for name, value in given.items():
            where = f"policy {self.name!r}, {what} {name!r}"
            port = ports.get(name)
            if port is None:
                raise InputError(f"{where}: expected one of {list(ports)}")
            array = np.asarray(value)
            if array.shape != (n_rows, *port.shape):
                raise InputError(f"{where}: expected {(n_rows, *port.shape)} {port.dtype.name}, got {array.shape} {array.dtype}")
            if not np.can_cast(array.dtype, port.dtype, "same_kind") and not (array.dtype.kind in "iub" and port.dtype.kind == "f"):
                raise InputError(f"{where}: expected {port.dtype.name}, got {array.dtype}, which it cannot hold")
            found[name] = np.ascontiguousarray(array, port.dtype).tobytes()
        return found


def ids_of(agents: Ids) -> list[int]:
    """Ids as a list."""
    found = np.asarray(agents)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise InputError(f"agents: expected a sequence of integers, got {found.dtype} {found.shape}")
    ids: list[int] = found.tolist()
    return ids


def flags_of(name: str, given: Flags, n_rows: int) -> bool | bytes:
    """One flag, or a byte each."""
    if isinstance(given, (bool, np.bool_)):
        return bool(given)
    found = np.asarray(given)
    if found.shape != (n_rows,) or found.dtype != np.bool_:
        raise InputError(f"{name}: expected a bool or {n_rows} bools, got {found.dtype} {found.shape}")
    return found.tobytes()


def streams_of(given: Sequence[int] | Array, n_rows: int) -> bytes:
    """Streams as 8 bytes each."""
    found = np.asarray(given)
    if found.shape != (n_rows,) or found.dtype.kind not in "iu" or (found < 0).any():
        raise InputError(f"streams: expected {n_rows} numbers 0 ≤ stream < 2⁶³, got {found.dtype} {found.shape}")
    return found.astype("<u8").tobytes()


class Answer(Mapping[str, Array]):
    """Decisions of a policy: outputs by name, row i for `agents[i]`. Made by `Pending.result`.

    Attributes:
      agents: [n] int64, agents that were run, in the order of the request. skipped: agents whose deadline was over.
      version: of the policy. tick: of the request, or None. streams: of noise, where agents began with it.
    """

    def __init__(self, columns: Columns, result: Mapping[str, Any]):
        self.agents = np.array(result["agents"], np.int64)
        self.skipped = np.array(result["skipped"], np.int64)
        self.version: int = result["version"]
        self.tick: int | None = result.get("tick")
        self.streams = np.frombuffer(result["streams"], "<u8") if "streams" in result else None
        n_rows = len(self.agents)
        self._outputs = {name: np.frombuffer(data, columns.outputs[name].dtype).reshape(n_rows, *columns.outputs[name].shape)
                         for name, data in dict(result["outputs"]).items()}

    def __getitem__(self, name: str) -> Array:
        return self._outputs[name]

    def __iter__(self) -> Any:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)
