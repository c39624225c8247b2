"""A batch of a frame between the wait queue and the results."""

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
    """A batch in flight: agents, columns of observations, generations, the frames they were enqueued in, and deterministic flags.

    Attributes:
      membership_version: the policy's, when all agents were last looked up.
      wait_queue: owner of the columns' memory when all waiting agents were dequeued; its replacement once the others are requeued.
      pad: owner of the columns' memory otherwise.
      limit: time limit of a batch that may stop early; afterwards it holds how many rows have run.
      picked_s, ended_s: clock time when the batch was chosen, and when its results were in the frame; 0 where not needed.
      gross_s: clock time from which its results are grossly late.
      version: of the policy that has decided.
      is_first: whether it is the first of its frame.
      n_run: rows that have run.
      has_remainder: whether the rows after `n_run` still have to be requeued.
      interrupted: finalization has begun; if it has not ended, it was interrupted.
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
    is_first: bool = False
    n_run: int = 0
    has_remainder: bool = False
    interrupted: bool = False
