"""Chooses the batches of a frame: by number of rows, or by time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from cervello.agents.runtime.batch import InFlightBatch
from cervello.agents.runtime.cost_model import GROSS_SHARE, CostModel
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.agents.runtime.ready_queue import ReadyQueue
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
    order, slowdown = ready_queue.order(frame), ready_queue.slowdown
    first, whole_queues = True, True
    gross_s = deadline + GROSS_SHARE * budget_s
    now = time.perf_counter()  # updated after every batch; skipping a policy takes negligible time
    while left and order:
        any_ran = False
        seconds = deadline - now
        available_s = max(seconds - slowdown.first_s, _FIRST_SHARE * budget_s) if first else seconds - slowdown.later_s
        fitted_s = slowdown.fitted_within(available_s, budget_s)
        last_s = slowdown.fitted_at_end(seconds, budget_s)
        for queue in order:
            costs = queue.costs
            if not first:
                if seconds < _MIN_S:
                    return
                if costs.fixed_s > fitted_s if whole_queues else costs.fixed_s > last_s:
                    continue
            n_waiting = min(queue.wait_queue.eligible(frame), left)
            if not first and not (costs.fitted_s(n_waiting) <= fitted_s if whole_queues else costs.is_worthwhile_last(last_s)):
                continue
            if queue.policy.membership_version != queue.pruned_version:
                queue.prune_stale()
                n_waiting = min(queue.wait_queue.eligible(frame), left)
            if not n_waiting or queue.in_flight:
                continue  # they have ended meanwhile, or some of them are in flight
            n_rows = _rows(costs, n_waiting, fitted_s, first, whole_queues)
            if not costs.measured and not first and seconds < _TRIAL_SHARE * budget_s:
                n_rows = 0
            limit = None
            if rows is None and costs.measured and queue.supports_limit(frame):
                if n_rows == n_waiting:
                    limit = Limit(deadline, n_waiting)
                elif (first or not whole_queues) and (n_last := costs.rows_within(last_s)):
                    limit, n_rows = costs.limit(n_waiting, n_rows if first else n_last, deadline, budget_s), n_waiting
            first, is_first = False, first
            if not n_rows:
                if is_first:
                    queue.postpone(fitted_s, frame)
                continue
            any_ran = True
            in_flight = queue.dequeue(n_rows, frame, limit)
            in_flight.picked_s, in_flight.is_first, in_flight.gross_s = now, is_first, gross_s
            left -= len(in_flight.ids)
            yield queue, in_flight
            if not left or (limit is not None and limit.began_s and 0 < limit.n_rows < n_rows):
                return  # no rows are left, or the batch stopped at its limit: no time is left for others
            if limit is not None and not limit.began_s:
                queue.finalize()  # it used the general path and ran only the guaranteed rows; there may be time for more
            now = time.perf_counter()
            seconds = deadline - now
            fitted_s, last_s = slowdown.fitted_within(seconds - slowdown.later_s, budget_s), slowdown.fitted_at_end(seconds, budget_s)
        if not any_ran and not whole_queues:
            return
        whole_queues = False
        order = [queue for queue in order if ready_queue.waits(queue, frame) and queue.costs.fixed_s <= last_s]


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
