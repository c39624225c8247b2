"""What the policies of a runtime have in common: who is next, who has something left to do, and what the next frame must look at."""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, Protocol, TypeVar

from cervello.agents.runtime.cost_model import SlowdownEstimate


class Member(Protocol):
    """What a ready queue asks of a policy's place in a runtime."""

    last_frame: int
    number: int

    def finalize(self) -> None: ...
    def look(self) -> None: ...
    def accept_others(self) -> None: ...
    def urgency(self, frame: int) -> float: ...
    def leave(self) -> None: ...


M = TypeVar("M", bound=Member)


class ReadyQueue(Generic[M]):
    """Mutable; kept up to date by the policies' queues whenever something changes, most of which happens between frames, so that a frame
    ask all of them. A policy that is about to change is noted as dirty before, so that an interrupt leaves nothing unnoticed.

    Attributes:
      pace: of all batches.
      members: all policies, in the order they were added, with a number that grows.
      ready: policies that somebody waits for and that run no batch, with the frame the first one waits from, the frame they ran in last
        and their number.
      dirty: policies in the midst of a change, that run a batch, or that have run one and are not settled.
      changed: policies whose agents may wait, rest or be gone otherwise than the last frame said.
      open: policies that nobody waited for when agents were let in without a word.
      needs_sort: policies whose agents may differ in urgency, or wait in another order.
    """

    __slots__ = ("changed", "dirty", "members", "needs_sort", "open", "pace", "ready")

    def __init__(self) -> None:
        self.pace = SlowdownEstimate()
        self.members: dict[M, int] = {}
        self.ready: dict[M, tuple[int, int, int]] = {}
        self.dirty: dict[M, None] = {}
        self.changed: dict[M, None] = {}
        self.needs_sort: dict[M, None] = {}
        self.open: dict[M, None] = {}

    def finalize(self) -> None:
        """Nobody has anything left to do of earlier frames, and whoever waits is known."""
        if self.dirty:
            for queue in list(self.dirty):
                queue.finalize()
        self.gather()

    def gather(self) -> None:
        """Whoever has come without a word is known from here on."""
        if self.open:
            for queue in list(self.open):
                queue.look()

    def rest(self) -> None:
        """As `finalize`, at the end of a frame that has time for it: the next pushes need no more than a row each."""
        self.gather()
        if self.dirty:
            for queue in list(self.dirty):
                queue.finalize()
                queue.accept_others()

    def order(self, frame: int) -> list[M]:
        """Those that somebody waits for, the most urgent first; of equally urgent ones, the one that has not run for longest, then the one
        that was added first."""
        ready = self.ready
        order = sorted(ready, key=ready.__getitem__)
        while order and ready[order[-1]][0] > frame:  # pushed since it began
            del order[-1]
        if self.needs_sort:
            order.sort(key=lambda queue: (-queue.urgency(frame), queue.last_frame, queue.number))
        return order

    def waits(self, queue: M, frame: int) -> bool:
        """Whether a policy could run another batch in a frame."""
        return queue in self.ready and self.ready[queue][0] <= frame

    def keep(self, queues: Collection[M]) -> None:
        """Only these are in the runtime: an interrupt may have come when another one left."""
        for queue in [queue for queue in self.members if queue not in queues]:
            queue.leave()
            self.forget(queue)

    def forget(self, queue: M) -> None:
        """A policy that is no longer in the runtime."""
        for noted in (self.ready, self.dirty, self.changed, self.needs_sort, self.open, self.members):
            noted.pop(queue, None)
