"""The open episodes of a writer: handles and the state of each, in arrays as long as the largest number of open episodes."""

from __future__ import annotations

import numpy as np

from cervello.errors import AgentError
from cervello.spec import Array

FREE, STEPS, DECISIONS = 0, 1, 2  # phases: no episode; one recorded by whole steps; one recorded decisions first
SAME_ROWS = ("observation", "action", "pre_tanh", "pre_clip")  # trees whose rows have one schema within an episode
_LANE_BITS = 32


class Lanes:
    """Open episodes. A handle is a lane and, in the higher bits, a count of its episodes, so handles are never reused.

    Attributes:
      phase: [lanes] int8. n_steps: [lanes] int64.
      schemas: by name of `SAME_ROWS`, [lanes] int64, number of the schema, −1 before the first row.
    """

    def __init__(self) -> None:
        self._generation = np.zeros(0, np.int64)
        self._free: list[int] = []
        self._mark = np.zeros(0, np.int64)
        self.phase = np.zeros(0, np.int8)
        self.n_steps = np.zeros(0, np.int64)
        self.schemas = {name: np.zeros(0, np.int64) for name in SAME_ROWS}

    def next(self, n: int) -> Array:
        """[n] int64, the handles that `begin` takes next; only allocates memory."""
        if n > len(self._free):
            self._grow(max(n, 2 * len(self.phase), 16))
        lanes = np.array(self._free[len(self._free) - n:][::-1], np.int64)
        return self._generation[lanes] << _LANE_BITS | lanes

    def _grow(self, to: int) -> None:
        old = len(self.phase)
        more = to + old - old

        def longer(array: Array) -> Array:
            return np.concatenate([array, np.zeros(more, array.dtype)])

        self._generation, self._mark = longer(self._generation), longer(self._mark)
        self.phase, self.n_steps = longer(self.phase), longer(self.n_steps)
        self.schemas = {name: longer(array) for name, array in self.schemas.items()}
        self._free[:0] = range(old + more - 1, old - 1, -1)

    def begin(self, handles: Array, phase: int) -> None:
        """Opens episodes with handles of `next`."""
        del self._free[len(self._free) - len(handles):]
        lanes = handles & ((1 << _LANE_BITS) - 1)
        self.phase[lanes] = phase
        self.n_steps[lanes] = 0
        for array in self.schemas.values():
            array[lanes] = -1

    def end(self, lanes: Array) -> None:
        """Closes episodes; their handles become invalid."""
        self.phase[lanes] = FREE
        self._generation[lanes] += 1
        self._free.extend(lanes.tolist())

    def find(self, handles: Array, where: str, once: bool = True) -> Array:
        """[n] int64, the lanes of handles.

        Args:
          once: refuse a handle that occurs twice.
        Raises:
          AgentError: an episode that is not open, or that occurs twice.
        """
        lanes = handles & ((1 << _LANE_BITS) - 1)
        known = (handles >= 0) & (lanes < len(self.phase))
        lanes = np.where(known, lanes, 0)
        if len(self.phase):
            known &= (self._generation[lanes] == handles >> _LANE_BITS) & (self.phase[lanes] != FREE)
        if not known.all():
            raise AgentError(f"{where}: expected episodes that have begun and not ended, got {int(handles[~known][0])}; begin it first")
        if once and len(lanes) > 1:
            order = np.arange(len(lanes))
            self._mark[lanes] = order
            if (self._mark[lanes] != order).any():
                twice = int(handles[np.flatnonzero(self._mark[lanes] != order)[0]])
                raise AgentError(f"{where}: expected each episode once, got {twice} twice; give one row for each")
        return lanes
