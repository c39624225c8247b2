"""State shared by the policies of a runtime: which are ready, which need finalization, and which the next frame must check."""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, Protocol, TypeVar

from cervello.agents.runtime.slowdown import SlowdownEstimate


class Member(Protocol):
    """The interface of a policy's queue that the ready queue uses."""

    last_frame: int
    number: int

    def finalize(self) -> None: ...
    def collect_pushed(self) -> None: ...
    def open_fast_push(self) -> None: ...
    def urgency(self, frame: int) -> float: ...
    def leave(self) -> None: ...


M = TypeVar("M", bound=Member)


class ReadyQueue(Generic[M]):
    """Ready policies of a runtime. Mutable. The policies' queues update it on every change, mostly between frames, so that a frame need not
    ask all of them. A policy is marked dirty before it changes, so that no interrupt leaves a change unnoticed.

    Attributes:
      slowdown: slowdown estimate of all batches.
      members: all policies in the order they were added, with an increasing number.
      ready: policies with waiting agents and no batch in flight, with the frame of the first waiting agent, the frame they last ran in
        and their number.
      dirty: policies that are being changed, run a batch, or have batches to finalize.
      changed: policies whose waiting, not due or ended agents may differ from what the last frame reported.
      open: policies that had no waiting agents when the fast push was opened.
      needs_sort: policies whose agents may differ in urgency, or wait in another order.
    """

    __slots__ = ("changed", "dirty", "members", "needs_sort", "open", "ready", "slowdown")

    def __init__(self) -> None:
        self.slowdown = SlowdownEstimate()
        self.members: dict[M, int] = {}
        self.ready: dict[M, tuple[int, int, int]] = {}
        self.dirty: dict[M, None] = {}
        self.changed: dict[M, None] = {}
        self.needs_sort: dict[M, None] = {}
        self.open: dict[M, None] = {}

    def finalize(self) -> None:
        """Finalizes the batches of earlier frames and updates all queues."""
        if self.dirty:
            for queue in list(self.dirty):
                queue.finalize()
        self.collect_pushed()

    def collect_pushed(self) -> None:
        """Updates the queues for agents that were accepted by the fast push."""
        if self.open:
            for queue in list(self.open):
                queue.collect_pushed()

    def finalize_and_open(self) -> None:
        """As `finalize`, at the end of a frame that has time for it: later pushes then only copy a row each."""
        self.collect_pushed()
        if self.dirty:
            for queue in list(self.dirty):
                queue.finalize()
                queue.open_fast_push()

    def order(self, frame: int) -> list[M]:
        """Ready policies, the most urgent first. Equally urgent ones are ordered by the frame they last ran in, then by the order they were
        added."""
        ready = self.ready
        order = sorted(ready, key=ready.__getitem__)
        while order and ready[order[-1]][0] > frame:  # pushed since the frame began
            del order[-1]
        if self.needs_sort:
            order.sort(key=lambda queue: (-queue.urgency(frame), queue.last_frame, queue.number))
        return order

    def waits(self, queue: M, frame: int) -> bool:
        """Whether a policy could run another batch in a frame."""
        return queue in self.ready and self.ready[queue][0] <= frame

    def keep(self, queues: Collection[M]) -> None:
        """Removes all other policies; an interrupt may have stopped an earlier removal."""
        for queue in [queue for queue in self.members if queue not in queues]:
            queue.leave()
            self.forget(queue)

    def forget(self, queue: M) -> None:
        """Removes a policy."""
        for noted in (self.ready, self.dirty, self.changed, self.needs_sort, self.open, self.members):
            noted.pop(queue, None)
