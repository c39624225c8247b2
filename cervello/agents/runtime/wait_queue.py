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
      since: the frame in which each of them began to wait.
      head_since: the first one's, `NOBODY` when nobody waits.
    """

    __slots__ = ("head_since", "queue", "since")

    def __init__(self, specs: Specs, make_reader: MakeReader | None = None):
        self.queue = Queue(specs, make_reader)
        self.since: dict[AgentId, int] = {}
        self.head_since = NOBODY

    def __len__(self) -> int:
        return len(self.queue.births)

    def open(self) -> None:
        """Lets `queue.push` add agents behind the others, who wait since a frame as old or older."""
        self.queue.open(self.since)

    def put(self, agent: AgentId, birth: int, arrays: Mapping[str, Array], frame: int) -> None:
        """An agent's newest observation; one that waits already keeps its place."""
        self.queue.put(agent, birth, arrays)
        self._wait((agent,), frame)

    def put_columns(self, ids: Sequence[AgentId], births: Sequence[int], columns: Mapping[str, Array], frame: int) -> None:
        """As `put`, for distinct agents."""
        self.queue.put_columns(ids, births, columns)
        self._wait(ids, frame)

    def return_columns(self, ids: Sequence[AgentId], births: Sequence[int], columns: Mapping[str, Array], since: Sequence[int]) -> None:
        """Those who have waited before come back, to the end, with what they observe and since when they wait."""
        self.queue.put_columns(ids, births, columns)
        self.since.update(zip(ids, since, strict=True))

    def _wait(self, ids: Sequence[AgentId], frame: int) -> None:
        since = self.since
        before = len(since)
        for agent in ids:
            since.setdefault(agent, frame)
        if not before:
            self.look_at_head()

    def fill(self, ids: Sequence[AgentId], births: Sequence[int], since: Sequence[int], rows: Mapping[str, Array]) -> None:
        """Those who wait, in this order; nobody waits yet.

        Args:
          rows: as `Queue.put_rows` takes them.
        """
        self.queue.put_rows(ids, births, rows)
        self.since = dict(zip(ids, since, strict=True))
        self.look_at_head()

    def forget(self, agent: AgentId) -> bool:
        """Returns whether it waited."""
        if not self.queue.discard(agent):
            return False
        self.since.pop(agent, None)
        self.look_at_head()
        return True

    def drop(self, n: int) -> None:
        """Forgets the first n."""
        ids = tuple(islice(self.queue.births, n))
        self.queue.drop(n)
        for agent in ids:
            self.since.pop(agent, None)
        self.look_at_head()

    def eligible(self, frame: int) -> int:
        """How many, from the front, may run in a frame: those who were pushed before the next one began. The others lie at the back."""
        births, since = self.queue.births, self.since
        n_eligible = len(births)
        for agent in reversed(births):
            if since.get(agent, frame) <= frame:
                break
            n_eligible -= 1
        return n_eligible

    def absorb(self, newer: WaitQueue) -> None:
        """Takes over whoever waits in another line, with what they observe there: in the places they have here, the others at the back."""
        if newer.queue.births:
            self.queue.absorb(newer.queue)
            self.queue.shut()
            self.since = {**newer.since, **self.since}
        self.look_at_head()

    def arrange(self, order: Sequence[int] | Array) -> None:
        """Another order, as `Queue.arrange` takes it."""
        self.queue.arrange(order)
        self.look_at_head()

    def clear(self) -> None:
        """Forgets all."""
        self.queue.clear()
        self.since.clear()
        self.head_since = NOBODY

    def look_at_head(self) -> None:
        """Notes since when the first one waits."""
        if len(self.since) != len(self.queue.births):
            self._mend()
        births = self.queue.births
        self.head_since = self.since[next(iter(births))] if births else NOBODY

    def _mend(self) -> None:
        """After an interrupt between a change of who waits and its note: who is not noted waits since the newest frame."""
        newest = max(self.since.values(), default=0)
        self.queue.shut()
        self.since = {agent: self.since.get(agent, newest) for agent in self.queue.births}
