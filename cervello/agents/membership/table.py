"""Table of active agents: ids to slots, noise keys, step counters.

A slot is an agent's row in every slab. The slot of an ended agent is reused only after every batch that was running at that time has
finished, so that a late batch writes to no other agent's row. Agents that restart while no batch runs keep their slots.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from cervello.agents.membership.episodes import PastEpisodes
from cervello.agents.membership.ids import are_builtin, builtin_id, check_distinct, check_id_types, is_id, noise_numbers
from cervello.agents.membership.in_place_restart import InitialRows, in_place_restart
from cervello.agents.membership.slot_lookup import SlotLookup
from cervello.codegen import entry
from cervello.errors import AgentError
from cervello.noise import Streams, derive_keys, layout
from cervello.spec import AgentId

Array = np.ndarray[Any, Any]
_FIRST_CAPACITY = 64


class ChangedError(AgentError):
    """Agents have begun or ended since the caller's lookup."""

    def __init__(self, expected: int, current: int):
        super().__init__(f"agents: expected membership version {expected}, got {current}; agents have begun or ended since, look them up "
                         "again")


class AgentTable(SlotLookup):
    """The agents of one policy. Mutable; changed by one thread at a time (Python's lock suffices).

    To begin agents, the caller takes slots, reserves, prepares them and publishes last: until then no visible state has changed.

    Attributes:
      seed: of all noise.
      streams: noise by slot (keys and steps).
      steps: [capacity] int64, decisions in the episode.
      generations_address: [1] int64, address at which compiled code finds the int64 generations by slot.
      past: the next episodes of agents that have ended.
      numbering: ids to the numbers that key their noise, [n] uint64; derived from the ids themselves, unless an owner of the policy
        names agents otherwise.
      membership_version: grows whenever agents begin or end, also if they keep their slots.
      versions: [2] int64 for compiled code: one that also grows before every change of `slots` and when the arrays move, and
        `membership_version`.
    """

    def __init__(self, seed: int = 0):
        super().__init__()
        self.seed = seed
        self.past = PastEpisodes()
        self.numbering: Callable[[Sequence[Any]], Array] = noise_numbers
        self.membership_version = 0
        self.versions: Array = np.zeros(2, np.int64)
        self._free: list[int] = []
        self._first_reused = 0  # position of those that `free_slots` returned last
        self._retired: deque[tuple[int, list[int]]] = deque()  # slots, and the last batch that had begun when their agents ended
        self._running_batches: dict[Hashable, int] = {}  # running batches, by the caller's token, numbered in the order they began
        self._n_begun_batches = 0
        self._used = 0
        self._last_generation = 0
        self._generations: Array = np.zeros(0, np.int64)
        self.generations_address: Array = np.zeros(1, np.int64)
        self._advance = entry.fastcall_ints("cervello.agents.membership.table_kernels:advance") if layout.is_known() else None
        self.capacity = 0
        self.keys: Array = np.zeros((0, 2), np.uint64)
        self.steps: Array = np.zeros(0, np.int64)
        self._noise: Array = np.zeros((2, 0), np.int64)  # stream and episode by slot
        self._numbers: Array = np.zeros(0, np.uint64)  # of the agents, by slot
        self.reserve(_FIRST_CAPACITY)

    def __len__(self) -> int:
        return len(self.slots)

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self.slots

    # Begin and end ------------------------------------------------------------------------------------------------------

    def check_begin(self, ids: Sequence[AgentId]) -> Array:
        """[n] uint64, noise numbers of agents that may begin.

        Raises:
          AgentError: an id of a wrong kind, one that is already active, or one named twice.
        """
        numbers = self.numbering(ids)
        check_distinct("begin", ids)
        if not self.slots.keys().isdisjoint(ids):
            there = next(agent for agent in ids if agent in self.slots)
            raise AgentError(f"begin: expected an agent that has not begun, got {there!r}; end it first or use restart_agents")
        return numbers

    def check_version(self, expected: int | None) -> None:
        """Raises ChangedError if `membership_version` is not the expected one; None expects any."""
        if expected is not None and expected != self.membership_version:
            raise ChangedError(expected, self.membership_version)

    def free_slots(self, n: int) -> Array:
        """[n] int64 free slots; they stay free until `publish`."""
        taken = self._free[:-n - 1:-1]
        self._first_reused = len(self._free) - len(taken)
        taken += range(self._used, self._used + n - len(taken))
        return np.array(taken, np.int64)

    def required_capacity(self, slots: Array) -> int:
        """The capacity that slots need: unchanged, or at least twice as much."""
        need = int(slots.max(initial=-1)) + 1
        return self.capacity if need <= self.capacity else max(2 * self.capacity, need)

    def reserve(self, capacity: int) -> None:
        """Allocates slots below `capacity`."""
        if capacity <= self.capacity:
            return
        self.versions[0] += 1
        keys, steps, noise = np.zeros((capacity, 2), np.uint64), np.zeros(capacity, np.int64), np.zeros((2, capacity), np.int64)
        n = self.capacity
        keys[:n], steps[:n], noise[:, :n] = self.keys, self.steps, self._noise
        generations, numbers = np.zeros(capacity, np.int64), np.zeros(capacity, np.uint64)
        generations[:n], numbers[:n] = self._generations, self._numbers
        streams, address = Streams(keys, steps), steps.ctypes.data
        restart_in_place = in_place_restart(self.seed, keys, steps, noise, generations)
        new_address = generations.ctypes.data
        self.keys, self.steps, self._noise = keys, steps, noise
        self._generations, self._numbers, self.capacity = generations, numbers, capacity
        self.generations_address[0] = new_address
        self.streams, self._steps_address, self._restart_in_place = streams, address, restart_in_place

    def prepare(self, slots: Array, numbers: Array, streams: Array, episodes: Array, steps: Array | int = 0) -> None:
        """Sets noise and step of unused slots."""
        derive_keys(numbers, streams, episodes, self.seed, slots, self.keys)
        self.steps[slots] = steps
        self._noise[0, slots], self._noise[1, slots], self._numbers[slots] = streams, episodes, numbers
        self._generations[slots] = np.arange(self._last_generation + 1, self._last_generation + 1 + len(slots))
        self._last_generation += len(slots)

    def publish(self, ids: Sequence[AgentId], slots: Array, ending: Sequence[AgentId] = (), old: Array | None = None) -> None:
        """Makes agents active in unused slots; all of them or, on any exception, none.

        Args:
          ending: distinct agents whose episodes end now, at the slots `old`; they may be the same.
        """
        names = ids if set(map(type, ids)) <= {int, str} else [a if isinstance(a, (int, str)) else int(a) for a in ids]
        ended = [] if old is None else old.tolist()
        retired = (self._n_begun_batches, ended)
        self.versions[0] += 1
        fresh = slots[slots >= self._used].size
        reused = self._first_reused
        try:
            if len(ending) == len(self.slots):
                self.slots.clear()
            else:
                for agent in ending:
                    del self.slots[agent]
            self.slots.update(zip(names, slots.tolist(), strict=True))
        except BaseException:
            for agent in names:
                self.slots.pop(agent, None)
            self.slots.update(zip(ending, ended, strict=True))
            raise
        self.membership_version = self.versions[1] = self.membership_version + 1
        self.slots_version += 1
        self._used += fresh
        del self._free[reused:reused + len(names) - fresh]  # a decision from inside a hook may have freed others behind them
        if ended:
            self._retired.append(retired)
            self._free_ended()

    @property
    def can_restart_in_place(self) -> bool:
        """Whether `restart_in_place` may be called: no running batch will store to the slots."""
        return self._restart_in_place is not None and not self._running_batches

    def restart_in_place(self, ids: Sequence[AgentId], slots: Array, streams: Array, episodes: Array, rows: InitialRows) -> None:
        """Ends and begins agents in one step; they keep their slots.

        Args:
          ids: distinct agents, at `slots`.
          rows: of the wrappers' slabs.
        """
        numbers = self._numbers[slots]
        begun = self._last_generation
        self._last_generation += len(slots)
        self.membership_version = self.versions[1] = self.membership_version + 1
        # The newest come last. Each is removed and reinserted in one call, which cannot be interrupted.
        deque(map(self.slots.__setitem__, ids, map(self.slots.pop, ids)), 0)
        assert self._restart_in_place is not None
        self._restart_in_place(begun, rows, slots, numbers, streams, episodes)

    def end(self, ids: Sequence[AgentId]) -> Array:
        """Removes agents; all of them or, on any exception, none.

        Returns:
          slots: [n] int64, their slots.
        Raises:
          AgentError: an unknown agent, or one named twice.
        """
        check_id_types(ids)
        ended: list[Any] = []
        self.versions[0] += 1
        try:
            # One lookup per agent, since each is a cache miss among many agents; and one call, which records all that it removes.
            ended.extend(map(self.slots.pop, ids, repeat(None)))
            if None in ended:
                raise KeyError
            slots = np.array(ended, np.int64)
            self.past.record(ids, self.next_episodes(slots))  # entries of agents that stay active after an exception are never read
            retired = self._n_begun_batches, ended
            self.membership_version = self.versions[1] = self.membership_version + 1
            self.slots_version += 1
            self._retired.append(retired)
        except BaseException as error:
            if self._retired and self._retired[-1][1] is ended:
                raise  # an interrupt, after all was done
            taken = {agent: slot for agent, slot in zip(ids, ended, strict=False) if slot is not None}
            there = sorted({**self.slots, **taken}.items(), key=lambda item: int(self._generations[item[1]]))  # oldest first, as before
            self.slots.clear()
            self.slots.update(there)
            if isinstance(error, KeyError):
                self._look_up_and_cache(ids, ending=True)  # names the missing or duplicate agent
            raise
        self._free_ended()
        return slots

    def begin_batch(self, batch: Hashable) -> None:
        """Records that a batch begins to run; `batch` is a unique token."""
        self._n_begun_batches += 1
        self._running_batches[batch] = self._n_begun_batches

    def clear_running_batches(self) -> None:
        """Clears the running batches after a fork: their threads do not exist in this process."""
        self._running_batches.clear()
        self._free_ended()

    def end_batch(self, batch: Hashable) -> None:
        """Records that a batch has ended, failed, or never begun."""
        self._running_batches.pop(batch, None)
        self._free_ended()

    def _free_ended(self) -> None:
        """Frees slots that no running batch can use: the oldest one began after their agents had ended."""
        oldest = next(iter(self._running_batches.values()), self._n_begun_batches + 1)
        while self._retired and self._retired[0][0] < oldest:
            self._free += self._retired.popleft()[1]

    # By slot --------------------------------------------------------------------------------------------------------------

    def streams_and_episodes(self, slots: Array) -> tuple[Array, Array]:
        """Stream and episode of agents, by slot: [n] int64 each."""
        return self._noise[0, slots], self._noise[1, slots]

    def next_episodes(self, slots: Array) -> list[int]:
        """The episodes after those of agents, by slot; 2⁶³, which means none, after the last one."""
        return [episode + 1 for episode in self._noise[1, slots].tolist()]

    def generations(self, ids: Sequence[AgentId]) -> list[int | None]:
        """Generation of each agent, a number that grows with every begin; None for an agent that is not active."""
        generations, slots = self._generations, self.slots
        if are_builtin(ids):
            there: list[Any] = list(map(slots.get, ids))
            if None not in there:
                return list(map(generations.item, there))
        found = [slots.get(builtin_id(agent)) if is_id(agent) else None for agent in ids]
        return [None if slot is None else int(generations[slot]) for slot in found]

    def advance(self, slots: Array, n_rows: int) -> None:
        """Increments the step counters of the agents of a batch that has succeeded."""
        if self._advance is None:
            self.steps[slots] += 1
        else:
            self._advance(self._steps_address, id(slots), n_rows)
