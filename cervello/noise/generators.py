"""Generators for a policy's noise input: normal, fast normal, constant, or a custom object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cervello.noise.streams import Streams


@runtime_checkable
class Generator(Protocol):
    """Any object with this method. To keep noise a function of the agent alone, draw only from `streams`."""

    def fill(self, out: NDArray[np.float32], slots: NDArray[np.int64], streams: Streams, site: int,
             scale: float, deterministic: NDArray[np.bool_] | None) -> None:
        """Writes every element of `out`, [n, width] float32, row i for the agent in slots[i].

        Args:
          slots: [n] int64; `streams.keys[slots]` and `streams.steps[slots]` are the agents' keys and steps.
          site: the wrapper's number, to be passed on to `streams`.
          scale: factor for every element.
          deterministic: [n] bool, rows to set to zero; None for no row.
        """


@dataclass(frozen=True, slots=True)
class Normal:
    """Standard normals."""

    def fill(self, out: NDArray[np.float32], slots: NDArray[np.int64], streams: Streams, site: int,
             scale: float, deterministic: NDArray[np.bool_] | None) -> None:
        streams.fill_normal(out, slots, site, scale, deterministic)


@dataclass(frozen=True, slots=True)
class FastNormal:
    """Nearly normal numbers at a lower cost; `reference.fast_normal` describes their quality."""

    def fill(self, out: NDArray[np.float32], slots: NDArray[np.int64], streams: Streams, site: int,
             scale: float, deterministic: NDArray[np.bool_] | None) -> None:
        streams.fill_fast_normal(out, slots, site, scale, deterministic)


@dataclass(frozen=True, slots=True)
class Constant:
    """The same number everywhere, times the scale.

    Attributes:
      value: the number.
    """

    value: float

    def fill(self, out: NDArray[np.float32], slots: NDArray[np.int64], streams: Streams, site: int,
             scale: float, deterministic: NDArray[np.bool_] | None) -> None:
        out[...] = self.value * scale
        if deterministic is not None:
            out[deterministic] = 0.0
