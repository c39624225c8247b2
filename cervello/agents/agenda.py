"""What the policies of a runtime have in common: who is next, who has something left to do, and of whom there is news."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cervello.agents.costs import Pace

if TYPE_CHECKING:
    from cervello.agents.brain import Brain


class Agenda:
    """Mutable; kept up to date by the brains whenever something changes, most of which happens between frames, so that a frame need not
    ask all of them. Changed by statements without calls, so an interrupt comes before or after.

    Attributes:
      pace: of all batches.
      heads: policies that somebody waits for and that run no batch, with the frame the first one waits from and the frame they ran in last.
      busy: policies that run a batch, or have run one and are not settled.
      news: policies whose agents wait, rest or are gone otherwise than the last frame said.
      uneven: policies whose agents differ in urgency, or wait in another order.
    """

    __slots__ = ("busy", "heads", "news", "pace", "uneven")

    def __init__(self) -> None:
        self.pace = Pace()
        self.heads: dict[Brain, tuple[int, int]] = {}
        self.busy: dict[Brain, None] = {}
        self.news: dict[Brain, None] = {}
        self.uneven: dict[Brain, None] = {}

    def settle(self) -> None:
        """Nobody has anything left to do of earlier frames."""
        for brain in list(self.busy):
            brain.settle()

    def order(self, frame: int) -> list[Brain]:
        """Those that somebody waits for, the most urgent first; of equally urgent ones, the one that has not run for longest."""
        heads = self.heads
        order = sorted(heads, key=heads.__getitem__)
        while order and heads[order[-1]][0] > frame:  # pushed since it began
            del order[-1]
        if self.uneven:
            order.sort(key=lambda brain: (-brain.urgency(frame), brain.last_frame))
        return order

    def waits(self, brain: Brain, frame: int) -> bool:
        """Whether a policy could run another batch in a frame."""
        return brain in self.heads and self.heads[brain][0] <= frame

    def forget(self, brain: Brain) -> None:
        """A policy that is no longer in the runtime."""
        for noted in (self.heads, self.busy, self.news, self.uneven):
            noted.pop(brain, None)
