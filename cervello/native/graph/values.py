"""Static knowledge of a graph's values: shape, dtype, and data of constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.native.graph.dims import Shape
from cervello.native.graph.dtypes import I64, Array


@dataclass(frozen=True, slots=True)
class Value:
    """A value by name.

    Attributes:
      shape: sizes, possibly depending on N; None when only running the node can tell.
      dtype: None where only running the node can tell; known wherever the shape is.
      data: the value itself where it is known ahead: an array, or an object array of sizes that depend on N.
      from_input: whether any graph input reaches it.
    """

    name: str
    shape: Shape | None
    dtype: np.dtype[Any] | None
    data: Array | None = None
    from_input: bool = True

    @property
    def constant(self) -> Array | None:
        """The data when it does not depend on N."""
        return None if self.data is None or self.data.dtype == object else self.data


Values = Mapping[str, Value]


def known(name: str, data: Array, from_input: bool = False) -> Value:
    """A value whose data are known."""
    dtype = I64 if data.dtype == object else data.dtype
    return Value(name, tuple(data.shape), dtype, data, from_input)
