"""Queue of a policy whose agents may differ in sizes that the file leaves open."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np

from cervello.agents.policy.core import Measure, PolicyCore
from cervello.agents.runtime.batch import InFlightBatch
from cervello.agents.runtime.cost_model import CostModel
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.spec import Array

_KEPT = 64  # number of sizes with known costs
_NEAR = 2.0  # maximum ratio of element counts of near sizes
Sizes = tuple[tuple[int, ...], ...]  # shapes of one agent's rows, of every input with open axes


class SizedQueue(PolicyQueue):
    """A `PolicyQueue` whose batches have rows of one size. Mutable. `costs` are those of the first agent's sizes, which the next batch has.

    Costs of new sizes start from those of the nearest known ones, in proportion to a row's elements, so that lists may grow from frame to
    frame. If none is near, one row has to be tried.
    """

    def __init__(self, name: str, policy: PolicyCore, ready_queue: ReadyQueue[PolicyQueue], measure: Measure | None = None):
        self._open = [spec for spec in policy.all_inputs.values() if spec.open_axes]
        self._specified: Sizes = tuple(spec.shape for spec in self._open)
        self._too_slow = -1, 0.0  # frame in which agents were moved to the end, and the seconds that were available
        super().__init__(name, policy, ready_queue, measure)

    @property
    def costs(self) -> CostModel:
        """Cost model of batches with the first agent's sizes; with the sizes of the specs if no agent waits."""
        queue = self._wait_queue.queue
        return self._costs_of(self._sizes(queue.rows(1))[0] if queue.generations else self._specified)

    @costs.setter
    def costs(self, costs: CostModel) -> None:
        self._by_sizes = OrderedDict({self._specified: costs})  # by one assignment, see `on_swap`

    def _sizes(self, rows: Mapping[str, Array]) -> list[Sizes]:
        """Sizes of every agent of `Queue.rows`."""
        return list(zip(*([row.shape for row in rows[spec.name]] for spec in self._open), strict=True))

    def _costs_of(self, sizes: Sizes) -> CostModel:
        by_sizes = self._by_sizes
        found = by_sizes.get(sizes)
        if found is None:
            ratios = {other: _elements(sizes) / _elements(other) for other, costs in by_sizes.items() if costs.measured}
            found = by_sizes[sizes] = CostModel(self._ready_queue.slowdown, by_sizes[self._specified].version)
            near = min(ratios, key=lambda other: abs(math.log(ratios[other])), default=None)
            if near is not None and 1 / _NEAR <= ratios[near] <= _NEAR:
                costs = by_sizes[near]
                row_s = costs.per_row_s * ratios[near]
                found.initialize((1, costs.fixed_s + row_s), (2, costs.fixed_s + 2 * row_s))
            while len(by_sizes) > _KEPT:
                del by_sizes[next(other for other in by_sizes if other != self._specified)]
        else:
            by_sizes.move_to_end(sizes)
        return found

    def _costs_of_batch(self, in_flight: InFlightBatch) -> CostModel:
        return self._costs_of(tuple(spec.row_shape(in_flight.columns[spec.name].shape) for spec in self._open))

    def urgency(self, frame: int) -> float:
        """As `PolicyQueue.urgency`; afterwards the most urgent agent is the first one, whose sizes determine the costs."""
        found = super().urgency(frame)
        self.sort_by_urgency(0, frame)
        return found

    def postpone(self, fitted_s: float, frame: int) -> None:
        """Moves agents of sizes of which not one row fits behind the others for the rest of a frame."""
        self._too_slow = frame, fitted_s
        self._ready_queue.needs_sort[self] = None
        self.sort_by_urgency(0, frame)

    def sort_by_urgency(self, n_rows: int, frame: int) -> None:
        """As `PolicyQueue.sort_by_urgency`; agents postponed in this frame come last."""
        super().sort_by_urgency(n_rows, frame)
        too_slow, fitted_s = self._too_slow
        if too_slow != frame:
            return
        queue, n_eligible = self.wait_queue.queue, self.wait_queue.eligible(frame)
        slow = np.array([self._costs_of(sizes).fitted_s(1) > fitted_s for sizes in self._sizes(queue.rows(n_eligible))], np.bool_)
        if not slow[int(np.count_nonzero(~slow)):].all():
            self.wait_queue.arrange(np.concatenate([np.flatnonzero(~slow), np.flatnonzero(slow), np.arange(n_eligible, len(queue))]))
            self._ready_queue.needs_sort[self] = None
            self._notify()


def _elements(sizes: Sizes) -> int:
    """Number of elements of an agent's inputs with open axes."""
    return sum(map(math.prod, sizes))
