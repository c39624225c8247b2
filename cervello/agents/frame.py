"""One run of a runtime: what was decided, and who gets the time that there is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from cervello.agents.actions import Actions
from cervello.agents.brain import Brain, Taken
from cervello.agents.costs import CostModel
from cervello.errors import AgentError
from cervello.spec import AgentId

_SIZES = 8
_TRIAL_SHARE = 0.5
_FIRST_SHARE = 0.5  # of the budget is the first batch's, however much of it is gone when it begins: nobody starves
_LEAST_S = 15e-6  # no batch is over sooner
_by_head = attrgetter("head_since", "last_frame")
Picked = tuple[Brain, Taken]


class Frame(dict[str, Actions]):
    """What the policies of a runtime decided in one run: {policy: {agent: {output: row}}}. One that decided nothing is not among the keys,
    and still answers: `frame["npc"]` is empty then, with those it skipped.

    Attributes:
      number: of the frame; the first is 0.
      n_rows: decisions made.
      budget_s, elapsed_s: seconds asked for and taken; no budget is None.
      skipped: by policy, the agents that were pushed and did not decide.
      errors: by policy, what it failed with; the agents concerned are in its `Actions.errors`.
    """

    def __init__(self, number: int, budget_s: float | None = None):
        self.number, self.budget_s = number, budget_s
        self.n_rows = 0
        self.elapsed_s = 0.0
        self.skipped: dict[str, tuple[AgentId, ...]] = {}
        self.errors: dict[str, Exception] = {}

    def __missing__(self, name: str) -> Actions:
        actions = Actions()
        actions.skipped = self.skipped.get(name, ())
        return actions

    def add(self, name: str, actions: Actions) -> None:
        """More decisions of a policy."""
        if not actions:
            return
        self.n_rows += len(actions)
        there = self.get(name)
        if there is None:
            self[name] = actions
        else:
            there.update(actions)
            there.version = actions.version

    def skip(self, brain: Brain) -> None:
        """Notes who was skipped, and what those hold who want that."""
        name = brain.name
        if brain.gone:
            gone, brain.gone = brain.gone, []
            self.fail(name, gone, AgentError(f"policy {name!r}: expected agents that have not ended since their push, got {gone}; end them "
                                             "with the runtime, or push anew those that have begun again"))
        skipped = brain.skipped()
        if not skipped:
            self.skipped.pop(name, None)
            return
        self.skipped[name] = skipped
        if brain.held:
            held = brain.held
            repeated = {agent: {key: row.copy() for key, row in held[agent].items()} for agent in skipped if agent in held}
            if repeated:
                if name not in self:
                    self[name] = Actions()
                    self[name].version = brain.policy.version
                self[name].update(repeated)
        brain.resting.clear()

    def fail(self, name: str, agents: Sequence[Any], error: Exception) -> None:
        """A policy has failed for some agents."""
        there = self.setdefault(name, Actions())
        there.errors = {**there.errors, **dict.fromkeys(agents, error)}
        self.errors[name] = error


def waiting(brains: Sequence[Brain], frame: int) -> list[Brain]:
    """Those that somebody waits for, the most urgent first; of equally urgent ones, the one that has not run for longest."""
    found, plain = [], True
    for brain in brains:
        if brain.head_since <= frame and not brain.busy:
            found.append(brain)
            plain = plain and brain.plain
    if plain:
        found.sort(key=_by_head)
    else:
        found.sort(key=lambda brain: (-brain.urgency(frame), brain.last_frame))
    return found


def counted(brains: Sequence[Brain], frame: int, rows: int | None) -> Iterator[Picked]:
    """Batches by number of rows alone, the same on every machine: everybody, or the most urgent so many, whatever policy they belong to."""
    for brain in brains:
        brain.drop_the_gone()
    order = waiting(brains, frame)
    counts = [brain.eligible(frame) for brain in order]
    if rows is not None and rows < sum(counts):
        urgencies = np.concatenate([brain.urgencies(frame) for brain in order])
        whose = np.repeat(np.arange(len(order)), counts)
        counts = np.bincount(whose[np.argsort(-urgencies, kind="stable")[:rows]], minlength=len(order)).tolist()
    for brain, n_rows in zip(order, counts, strict=True):
        left = n_rows
        while left:
            taken = brain.take(left, frame)
            left -= len(taken.ids)
            yield brain, taken


def timed(brains: Sequence[Brain], frame: int, rows: int | None, deadline: float, budget_s: float) -> Iterator[Picked]:
    """Batches that are expected to end before the deadline.

    Policies come in the order of their most urgent agent. The first takes as many rows as fit; of the others, those whose whole crowd
    fits come before parts of crowds, since a batch costs something whatever its size. What remains of a crowd is more urgent in the next
    frame. A policy of which nobody knows what it costs is tried with one row, while most of the time is left. One of which not a single
    row fits into a whole frame is expected to be a little faster from frame to frame, so that its turn comes.
    """
    left = 1 << 62 if rows is None else rows
    for brain in brains:
        if brain.costs.noted:
            brain.costs.learn()
    order = [(brain, brain.eligible(frame)) for brain in waiting(brains, frame)]
    first, whole = True, True
    now = time.perf_counter()  # looked at after every batch: passing over a policy takes no time worth it
    while left and order:
        some = False
        seconds = deadline - now
        line_s = order[0][0].costs.pace.within(max(seconds, _FIRST_SHARE * budget_s) if first else seconds, budget_s)
        for brain, n_crowd in order:
            costs = brain.costs
            if not first:
                if seconds < _LEAST_S:
                    return
                if costs.fixed_s + costs.per_row_s * (min(n_crowd, left) if whole else 1) > line_s:
                    continue
            n_waiting = min(brain.eligible(frame), left)
            if not n_waiting or brain.busy:
                continue  # they have ended meanwhile, or a part of them is under way
            n_rows = _rows(costs, n_waiting, line_s, first, whole)
            if not costs.measured and not first and seconds < _TRIAL_SHARE * budget_s:
                n_rows = 0
            first = False
            if n_rows and brain.policy.changes != brain.seen:
                brain.drop_the_gone()
                n_rows = min(n_rows, brain.eligible(frame))
            if not n_rows:
                continue
            some, brain.picked_s = True, now
            taken = brain.take(n_rows, frame)
            left -= len(taken.ids)
            yield brain, taken
            if not left:
                return
            now = time.perf_counter()
            seconds = deadline - now
            line_s = costs.pace.within(seconds, budget_s)
        if not some and not whole:
            return
        whole = False
        order = [(brain, n_crowd) for brain, n_crowd in order
                 if brain.head_since <= frame and brain.costs.fixed_s + brain.costs.per_row_s <= line_s]


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
