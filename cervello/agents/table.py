"""Who is there: agent ids to slots, noise keys, step counters.

A slot is an agent's row in every slab. Slots of agents that end are used again, but never while a batch is in flight: a run that
finishes late then writes to nobody's row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cervello.compiled import entry
from cervello.errors import AgentError
from cervello.noise import Streams, agent_number, derive_keys, layout
from cervello.spec import AgentId

Array = np.ndarray[Any, Any]
_FIRST_CAPACITY = 64


class AgentTable:
    """The agents of one policy. Mutable; changed by one thread at a time (Python's lock suffices).

    Attributes:
      seed: of all noise.
      slots: by agent id.
      streams: noise by slot (keys and steps).
      steps: [capacity] int64, decisions in the episode.
      in_flight: batches running now.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed
        self.slots: dict[AgentId, int] = {}
        self.changes = 0
        self.in_flight = 0
        self._free: list[int] = []
        self._limbo: list[int] = []
        self._used = 0
        self._last: tuple[Any, Array, int] = (None, np.zeros(0, np.int64), -1)  # ids, slots, changes: one tuple, so that threads never mix
        self._count = entry.ints("cervello.agents.kernels:advance") if layout.is_known() else None
        self.capacity = 0
        self.keys: Array = np.zeros((0, 2), np.uint64)
        self.steps: Array = np.zeros(0, np.int64)
        self._noise: Array = np.zeros((2, 0), np.int64)  # stream and episode by slot
        self._grow(_FIRST_CAPACITY)

    def _grow(self, capacity: int) -> None:
        keys, steps = np.zeros((capacity, 2), np.uint64), np.zeros(capacity, np.int64)
        noise = np.zeros((2, capacity), np.int64)
        keys[:self._used], steps[:self._used] = self.keys[:self._used], self.steps[:self._used]
        noise[:, :self._used] = self._noise[:, :self._used]
        self.keys, self.steps, self._noise, self.capacity = keys, steps, noise, capacity
        self.streams = Streams(keys, steps)
        self._steps_address = steps.ctypes.data

    def __len__(self) -> int:
        return len(self.slots)

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self.slots

    # Begin and end ------------------------------------------------------------------------------------------------------

    def check_begin(self, ids: Sequence[AgentId]) -> list[int]:
        """Noise numbers of agents that may begin.

        Raises:
          AgentError: an id of a wrong kind, one that has begun, or one named twice.
        """
        numbers = [_number(agent) for agent in ids]
        if len(set(ids)) != len(ids):
            raise AgentError(f"begin: expected distinct agents, got {_doubled(ids)!r} twice")
        for agent in ids:
            if agent in self.slots:
                raise AgentError(f"begin: expected an agent that has not begun, got {agent!r}; end it first or use restart_agents")
        return numbers

    def begin(self, ids: Sequence[AgentId], numbers: Sequence[int], streams: Sequence[int], episodes: Sequence[int]) -> Array:
        """Gives checked agents slots; returns them, [n] int64."""
        n = len(ids)
        need = self._used + max(0, n - len(self._free))
        if need > self.capacity:
            self._grow(max(2 * self.capacity, need))
        taken = [self._free.pop() for _ in range(min(n, len(self._free)))]
        fresh = n - len(taken)
        taken += range(self._used, self._used + fresh)
        self._used += fresh
        slots = np.array(taken, np.int64)
        words = np.array(numbers, np.uint64)
        stream_words, episode_words = np.array(streams, np.int64), np.array(episodes, np.int64)
        derive_keys(words, stream_words, episode_words, self.seed, slots, self.keys)
        self.steps[slots] = 0
        self._noise[0, slots], self._noise[1, slots] = stream_words, episode_words
        self.slots.update(zip((a if isinstance(a, (int, str)) else int(a) for a in ids), taken, strict=True))
        self.changes += 1
        return slots

    def end(self, ids: Sequence[AgentId]) -> Array:
        """Frees the slots of agents; returns them.

        Raises:
          AgentError: an agent that has not begun, or one named twice; nothing changed.
        """
        slots = self.rows(ids)
        for agent in ids:
            del self.slots[agent]
        (self._limbo if self.in_flight else self._free).extend(slots.tolist())
        self.changes += 1
        return slots.copy()

    def enter(self) -> None:
        """A batch begins to run."""
        self.in_flight += 1

    def leave(self) -> None:
        """A batch has ended, well or not."""
        self.in_flight -= 1
        if not self.in_flight and self._limbo:
            self._free += self._limbo
            self._limbo.clear()

    def history(self, slots: Array) -> tuple[list[int], list[int]]:
        """Stream and episode of agents, by slot."""
        return self._noise[0, slots].tolist(), self._noise[1, slots].tolist()

    # Rows ---------------------------------------------------------------------------------------------------------------

    def rows(self, ids: Sequence[AgentId] | Array) -> Array:
        """[n] int64 slots of distinct agents that have begun. A crowd that comes again in the same order costs a comparison.

        Raises:
          AgentError: an unknown agent, or one named twice.
        """
        last, last_slots, changes = self._last
        kind = ids.__class__
        if changes == self.changes and kind is last.__class__:
            if kind is np.ndarray:
                if ids.dtype == last.dtype and ids.shape == last.shape and ids.tobytes() == last.tobytes():  # type: ignore[union-attr]
                    return last_slots
            elif ids == last:
                return last_slots
        names = listed(ids)
        try:
            found = [self.slots[agent] for agent in names]
        except (KeyError, TypeError):
            unknown = next((a for a in names if not _known(self.slots, a)), None)
            raise AgentError(f"agents: expected agents that have begun, got {unknown!r}; call begin_agent({unknown!r}) first") from None
        if bool in map(type, names):
            raise AgentError(f"agents: expected ints or strings, got {next(a for a in names if isinstance(a, bool))!r}")
        slots = np.array(found, np.int64)
        if len(found) > 1 and len(set(found)) != len(found):
            raise AgentError(f"agents: expected distinct agents, got {_doubled(names)!r} twice")
        # Only kinds whose equality means the same agents in the same order: views of dicts compare as sets, others may change.
        if kind is np.ndarray:
            self._last = ids.copy(), slots, self.changes  # type: ignore[union-attr]
        elif kind is list or kind is tuple:
            self._last = names if kind is list else tuple(names), slots, self.changes
        return slots

    def advance(self, slots: Array, n_rows: int) -> None:
        """Counts one more decision for the agents of a batch that has succeeded."""
        if self._count is None:
            self.steps[slots] += 1
        else:
            self._count(self._steps_address, id(slots), n_rows)


def listed(ids: Iterable[AgentId] | Array) -> list[AgentId]:
    """Ids one by one.

    Raises:
      AgentError: one id instead of a sequence, or an array that cannot hold ids.
    """
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1 or (ids.dtype.kind not in "iuUO" and ids.size):
            raise AgentError(f"agents: expected a vector of ints or strings, got {ids.dtype} {ids.shape}")
        return ids.tolist()  # type: ignore[no-any-return]
    if isinstance(ids, (str, int, np.generic)) or not isinstance(ids, Iterable):
        raise AgentError(f"agents: expected a sequence of ids, got {ids!r}; one agent is [{ids!r}]")
    return list(ids)


def _known(slots: dict[AgentId, int], agent: Any) -> bool:
    try:
        return agent in slots
    except TypeError:
        return False


def _number(agent: AgentId) -> int:
    if isinstance(agent, bool) or not isinstance(agent, (int, str, np.integer)):
        raise AgentError(f"agent id: expected an int (0 ≤ id < 2⁶³) or a string, got {agent!r}")
    if not isinstance(agent, str) and not 0 <= agent < 1 << 63:
        raise AgentError(f"agent id: expected 0 ≤ id < 2⁶³, got {agent}")
    return agent_number(agent if isinstance(agent, str) else int(agent))


def _doubled(ids: Iterable[AgentId]) -> AgentId | None:
    seen: set[AgentId] = set()
    for agent in ids:
        if agent in seen:
            return agent
        seen.add(agent)
    return None
