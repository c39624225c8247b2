"""The results of one run of a runtime, and the schedulers that choose its batches."""

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
_FIRST_SHARE = 0.5  # of the budget goes to the first batch, however much has passed when it begins: no agent starves
_MIN_S = 15e-6  # minimum seconds of a batch
Picked = tuple[PolicyQueue, InFlightBatch]
Batch = tuple[tuple[AgentId, ...], Actions, Mapping[str, Any]]  # ids of the rows, columns, batch axes of outputs where not 0


class _PolicyResults:
    """Decisions of one policy in a frame, by batch."""

    __slots__ = ("batches", "failed", "held", "version")

    def __init__(self, version: int):
        self.version = version
        self.batches: list[Batch] = []
        self.held: dict[AgentId, dict[str, Array]] = {}
        self.failed: dict[AgentId, Exception] = {}


class Frame(Mapping[str, Actions]):
    """Decisions of all policies in one run: {policy: {agent: {output: row}}}. A policy without decisions is not among the keys, but
    `frame["npc"]` still returns empty results with its skipped agents. A name that no policy of the runtime has is an AgentError, which is
    a KeyError. Rows by agent are built when a policy is first accessed; they are views into the columns of `batches`.

    Attributes:
      number: of the frame; the first is 0.
      n_rows: decisions made.
      budget_s, elapsed_s: seconds requested and taken; no budget is None.
      skipped: by policy, the agents that were pushed and did not decide.
      errors: by policy, the error of its batch; its agents are in the policy's `Actions.errors`.
    """

    def __init__(self, number: int, budget_s: float | None = None, policies: Sequence[str] = ()):
        self._policies = tuple(policies)
        self.number, self.budget_s = number, budget_s
        self.n_rows = 0
        self.elapsed_s = 0.0
        self.skipped: dict[str, tuple[AgentId, ...]] = {}
        self.errors: dict[str, Exception] = {}
        self._decided: dict[str, _PolicyResults] = {}
        self._by_agent: dict[str, Actions] = {}

    def __getitem__(self, name: str) -> Actions:
        made = self._by_agent.get(name)
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
                self._by_agent[name] = made
        return made

    def _check(self, name: str) -> None:
        if name not in self._decided and name not in self._policies:
            known = [*self._policies, *(other for other in self._decided if other not in self._policies)]
            raise AgentError(f"frame {self.number}: expected a policy among {known}, got {name!r}; Runtime.add gives policies their names")

    def get(self, name: str, default: Any = None) -> Any:
        """The decisions of a policy, or the default if it has none."""
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
        from cervello.pictures import notebook  # imported on use, to keep start-up short
        from cervello.pictures.text import duration

        budget = "" if self.budget_s is None else f" of {duration(self.budget_s)}"
        rows = [(name, self[name].version if name in self else "-", len(self.get(name, ())), len(self.skipped.get(name, ())),
                 self.errors.get(name, "")) for name in dict.fromkeys([*self._policies, *self._decided])]
        took = f"{self.n_rows:,} decision{'s' * (self.n_rows != 1)} in {duration(self.elapsed_s)}{budget}"
        return notebook.heading(f"frame {self.number}", took) + notebook.table(("policy", "version", "decided", "skipped", "error"), rows)

    def batches(self, name: str) -> list[tuple[tuple[AgentId, ...], Actions]]:
        """A policy's batches in the order they ran: agent ids and columns by output, as `Policy.infer_batch` returns them. Decisions
        repeated by `hold="last"` are not included."""
        self._check(name)
        decided = self._decided.get(name)
        return [] if decided is None else [(ids, columns) for ids, columns, _ in decided.batches]

    def _of(self, queue: PolicyQueue) -> _PolicyResults:
        found = self._decided.get(queue.name)
        if found is None:
            found = self._decided[queue.name] = _PolicyResults(queue.policy.version)
        return found

    def add(self, queue: PolicyQueue, ids: tuple[AgentId, ...], columns: Actions) -> None:
        """Adds a batch of the policy `queue`: row i of each of `columns` belongs to ids[i]."""
        if ids:
            self.n_rows += len(ids)
            decided = self._of(queue)
            decided.batches.append((ids, columns, queue.non_leading_axes))
            decided.version = columns.version

    def skip(self, queue: PolicyQueue) -> bool:
        """Records the skipped agents of the policy `queue`, and the held decisions of agents with `hold="last"`.

        Returns:
          whether the next frame must check again, even if no agent begins, ends or is pushed.
        """
        name = queue.name
        if queue.stale:
            stale, queue.stale = queue.stale, []
            self.fail(queue, stale, AgentError(f"policy {name!r}: expected agents that have not ended since their push, got {stale}; end "
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
        """Records an error of the policy `queue` for some agents."""
        self._of(queue).failed.update(dict.fromkeys(agents, error))
        self.errors[queue.name] = error


def choose_by_rows(ready_queue: ReadyQueue[PolicyQueue], queues: Sequence[PolicyQueue], frame: int, rows: int | None) -> Iterator[Picked]:
    """Chooses batches by number of rows only, the same on every machine: all agents, or the most urgent ones across all policies."""
    ready_queue.finalize()
    for queue in queues:
        if queue.policy.membership_version != queue.pruned_version:
            queue.prune_stale()
    order = ready_queue.order(frame)
    if rows is None:
        for queue in order:
            left = queue.wait_queue.eligible(frame)
            while left:
                in_flight = queue.dequeue(left, frame)
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
