"""Slowdown of batches in frames, and the margin by which frames are planned to end early: shared by all policies of a runtime.

Both are described in `cost_model`.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_RATIO = 2.0  # a measurement counts as at most this many times its expectation
_RATE = 0.05  # learning rate of the slowdown
MAX_OVERHEAD_S = 2e-4  # upper bound of the overhead before a batch runs, and after it
_DECAY = 0.99  # decay of the slowdown towards 1; by then the fits contain it
_LATE = 1.1  # times its budget: the frame is late
_LATE_SHARE = 0.007  # target share of late frames
_STEP = 0.02  # of the budget: growth of the margin after a late frame
_FIRST_MARGIN_S, _FIRST_MARGIN = 125e-6, 0.25  # initial margin, and its maximum as a share of the budget
_MAX_RESERVE = 0.3  # of the budget: maximum kept back, so that a machine that is always busy still makes decisions
_MAX_MARGIN = 0.6  # of the budget: maximum of the margin, for batches that keep back a part of it
_GUARD = 0.2  # share of the margin kept back from a batch that can stop
_COLD = 1.3  # times its cost: time allowed for the last policy of a frame
_EMA_WEIGHT = 0.2  # weight of a new value in exponential means


@dataclass(slots=True)
class SlowdownEstimate:
    """Slowdown and margin shared by all policies of a runtime. Mutable.

    Attributes:
      factor: recent ratio of measured to fitted seconds.
      margin_s: seconds by which a frame is planned to end early if its last batch cannot stop; a part of it applies otherwise.
      first_s, later_s: from the choice of a batch until it runs, for the first of a frame and for the others. The work is the same for
        every policy; the interpreter's code and data are not in cache when a frame begins.
      had_full_frame: whether there has been a full frame.
    """

    factor: float = 1.0
    margin_s: float = 10e-6
    first_s: float = 0.0
    later_s: float = 0.0
    had_full_frame: bool = False

    def observe_begin(self, seconds: float, is_first: bool) -> None:
        """Learns from one batch the time between its choice and its run."""
        if is_first:
            self.first_s = ema(self.first_s, min(seconds, MAX_OVERHEAD_S))
        else:
            self.later_s = ema(self.later_s, min(seconds, MAX_OVERHEAD_S))

    def observe(self, ratio: float) -> None:
        """Learns from a batch that took `ratio` times its expectation."""
        self.factor = self.factor**_DECAY * (1.0 + _RATE * (min(ratio, MAX_RATIO) - 1.0))

    def fitted_within(self, seconds: float, budget_s: float) -> float:
        """Fitted seconds that fit into so many seconds of a frame. A margin learnt at larger budgets leaves smaller ones most of theirs."""
        return (seconds - min(self.margin_s, _MAX_RESERVE * budget_s)) / self.factor

    def fitted_at_end(self, seconds: float, budget_s: float) -> float:
        """Fitted seconds that fit at the end of a frame for a batch that can stop, with cold first rows: the policy's weights are not in
        cache."""
        return (seconds - self.later_s - self.guard_s(budget_s)) / (_COLD * self.factor)

    def guard_s(self, budget_s: float) -> float:
        """Seconds kept back from a batch that can stop."""
        return _GUARD * min(self.margin_s, _MAX_MARGIN * budget_s)

    def update_margin(self, elapsed_s: float, budget_s: float) -> None:
        """Updates the margin after a frame. A frame that ended early for lack of work is ignored."""
        if not self.had_full_frame and elapsed_s > 0.5 * budget_s:
            self.had_full_frame, self.margin_s = True, max(self.margin_s, min(_FIRST_MARGIN_S, _FIRST_MARGIN * budget_s))
        if elapsed_s > _LATE * budget_s:
            self.margin_s = min(self.margin_s + _STEP * budget_s, _MAX_MARGIN * budget_s)
        elif elapsed_s > 0.5 * budget_s:
            self.margin_s = max(min(self.margin_s, _MAX_MARGIN * budget_s) - _STEP * _LATE_SHARE * budget_s, 0.0)


def ema(old: float, new: float) -> float:
    """Exponential mean; 0 means no value yet."""
    return old + _EMA_WEIGHT * (new - old) if old else new
