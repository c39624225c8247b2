"""One run of a runtime: what was decided, and who gets the time that there is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cervello.agents.policy.actions import Actions
from cervello.agents.runtime.batch import InFlightBatch
from cervello.agents.runtime.cost_model import GROSS_SHARE, CostModel
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.batcher.rows import by_agent
from cervello.errors import AgentError
from cervello.inferers.deadline_path import Limit
from cervello.spec import AgentId, Array

_SIZES = 8
_TRIAL_SHARE = 0.5
_FIRST_SHARE = 0.5  # of the budget is the first batch's, however much of it is gone when it begins: nobody starves
_LEAST_S = 15e-6  # no batch is over sooner
Picked = tuple[PolicyQueue, InFlightBatch]
Batch = tuple[tuple[AgentId, ...], Actions, Mapping[str, Any]]  # whose rows, columns, batch axes of outputs that are not 0


class _Decided:
    """What one policy decided in a frame, as its batches gave it."""

    __slots__ = ("batches", "failed", "held", "version")

    def __init__(self, version: int):
        self.version = version
        self.batches: list[Batch] = []
        self.held: dict[AgentId, dict[str, Array]] = {}
        self.failed: dict[AgentId, Exception] = {}


class Frame(Mapping[str, Actions]):
    """What the policies of a runtime decided in one run: {policy: {agent: {output: row}}}. One that decided nothing is not among the keys,
    and still answers: `frame["npc"]` is empty then, with those it skipped. A name that no policy of the runtime has is an AgentError, which
    is a KeyError. Rows by agent are made when a policy is asked for, `batches` has
    the columns they are windows into.

    Attributes:
      number: of the frame; the first is 0.
      n_rows: decisions made.
      budget_s, elapsed_s: seconds asked for and taken; no budget is None.
      skipped: by policy, the agents that were pushed and did not decide.
      errors: by policy, what it failed with; the agents concerned are in its `Actions.errors`.
    """

    def __init__(self, number: int, budget_s: float | None = None, policies: Sequence[str] = ()):
        self._policies = tuple(policies)
        self.number, self.budget_s = number, budget_s
        self.n_rows = 0
        self.elapsed_s = 0.0
        self.skipped: dict[str, tuple[AgentId, ...]] = {}
        self.errors: dict[str, Exception] = {}
        self._decided: dict[str, _Decided] = {}
        self._made: dict[str, Actions] = {}

    def __getitem__(self, name: str) -> Actions:
        made = self._made.get(name)
        if made is None:
            self._check(name)
            made = Actions()
            made.skipped = self.skipped.get(name, ())
            decided = self._decided.get(name)
            if decided is not None:
                for ids, columns, non_leading_axes in decided.batches:
                    made.update(by_agent(ids, columns, non_leading_axes))
                made.update(decided.held)
                made.version = decided.version
                if decided.failed:
                    made.errors = decided.failed
                self._made[name] = made
        return made

    def _check(self, name: str) -> None:
        if name not in self._decided and name not in self._policies:
            known = [*self._policies, *(other for other in self._decided if other not in self._policies)]
            raise AgentError(f"frame {self.number}: expected a policy among {known}, got {name!r}; Runtime.add gives policies their names")

    def get(self, name: str, default: Any = None) -> Any:
        """What a policy decided, or the default for one that decided nothing."""
        return self[name] if name in self._decided else default

    def __contains__(self, name: object) -> bool:
        return name in self._decided

    def __iter__(self) -> Iterator[str]:
        return iter(self._decided)

    def __len__(self) -> int:
        return len(self._decided)

    def __repr__(self) -> str:
        return f"Frame({self.number}, n_rows={self.n_rows}, policies={list(self._decided)})"

    def _repr_html_(self) -> str:
        from cervello.pictures import notebook  # not at start-up

        budget = "" if self.budget_s is None else f" of {1e3 * self.budget_s:.3g} ms"
        rows = [(name, self[name].version if name in self else "-", len(self.get(name, ())), len(self.skipped.get(name, ())),
                 self.errors.get(name, "")) for name in dict.fromkeys([*self._policies, *self._decided])]
        took = f"{self.n_rows:,} decision{'s' * (self.n_rows != 1)} in {1e3 * self.elapsed_s:.3g} ms{budget}"
        return notebook.heading(f"frame {self.number}", took) + notebook.table(("policy", "version", "decided", "skipped", "error"), rows)

    def batches(self, name: str) -> list[tuple[tuple[AgentId, ...], Actions]]:
        """A policy's batches, in the order they ran: whose rows they are, and columns by output as `Policy.infer_batch` gives them. What
        `hold="last"` repeats is not among them."""
        self._check(name)
        decided = self._decided.get(name)
        return [] if decided is None else [(ids, columns) for ids, columns, _ in decided.batches]

    def _of(self, queue: PolicyQueue) -> _Decided:
        found = self._decided.get(queue.name)
        if found is None:
            found = self._decided[queue.name] = _Decided(queue.policy.version)
        return found

    def add(self, queue: PolicyQueue, ids: tuple[AgentId, ...], columns: Actions) -> None:
        """A batch of the policy `queue` has run: row i of each of `columns` belongs to ids[i]."""
        if ids:
            self.n_rows += len(ids)
            decided = self._of(queue)
            decided.batches.append((ids, columns, queue.non_leading_axes))
            decided.version = columns.version

    def skip(self, queue: PolicyQueue) -> bool:
        """Notes which agents of the policy `queue` were skipped, and what those hold who want that.

        Returns:
          whether the next frame must look again, even if nobody comes or goes.
        """
        name = queue.name
        if queue.gone:
            gone, queue.gone = queue.gone, []
            self.fail(queue, gone, AgentError(f"policy {name!r}: expected agents that have not ended since their push, got {gone}; end "
                                              "them with the runtime, or push anew those that have begun again"))
        levels = queue.levels
        again = bool(levels.held or levels.not_due)
        skipped = queue.skipped()
        if not skipped:
            self.skipped.pop(name, None)
            return again
        self.skipped[name] = skipped
        if levels.held:
            held = levels.held
            repeated = {agent: {key: row.copy() for key, row in held[agent].items()} for agent in skipped if agent in held}
            if repeated:
                self._of(queue).held = repeated
        levels.not_due.clear()
        return again

    def fail(self, queue: PolicyQueue, agents: Sequence[Any], error: Exception) -> None:
        """The policy `queue` has failed for some agents, with an error."""
        self._of(queue).failed.update(dict.fromkeys(agents, error))
        self.errors[queue.name] = error


def counted(ready_queue: ReadyQueue[PolicyQueue], queues: Sequence[PolicyQueue], frame: int, rows: int | None) -> Iterator[Picked]:
    """Batches by number of rows alone, the same on every machine: everybody, or the most urgent so many, whatever policy they belong to."""
    ready_queue.finalize()
    for queue in queues:
        if queue.policy.membership_version != queue.seen:
            queue.prune_stale()
    order = ready_queue.order(frame)
    if rows is None:
        for queue in order:
            left = queue.wait_queue.eligible(frame)
            while left:
                in_flight = queue.take(left, frame)
                left -= len(in_flight.ids)
                yield queue, in_flight
        return
    counts = [queue.wait_queue.eligible(frame) for queue in order]
    if rows < sum(counts):
        urgencies = np.concatenate([queue.urgencies(frame) for queue in order])
        whose = np.repeat(np.arange(len(order)), counts)
        counts = np.bincount(whose[np.argsort(-urgencies, kind="stable")[:rows]], minlength=len(order)).tolist()
    for queue, n_rows in zip(order, counts, strict=True):
        left = n_rows
        while left:
            in_flight = queue.take(left, frame)
            left -= len(in_flight.ids)
            yield queue, in_flight


def timed(ready_queue: ReadyQueue[PolicyQueue], frame: int, rows: int | None, deadline: float, budget_s: float) -> Iterator[Picked]:
    """Batches that are expected to end before the deadline.

    Policies come in the order of their most urgent agent. The first takes as many rows as fit; of the others, those whose whole crowd
    fits come before parts of crowds, since a batch costs something whatever its size. What remains of a crowd is more urgent in the next
    frame. A policy of which nobody knows what it costs is tried with one row, while most of the time is left. One of which not a single
    row fits into a whole frame is expected to be a little faster from frame to frame, so that its turn comes.
    """
    left = 1 << 62 if rows is None else rows
    ready_queue.finalize()
    order, pace = ready_queue.order(frame), ready_queue.pace
    first, whole = True, True
    gross_s = deadline + GROSS_SHARE * budget_s
    now = time.perf_counter()  # looked at after every batch: passing over a policy takes no time worth it
    while left and order:
        some = False
        seconds = deadline - now
        line_s = pace.within(max(seconds - pace.first_s, _FIRST_SHARE * budget_s) if first else seconds - pace.later_s, budget_s)
        last_s = pace.last(seconds, budget_s)
        for queue in order:
            costs = queue.costs
            if not first:
                if seconds < _LEAST_S:
                    return
                if costs.fixed_s > line_s if whole else costs.fixed_s > last_s:
                    continue
            n_waiting = min(queue.wait_queue.eligible(frame), left)
            if not first and not (costs.line_s(n_waiting) <= line_s if whole else costs.last_fits(last_s)):
                continue
            if queue.policy.membership_version != queue.seen:
                queue.prune_stale()
                n_waiting = min(queue.wait_queue.eligible(frame), left)
            if not n_waiting or queue.under_way:
                continue  # they have ended meanwhile, or a part of them is under way
            n_rows = _rows(costs, n_waiting, line_s, first, whole)
            if not costs.measured and not first and seconds < _TRIAL_SHARE * budget_s:
                n_rows = 0
            limit = None
            if rows is None and costs.measured and queue.divisible(frame):
                if n_rows == n_waiting:
                    limit = Limit(deadline, n_waiting)
                elif (first or not whole) and (n_last := costs.rows_within(last_s)):
                    limit, n_rows = costs.limit(n_waiting, n_rows if first else n_last, deadline, budget_s), n_waiting
            first, opens = False, first
            if not n_rows:
                if opens:
                    queue.postpone(line_s, frame)
                continue
            some = True
            in_flight = queue.take(n_rows, frame, limit)
            in_flight.picked_s, in_flight.opens, in_flight.gross_s = now, opens, gross_s
            left -= len(in_flight.ids)
            yield queue, in_flight
            if not left or (limit is not None and limit.began_s and 0 < limit.n_rows < n_rows):
                return  # in the second case for want of time, so there is none for anybody else
            if limit is not None and not limit.began_s:
                queue.finalize()  # it has taken another way and run what surely fits; there may be time for more
            now = time.perf_counter()
            seconds = deadline - now
            line_s, last_s = pace.within(seconds - pace.later_s, budget_s), pace.last(seconds, budget_s)
        if not some and not whole:
            return
        whole = False
        order = [queue for queue in order if ready_queue.waits(queue, frame) and queue.costs.fixed_s <= last_s]


def _rows(costs: CostModel, n_waiting: int, line_s: float, first: bool, whole: bool) -> int:
    """How many rows of a crowd run; 0 for none.

    Args:
      line_s: seconds of the policy's line that fit.
      first: of the frame, so that it takes what fits.
      whole: crowds run as a whole or not at all.
    """
    n_fits = costs.rows_within(line_s)
    if n_fits >= n_waiting:
        return n_waiting
    if first:
        if not n_fits:
            costs.relax()
    elif whole or not costs.pays(n_fits):
        return 0
    return n_fits - n_fits % _SIZES if n_fits > 2 * _SIZES else n_fits  # few sizes, so that their plans are kept
