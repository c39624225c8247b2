"""Wait queue of one policy: observations, generations, and the frame each agent was enqueued in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from cervello.batcher import Queue
from cervello.batcher.pad import MakeReader
from cervello.spec import AgentId, Array, Specs

NO_HEAD = 1 << 62  # head frame of an empty queue; beyond all frames


class WaitQueue:
    """Wait queue of one policy. Mutable, not thread-safe. A batch of all waiting agents takes over the whole queue with its memory.

    Attributes:
      queue: the newest observation of each agent, longest waiting first if all have one priority.
      enqueued_frame: the frame in which each agent began to wait.
      head_enqueued_frame: that of the first agent, `NO_HEAD` if the queue is empty.
    """

    __slots__ = ("enqueued_frame", "head_enqueued_frame", "queue")

    def __init__(self, specs: Specs, make_reader: MakeReader | None = None):
        self.queue = Queue(specs, make_reader)
        self.enqueued_frame: dict[AgentId, int] = {}
        self.head_enqueued_frame = NO_HEAD

    def __len__(self) -> int:
        return len(self.queue.generations)

    def open(self) -> None:
        """Lets `queue.push` append agents, which wait since the same frame as the last agent or a later one."""
        self.queue.open(self.enqueued_frame)

    def put(self, agent: AgentId, generation: int, arrays: Mapping[str, Array], frame: int) -> None:
        """Queues an agent's newest observation; an agent that is already queued keeps its place."""
        self.queue.put(agent, generation, arrays)
        self._wait((agent,), frame)

    def put_columns(self, ids: Sequence[AgentId], generations: Sequence[int], columns: Mapping[str, Array], frame: int) -> None:
        """As `put`, for distinct agents."""
        self.queue.put_columns(ids, generations, columns)
        self._wait(ids, frame)

    def return_columns(self, ids: Sequence[AgentId], generations: Sequence[int], columns: Mapping[str, Array],
                       enqueued_frame: Sequence[int]) -> None:
        """Appends agents that have waited before, with their observations and the frames they were enqueued in."""
        self.queue.put_columns(ids, generations, columns)
        self.enqueued_frame.update(zip(ids, enqueued_frame, strict=True))

    def _wait(self, ids: Sequence[AgentId], frame: int) -> None:
        enqueued_frame = self.enqueued_frame
        before = len(enqueued_frame)
        for agent in ids:
            enqueued_frame.setdefault(agent, frame)
        if not before:
            self.look_at_head()

    def fill(self, ids: Sequence[AgentId], generations: Sequence[int], enqueued_frame: Sequence[int], rows: Mapping[str, Array]) -> None:
        """Fills an empty queue with agents in this order.

        Args:
          rows: as `Queue.put_rows` takes them.
        """
        self.queue.put_rows(ids, generations, rows)
        self.enqueued_frame = dict(zip(ids, enqueued_frame, strict=True))
        self.look_at_head()

    def forget(self, agent: AgentId) -> bool:
        """Removes an agent; returns whether it was queued."""
        if not self.queue.discard(agent):
            return False
        self.enqueued_frame.pop(agent, None)
        self.look_at_head()
        return True

    def drop(self, n: int) -> None:
        """Removes the first n agents."""
        ids = tuple(islice(self.queue.generations, n))
        self.queue.drop(n)
        for agent in ids:
            self.enqueued_frame.pop(agent, None)
        self.look_at_head()

    def eligible(self, frame: int) -> int:
        """Number of agents, from the front, that may run in a frame: those pushed before the next one began. The others are at the back."""
        generations, enqueued_frame = self.queue.generations, self.enqueued_frame
        n_eligible = len(generations)
        for agent in reversed(generations):
            if enqueued_frame.get(agent, frame) <= frame:
                break
            n_eligible -= 1
        return n_eligible

    def merge(self, newer: WaitQueue) -> None:
        """Takes over the agents of another queue with their observations: agents in both keep their place here, the others are appended."""
        if newer.queue.generations:
            self.queue.merge(newer.queue)
            self.queue.shut()
            self.enqueued_frame = {**newer.enqueued_frame, **self.enqueued_frame}
        self.look_at_head()

    def arrange(self, order: Sequence[int] | Array) -> None:
        """Reorders the agents, as `Queue.arrange`."""
        self.queue.arrange(order)
        self.look_at_head()

    def clear(self) -> None:
        """Removes all agents."""
        self.queue.clear()
        self.enqueued_frame.clear()
        self.head_enqueued_frame = NO_HEAD

    def look_at_head(self) -> None:
        """Updates `head_enqueued_frame`."""
        if len(self.enqueued_frame) != len(self.queue.generations):
            self._repair()
        generations = self.queue.generations
        self.head_enqueued_frame = self.enqueued_frame[next(iter(generations))] if generations else NO_HEAD

    def _repair(self) -> None:
        """Repairs `enqueued_frame` after an interrupt: an agent without an entry waits since the newest frame."""
        newest = max(self.enqueued_frame.values(), default=0)
        self.queue.shut()
        self.enqueued_frame = {agent: self.enqueued_frame.get(agent, newest) for agent in self.queue.generations}
