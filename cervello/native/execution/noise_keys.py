"""Noise keys of runs without agents: row i draws as agent i of the seed, episode 0, step 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.execution.context import ExecutionContext
from cervello.noise import SeedKeys

Array = np.ndarray[Any, Any]
# Slots, steps, keys and deterministic flags, as `ExecutionContext.named` takes them.
NoiseArrays = tuple[Array, Array, Array, "Array | None"]


class RowNoise:
    """The noise source of a run's rows. Mutable: it belongs to one context and caches the keys of the last seed.

    Args:
      n_rows: rows of the run.
    """

    __slots__ = ("_deterministic", "_drawing", "_keys", "_seed", "n_rows")

    def __init__(self, n_rows: int):
        self.n_rows = n_rows
        self._seed: int | None = None
        self._keys = SeedKeys(n_rows)
        slots, steps, keys = self._keys.numbers, np.zeros(n_rows, np.int64), self._keys.keys
        self._drawing: NoiseArrays = slots, steps, keys, None
        self._deterministic: NoiseArrays = slots, steps, keys, np.ones(n_rows, np.bool_)

    @classmethod
    def of(cls, run: ExecutionContext, n_rows: int) -> RowNoise:
        """The context's noise source for n_rows; created on first use."""
        noise: RowNoise | None = run.noise
        if noise is None or noise.n_rows != n_rows:
            noise = run.noise = cls(n_rows)
        return noise

    def arguments(self, seed: int | None) -> NoiseArrays:
        """The arrays for a seed, 0 <= seed < 2**64; with None, all rows are deterministic."""
        if seed is None:
            return self._deterministic
        if seed != self._seed:
            self._seed = None  # an interrupt during `derive` leaves no stale seed
            self._keys.derive(seed)
            self._seed = seed
        return self._drawing

    def set_noise(self, run: ExecutionContext, seed: int | None) -> None:
        """Sets these arrays in a context; this object keeps them alive."""
        slots, steps, keys, flags = self.arguments(seed)
        run.set_noise(slots.ctypes.data, keys.ctypes.data, steps.ctypes.data, 0 if flags is None else flags.ctypes.data)
