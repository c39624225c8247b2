"""Noise keys for runs without agents: row i draws as agent i of a seed, episode 0, step 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native import abi
from cervello.native.executor import Run
from cervello.noise import derive_keys

Array = np.ndarray[Any, Any]


class Draw:
    """Slots, keys and step counters of one stateless run."""

    __slots__ = ("keys", "seed", "slots", "steps")

    def __init__(self, seed: int):
        self.seed = seed
        self.slots = self.keys = self.steps = np.zeros(0, np.int64)

    def aim(self, run: Run, n_rows: int) -> None:
        """Points a run at keys for n_rows rows."""
        self.slots = np.arange(n_rows, dtype=np.int64)
        self.keys, self.steps = np.zeros((n_rows, 2), np.uint64), np.zeros(n_rows, np.int64)
        zeros = np.zeros(n_rows, np.int64)
        derive_keys(self.slots, zeros, zeros, self.seed, self.slots, self.keys)
        run.aim(self.slots.ctypes.data, self.keys.ctypes.data, self.steps.ctypes.data)
