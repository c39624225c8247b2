"""Chooses the batches of a frame: by number of rows, or by time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from cervello.agents.runtime.batch import InFlightBatch
from cervello.agents.runtime.cost_model import GROSS_SHARE, CostModel
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.agents.runtime.slowdown import SlowdownEstimate
from cervello.inferers.deadline_path import Limit

_SIZES = 8
_TRIAL_SHARE = 0.5
_FIRST_SHARE = 0.5  # of the budget goes to the first batch, however much has passed when it begins: no agent starves
_MIN_S = 15e-6  # minimum seconds of a batch
Picked = tuple[PolicyQueue, InFlightBatch]


def choose_by_rows(ready_queue: ReadyQueue[PolicyQueue], queues: Sequence[PolicyQueue], frame: int, rows: int | None) -> Iterator[Picked]:
    """Chooses batches by number of rows only, the same on every machine: all agents, or the most urgent ones across all policies."""
    ready_queue.finalize()
    for queue in queues:
        if queue.policy.membership_version != queue.pruned_version:
            queue.prune_stale()
    order = ready_queue.order(frame)
    counts = [queue.wait_queue.eligible(frame) for queue in order]
    if rows is not None and rows < sum(counts):
        urgencies = np.concatenate([queue.urgencies(frame) for queue in order])
        whose = np.repeat(np.arange(len(order)), counts)
        counts = np.bincount(whose[np.argsort(-urgencies, kind="stable")[:rows]], minlength=len(order)).tolist()
    for queue, left in zip(order, counts, strict=True):
        while left:
            in_flight = queue.dequeue(left, frame)
            left -= len(in_flight.ids)
            yield queue, in_flight


def choose_by_time(ready_queue: ReadyQueue[PolicyQueue], frame: int, rows: int | None, deadline: float, budget_s: float,
                   ) -> Iterator[Picked]:
    """Chooses batches that are expected to end before the deadline.

    Policies come in the order of their most urgent agent. The first takes as many rows as fit. Of the others, policies all of whose agents
    fit come before partial batches, since each batch has a fixed cost. Remaining agents are more urgent in the next
    frame. A policy of unknown cost is tried with one row while most of the time is left. If not even one row of a policy fits into a whole
    frame, its estimate is lowered a little in each frame, so that it runs eventually.
    """
    left = 1 << 62 if rows is None else rows
    ready_queue.finalize()
    order = ready_queue.order(frame)
    first, whole_queues = True, True
    gross_s = deadline + GROSS_SHARE * budget_s
    time_left = _TimeLeft(ready_queue.slowdown, deadline, budget_s)
    while left and order:
        any_ran = False
        time_left.estimate(first)
        for queue in order:
            costs = queue.costs
            if not first:
                if time_left.seconds < _MIN_S:
                    return
                if costs.fixed_s > (time_left.fitted_s if whole_queues else time_left.last_s):
                    continue
            n_waiting = min(queue.wait_queue.eligible(frame), left)
            if not first and not (costs.fitted_s(n_waiting) <= time_left.fitted_s if whole_queues
                                  else costs.is_worthwhile_last(time_left.last_s)):
                continue
            if queue.policy.membership_version != queue.pruned_version:
                queue.prune_stale()
                n_waiting = min(queue.wait_queue.eligible(frame), left)
            if not n_waiting or queue.in_flight:
                continue  # they have ended meanwhile, or some of them are in flight
            may_stop = rows is None and costs.measured > 0 and queue.supports_limit(frame)
            n_rows, limit = _batch(costs, n_waiting, time_left, first, whole_queues, may_stop)
            first, is_first = False, first
            if not n_rows:
                if is_first:
                    queue.postpone(time_left.fitted_s, frame)
                continue
            any_ran = True
            in_flight = queue.dequeue(n_rows, frame, limit)
            in_flight.picked_s, in_flight.is_first, in_flight.gross_s = time_left.now, is_first, gross_s
            left -= len(in_flight.ids)
            yield queue, in_flight
            if not left or (limit is not None and limit.began_s and 0 < limit.n_rows < n_rows):
                return  # no rows are left, or the batch stopped at its limit: no time is left for others
            if limit is not None and not limit.began_s:
                queue.finalize()  # it used the general path and ran only the guaranteed rows; there may be time for more
            time_left.look()
        if not any_ran and not whole_queues:
            return
        whole_queues = False
        order = [queue for queue in order if ready_queue.waits(queue, frame) and queue.costs.fixed_s <= time_left.last_s]


class _TimeLeft:
    """The time that is left of a frame's budget. Mutable.

    Attributes:
      now: clock time of the last look: after every batch, since skipping a policy takes negligible time.
      seconds: from then to the deadline.
      fitted_s: fitted seconds that the next batch may take; last_s: if it may stop, at the end of the frame.
    """

    __slots__ = ("budget_s", "deadline", "fitted_s", "last_s", "now", "seconds", "slowdown")

    def __init__(self, slowdown: SlowdownEstimate, deadline: float, budget_s: float):
        self.slowdown, self.deadline, self.budget_s = slowdown, deadline, budget_s
        self.look()

    def look(self) -> None:
        """Looks at the clock, for a batch that is not the first of its frame."""
        self.now = time.perf_counter()
        self.seconds = self.deadline - self.now
        self.estimate(False)

    def estimate(self, first: bool) -> None:
        """Estimates the fitted seconds of the next batch, the first of its frame or a later one."""
        slowdown, seconds, budget_s = self.slowdown, self.seconds, self.budget_s
        available_s = max(seconds - slowdown.first_s, _FIRST_SHARE * budget_s) if first else seconds - slowdown.later_s
        self.fitted_s, self.last_s = slowdown.fitted_within(available_s, budget_s), slowdown.fitted_at_end(seconds, budget_s)


def _batch(costs: CostModel, n_waiting: int, time_left: _TimeLeft, first: bool, whole_queues: bool, may_stop: bool,
           ) -> tuple[int, Limit | None]:
    """The number of a policy's rows that run, 0 for none, and the limit of a batch that may stop.

    Args:
      first, whole_queues: as `_rows` takes them.
    """
    n_rows, deadline = _rows(costs, n_waiting, time_left.fitted_s, first, whole_queues), time_left.deadline
    if not costs.measured and not first and time_left.seconds < _TRIAL_SHARE * time_left.budget_s:
        return 0, None
    if may_stop and n_rows == n_waiting:
        return n_rows, Limit(deadline, n_waiting)
    if may_stop and (first or not whole_queues) and (n_last := costs.rows_within(time_left.last_s)):
        return n_waiting, costs.limit(n_waiting, n_rows if first else n_last, deadline, time_left.budget_s)
    return n_rows, None


def _rows(costs: CostModel, n_waiting: int, fitted_s: float, first: bool, whole_queues: bool) -> int:
    """Number of rows of a policy that run; 0 for none.

    Args:
      fitted_s: fitted seconds that are available.
      first: first batch of the frame, which takes what fits.
      whole_queues: all rows run or none.
    """
    n_fits = costs.rows_within(fitted_s)
    if n_fits >= n_waiting:
        return n_waiting
    if first:
        if not n_fits:
            costs.lower()
    elif whole_queues or not costs.is_worthwhile(n_fits):
        return 0
    return n_fits - n_fits % _SIZES if n_fits > 2 * _SIZES else n_fits  # few sizes, so that their plans stay cached
