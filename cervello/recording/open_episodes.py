"""The open episodes of a writer: handles and the state of each, in arrays as long as the largest number of open episodes."""

from __future__ import annotations

import numpy as np

from cervello.errors import AgentError
from cervello.spec import Array

FREE, STEPS, DECISIONS = 0, 1, 2  # phases: no episode; one recorded by whole steps; one recorded decisions first
FIXED_SCHEMA_COLUMNS = ("observation", "action", "pre_tanh", "pre_clip")  # trees whose rows have one schema within an episode
_SLOT_BITS = 32
_FEWEST_SLOTS = 16


class OpenEpisodes:
    """Open episodes by slot. A handle is a slot and, in the higher bits, a count of its episodes, so handles are never reused.

    Attributes:
      phase: [slots] int8. n_steps: [slots] int64.
      schemas: by name of `FIXED_SCHEMA_COLUMNS`, [slots] int64, number of the schema, −1 before the first row.
    """

    def __init__(self) -> None:
        self._generation = np.zeros(0, np.int64)
        self._free: list[int] = []
        self._last_row = np.zeros(0, np.int64)  # scratch of `find`: by slot, the last row of its handles
        self.phase = np.zeros(0, np.int8)
        self.n_steps = np.zeros(0, np.int64)
        self.schemas = {name: np.zeros(0, np.int64) for name in FIXED_SCHEMA_COLUMNS}

    def next_handles(self, n: int) -> Array:
        """[n] int64, the handles that `begin` takes next; only allocates memory."""
        if n > len(self._free):
            self._add_slots(max(n, 2 * len(self.phase), _FEWEST_SLOTS))
        slots = np.array(self._free[len(self._free) - n:][::-1], np.int64)
        return self._generation[slots] << _SLOT_BITS | slots

    def _add_slots(self, n: int) -> None:
        first = len(self.phase)

        def extended(array: Array) -> Array:
            return np.concatenate([array, np.zeros(n, array.dtype)])

        self._generation, self._last_row = extended(self._generation), extended(self._last_row)
        self.phase, self.n_steps = extended(self.phase), extended(self.n_steps)
        self.schemas = {name: extended(array) for name, array in self.schemas.items()}
        self._free[:0] = range(first + n - 1, first - 1, -1)  # taken from the end: the lowest first

    def begin(self, handles: Array, phase: int) -> None:
        """Opens episodes with handles of `next_handles`."""
        del self._free[len(self._free) - len(handles):]
        slots = slots_of(handles)
        self.phase[slots] = phase
        self.n_steps[slots] = 0
        for array in self.schemas.values():
            array[slots] = -1

    def end(self, slots: Array) -> None:
        """Closes episodes; their handles become invalid."""
        self.phase[slots] = FREE
        self._generation[slots] += 1
        self._free.extend(slots.tolist())

    def find(self, handles: Array, where: str, once: bool = True) -> Array:
        """[n] int64, the slots of handles.

        Args:
          handles: [n] int64.
          where: begins the messages.
          once: refuse a handle that occurs twice.
        Raises:
          AgentError: an episode that is not open, or that occurs twice.
        """
        slots = slots_of(handles)
        known = (handles >= 0) & (slots < len(self.phase))
        slots = np.where(known, slots, 0)
        if len(self.phase):
            known &= (self._generation[slots] == handles >> _SLOT_BITS) & (self.phase[slots] != FREE)
        if not known.all():
            raise AgentError(f"{where}: expected episodes that have begun and not ended, got {int(handles[~known][0])}; begin it first")
        if once and len(slots) > 1:
            rows = np.arange(len(slots))
            self._last_row[slots] = rows
            repeated = self._last_row[slots] != rows
            if repeated.any():
                raise AgentError(f"{where}: expected each episode once, got {int(handles[repeated][0])} twice; give one row for each")
        return slots


def slots_of(handles: Array) -> Array:
    """[n] int64, the slots in handles, which may be those of episodes that have ended."""
    return np.asarray(handles & ((1 << _SLOT_BITS) - 1))
