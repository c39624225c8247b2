"""Noise keys for runs without agents: row i draws as agent i of a seed, episode 0, step 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cervello.native.execution.context import ExecutionContext
from cervello.noise import derive_keys


class Draw:
    """Slots, keys and step counters of one stateless run."""

    __slots__ = ("keys", "seed", "slots", "steps")

    def __init__(self, seed: int):
        self.seed = seed
        self.slots: NDArray[np.int64] = np.zeros(0, np.int64)
        self.keys: NDArray[np.uint64] = np.zeros((0, 2), np.uint64)
        self.steps: NDArray[np.int64] = np.zeros(0, np.int64)

    def set_noise(self, run: ExecutionContext, n_rows: int) -> None:
        """Points a run at keys for n_rows rows."""
        self.slots = np.arange(n_rows, dtype=np.int64)
        self.steps = zeros = np.zeros(n_rows, np.int64)
        keys = np.zeros((n_rows, 2), np.uint64)
        derive_keys(self.slots, zeros, zeros, self.seed, self.slots, keys)
        self.keys = keys
        run.set_noise(self.slots.ctypes.data, self.keys.ctypes.data, self.steps.ctypes.data)
