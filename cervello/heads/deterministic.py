"""A tensor as the action, without a distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cervello.errors import ConfigurationError
from cervello.heads.base import Head, Rng, scalars, tensor_name
from cervello.native.execution.chained import Feed, Stage
from cervello.spec import Array, Specs, TensorSpec


class Deterministic(Head):
    """A tensor is the action, unchanged. There are no draws and no probabilities.

    Args:
      name: of a tensor [N, …].
    """

    supports = ("action",)

    def __init__(self, name: str):
        self.name = tensor_name("Deterministic", "action", name)
        self.tensors = (self.name,)

    def __repr__(self) -> str:
        return f"Deterministic({self.name!r})"

    def specs(self, given: Specs) -> Specs:
        spec = given.get(self.name)
        if spec is None:
            raise ConfigurationError(f"head {self!r}: expected a tensor among {list(given)}, got {self.name!r}")
        if spec.batch_axis not in (0, None):
            raise ConfigurationError(f"head {self!r}: expected the batch on axis 0, got {spec}")
        return scalars(TensorSpec("action", spec.shape, spec.dtype), self.supports)

    def noise_width(self, given: Specs) -> int:
        """Always 0, whatever the specs `given`."""
        return 0

    def act(self, columns: Mapping[str, Any], noise: Array | None = None, deterministic: Array | None = None,
            wanted: tuple[str, ...] | None = None, rng: Rng = None) -> dict[str, Array]:
        column = self._array(repr(self.name), self._column(columns, self.name))
        return {name: column.copy() for name in self._wanted(wanted)}

    def stages(self, given: Specs, wanted: tuple[str, ...]) -> tuple[Stage, ...] | None:
        if type(self) is not Deterministic:
            return None
        spec = given[self.name]
        row_bytes = spec.size * spec.dtype.itemsize
        return (Stage(None, {"": Feed("output", self.name)}, {"": "action"}, row_bytes=row_bytes),)

    def log_prob(self, columns: Mapping[str, Any], action: Any) -> Array:
        self._check_supported("log_prob")
        raise AssertionError  # unreachable
