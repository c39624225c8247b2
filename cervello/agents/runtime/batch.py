"""A batch of a frame on its way from the line to the results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cervello.agents.runtime.wait_queue import WaitQueue
from cervello.batcher.pad import ScratchPad
from cervello.inferers.deadline_path import Limit
from cervello.spec import AgentId, Array


@dataclass(slots=True)
class InFlightBatch:
    """A batch on its way: who, what they observe, when they had begun, since when they wait, and whether they may draw.

    Attributes:
      membership_version: the policy's, when everybody was looked at last.
      wait_queue: whose memory the columns are, when all who wait were taken; its stand-in, once the others are back.
      pad: whose memory they are otherwise.
      limit: how long it may take, for one that need not run as a whole; it says afterwards how many rows have run.
      picked_s, ended_s: the clock when it was chosen, and when its results were in the frame; 0 where nobody asks.
      gross_s: when its results would be grossly late, on the same clock.
      version: of the policy that has decided.
      opens: whether it is the first of its frame.
      n_run: rows that have run.
      has_remainder: whether those behind them are still to be put back into the line.
      broken: that has begun; if it is still to be done, an interrupt came.
    """

    ids: tuple[AgentId, ...]
    columns: Mapping[str, Array]
    generations: Mapping[AgentId, int]
    enqueued_frame: dict[AgentId, int]
    deterministic: bool | Array
    membership_version: int
    wait_queue: WaitQueue | None
    pad: ScratchPad | None
    limit: Limit | None = None
    picked_s: float = 0.0
    ended_s: float = 0.0
    gross_s: float = math.inf
    version: int = 1
    opens: bool = False
    n_run: int = 0
    has_remainder: bool = False
    broken: bool = False
