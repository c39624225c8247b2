"""The agents who wait for one policy: what they observe, when they had begun, and since which frame they wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from cervello.batcher import Queue
from cervello.batcher.pad import MakeReader
from cervello.spec import AgentId, Array, Specs

NOBODY = 1 << 62  # waits; beyond all frames


class WaitQueue:
    """Mutable, one thread at a time. A batch of all who wait takes the whole line with it, memory and all.

    Attributes:
      queue: the newest observation of everybody, longest waiting first where all have one priority.
      enqueued_frame: the frame in which each of them began to wait.
      head_enqueued_frame: the first one's, `NOBODY` when nobody waits.
    """

    __slots__ = ("enqueued_frame", "head_enqueued_frame", "queue")

    def __init__(self, specs: Specs, make_reader: MakeReader | None = None):
        self.queue = Queue(specs, make_reader)
        self.enqueued_frame: dict[AgentId, int] = {}
        self.head_enqueued_frame = NOBODY

    def __len__(self) -> int:
        return len(self.queue.generations)

    def open(self) -> None:
        """Lets `queue.push` add agents behind the others, who wait since a frame as old or older."""
        self.queue.open(self.enqueued_frame)

    def put(self, agent: AgentId, generation: int, arrays: Mapping[str, Array], frame: int) -> None:
        """An agent's newest observation; one that waits already keeps its place."""
        self.queue.put(agent, generation, arrays)
        self._wait((agent,), frame)

    def put_columns(self, ids: Sequence[AgentId], generations: Sequence[int], columns: Mapping[str, Array], frame: int) -> None:
        """As `put`, for distinct agents."""
        self.queue.put_columns(ids, generations, columns)
        self._wait(ids, frame)

    def return_columns(self, ids: Sequence[AgentId], generations: Sequence[int], columns: Mapping[str, Array],
                       enqueued_frame: Sequence[int]) -> None:
        """Those who have waited before come back, to the end, with what they observe and since when they wait."""
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
        """Those who wait, in this order; nobody waits yet.

        Args:
          rows: as `Queue.put_rows` takes them.
        """
        self.queue.put_rows(ids, generations, rows)
        self.enqueued_frame = dict(zip(ids, enqueued_frame, strict=True))
        self.look_at_head()

    def forget(self, agent: AgentId) -> bool:
        """Returns whether it waited."""
        if not self.queue.discard(agent):
            return False
        self.enqueued_frame.pop(agent, None)
        self.look_at_head()
        return True

    def drop(self, n: int) -> None:
        """Forgets the first n."""
        ids = tuple(islice(self.queue.generations, n))
        self.queue.drop(n)
        for agent in ids:
            self.enqueued_frame.pop(agent, None)
        self.look_at_head()

    def eligible(self, frame: int) -> int:
        """How many, from the front, may run in a frame: those who were pushed before the next one began. The others lie at the back."""
        generations, enqueued_frame = self.queue.generations, self.enqueued_frame
        n_eligible = len(generations)
        for agent in reversed(generations):
            if enqueued_frame.get(agent, frame) <= frame:
                break
            n_eligible -= 1
        return n_eligible

    def absorb(self, newer: WaitQueue) -> None:
        """Takes over whoever waits in another line, with what they observe there: in the places they have here, the others at the back."""
        if newer.queue.generations:
            self.queue.absorb(newer.queue)
            self.queue.shut()
            self.enqueued_frame = {**newer.enqueued_frame, **self.enqueued_frame}
        self.look_at_head()

    def arrange(self, order: Sequence[int] | Array) -> None:
        """Another order, as `Queue.arrange` takes it."""
        self.queue.arrange(order)
        self.look_at_head()

    def clear(self) -> None:
        """Forgets all."""
        self.queue.clear()
        self.enqueued_frame.clear()
        self.head_enqueued_frame = NOBODY

    def look_at_head(self) -> None:
        """Notes since when the first one waits."""
        if len(self.enqueued_frame) != len(self.queue.generations):
            self._mend()
        generations = self.queue.generations
        self.head_enqueued_frame = self.enqueued_frame[next(iter(generations))] if generations else NOBODY

    def _mend(self) -> None:
        """After an interrupt between a change of who waits and its note: who is not noted waits since the newest frame."""
        newest = max(self.enqueued_frame.values(), default=0)
        self.queue.shut()
        self.enqueued_frame = {agent: self.enqueued_frame.get(agent, newest) for agent in self.queue.generations}
