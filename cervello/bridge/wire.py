"""Rows of tensors in the wire format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.bridge.codes import bad_request
from cervello.bridge.envelope import kind_of
from cervello.errors import ConfigurationError
from cervello.spec import Array, TensorSpec

NAMES = frozenset({"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"})


def as_bytes(field: str, value: Any) -> bytes:
    """The bytes of a bin; a str counts as its bytes.

    Raises:
      Refusal: the value is neither.
    """
    if type(value) is bytes:
        return value
    if type(value) is str:
        return value.encode("utf-8", "surrogateescape")
    raise bad_request(field, f"expected bin, got {kind_of(value)}")


class WireTensor:
    """One input or output: an agent's row and its wire format.

    Attributes:
      name, shape, spec: of the policy.
      wire: the dtype on the wire, little-endian. n_bytes: of a row.
      is_plain: the wire dtype is the policy's, so rows need no conversion.
      default: the row that stands for one that is left out; None when it must be given.
    """

    def __init__(self, where: str, spec: TensorSpec):
        name = "float32" if spec.dtype.name == "bfloat16" else spec.dtype.name
        if name not in NAMES:
            raise ConfigurationError(f"{where} {spec.name!r}: expected numbers or bools, got {spec.dtype}; the bridge has no form for it")
        if spec.batch_axis is None:
            raise ConfigurationError(f"{where} {spec.name!r}: expected a row for every agent, got a value that all rows share; let a "
                                     "wrapper provide it (cervello.Fill)")
        self.name, self.shape, self.spec, self.dtype = spec.name, spec.shape, spec, name
        # By its name, which gives numpy's singleton dtype. Policies compare dtypes by identity first; an equal dtype takes the slow path.
        self.wire: np.dtype[Any] = np.dtype(np.dtype(name).newbyteorder("<").str)
        self.n_bytes = spec.size * self.wire.itemsize
        self.is_plain = self.wire is spec.dtype and not spec.batch_axis
        self.default = None if spec.default is None else np.ascontiguousarray(spec.default).astype(self.wire)

    def as_spec(self) -> dict[str, Any]:
        """Its part of the answer to `spec`."""
        found: dict[str, Any] = {"shape": list(self.shape), "dtype": self.dtype}
        if self.default is not None:
            found["default"] = self.default.tobytes()
        return found

    def read(self, field: str, value: Any, n_rows: int) -> Array:
        """[n, …], rows in the wire dtype.

        Raises:
          Refusal: not n rows, or a bool that is neither 0 nor 1.
        """
        data = as_bytes(field, value)
        if len(data) != n_rows * self.n_bytes:
            raise bad_request(field, f"expected {n_rows} rows of {self.n_bytes} bytes ({self.dtype} {list(self.shape)}), got {len(data)} "
                              "bytes")
        if self.dtype == "bool" and data.translate(None, b"\0\1"):
            raise bad_request(field, "expected bools of 0 or 1, got another byte")
        return np.frombuffer(data, self.wire).reshape(n_rows, *self.shape)

    def column(self, rows: Array) -> Array:
        """Rows in the dtype of the policy."""
        rows = rows.astype(self.spec.dtype, copy=False)
        return np.moveaxis(rows, 0, self.spec.batch_axis) if self.spec.batch_axis else rows

    def data(self, column: Array) -> bytes:
        """Encodes rows of the policy as bytes."""
        return (column if self.is_plain else self.rows(column)).tobytes()

    def rows(self, column: Array) -> Array:
        """[n, …], rows of the policy in the wire dtype."""
        rows = np.moveaxis(column, self.spec.batch_axis, 0) if self.spec.batch_axis else column
        return np.ascontiguousarray(rows, self.wire)


class Signature:
    """Inputs and outputs of one policy, as in the answer to `spec`.

    Raises:
      ConfigurationError: a policy that cannot be served.
    """

    def __init__(self, name: str, policy: Policy):
        where = f"policy {name!r}"
        self.inputs = {key: WireTensor(f"{where}, input", spec) for key, spec in core_of(policy).all_inputs.items()}
        self.outputs = {key: WireTensor(f"{where}, output", spec) for key, spec in policy.outputs.items()}
        self.constants: Mapping[str, Array] = policy.constants
        for key, value in self.constants.items():
            if value.dtype.name != "bfloat16" and value.dtype.name not in NAMES:
                raise ConfigurationError(f"{where}, constant {key!r}: expected numbers or bools, got {value.dtype}")
        self.spec = {
            "inputs": {key: row.as_spec() for key, row in self.inputs.items()},
            "outputs": {key: row.as_spec() for key, row in self.outputs.items()},
            "constants": {key: _constant(value) for key, value in self.constants.items()}}


def _constant(value: Array) -> dict[str, Any]:
    wire = value.astype(np.float32) if value.dtype.name == "bfloat16" else value
    value_ = np.ascontiguousarray(wire, wire.dtype.newbyteorder("<")).tobytes()
    return {"shape": list(wire.shape), "dtype": wire.dtype.name, "value": value_}
