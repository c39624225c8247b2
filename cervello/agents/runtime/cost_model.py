"""Cost model of a policy's batches, learnt at run time.

A batch of n rows is expected to take (fixed + per_row · n) · slowdown seconds. Fixed and per_row belong to one policy. They come from a
least-squares fit over its batches with relative errors and exponential forgetting. A ridge keeps the fit near its last value where the data
do not determine it (all batches of one size). The slowdown is the ratio of batches in frames to their fits. It is shared by all policies,
and above 1 where caches are colder or the machine is busier. It is known after a few frames, also for policies that run once in a hundred.
The margin is the time by which a frame is planned to end early. It is learnt from whole frames: it grows until about seven in a thousand
are late by more than a tenth. It is in seconds, equal for long and short batches, since frames are late because of preemption rather than
because of batches. A batch that was preempted counts as a bounded error of its fit.

A batch that can stop gets more rows than are guaranteed to fit. The rows that fit with the margin kept run at once. The others run in
chunks of a tenth of the budget, as long as a chunk is expected to be in time by the cost of the last ones. Such a batch keeps back a fifth
of the margin, since at most one chunk can still delay it.

A batch that is grossly late (several times its expectation, and well past the budget) means that the fit is wrong, or that
the thread was preempted. The next batch is then a single row, which tells the two apart. If it takes what the fit says, the fit stays.
If it does not, or if a batch is grossly late again soon, a new fit begins with that row and the late batch.

Source: the fit is recursive least squares with exponential forgetting and a ridge; the margin follows the rule of stochastic
approximation (Robbins and Monro, 1951).
"""

from __future__ import annotations

import math

from cervello.agents.runtime.slowdown import MAX_OVERHEAD_S, MAX_RATIO, SlowdownEstimate, ema
from cervello.inferers.deadline_path import Limit

_FORGETTING = 0.97  # factor of a batch's weight after each later batch
_RIDGE = 0.01
_MIN_SHARE = 0.02  # each part of the fit is at least this share of an expectation
_MIN_RUN_SHARE = 0.3  # at least this share of a batch's seconds counts as its run time
_UNLIMITED = 1 << 62  # rows
_CHUNK_SHARE = 0.1  # of the budget: maximum of one chunk
_MAX_CHUNK_ROWS = 64  # rows
_MIN_WORTH = 0.3  # of its fixed cost: minimum cost of the rows of such a batch
_MIN_S = 1e-9  # lower bound of lowered costs
_GROSS = 4.0  # times the expectation: grossly late, if the frame is late too
_SOON = 16  # batches
_CONFIRMED_RATIO = 2.0  # times the fit: maximum of a single row for the fit to stay
GROSS_SHARE = 0.5  # of its budget: the delay from which a frame is grossly late
_LOWERING = 0.9  # factor of an estimate after a frame that it kept its policy out of


def _round_down(n_rows: int) -> int:
    """Rounds down to one of 1, 2, …, 8, 10, 12, 14, 16, 20, …: with few sizes, their plans are soon cached."""
    return n_rows - n_rows % (1 << max(n_rows.bit_length() - 3, 0))


class CostModel:
    """Seconds of batches of one policy. Mutable.

    Args:
      slowdown: shared with other policies; None creates a new one.
      version: of the policy that is measured.

    Attributes:
      fixed_s, per_row_s: the fit; 0 before the first measurement.
      measured: batches so far.
      chunk_row_s: seconds of a row in a small chunk at a batch's end; 0 before the first chunk.
      after_s: seconds from the end of a batch's last row until its results are in the frame.
    """

    __slots__ = ("_confirmed", "_lowered", "_sums", "_suspected", "after_s", "chunk_row_s", "fixed_s", "measured", "per_row_s", "slowdown",
                 "version")

    def __init__(self, slowdown: SlowdownEstimate | None = None, version: int = 1):
        self.slowdown, self.version = SlowdownEstimate() if slowdown is None else slowdown, version
        # Suspected fit: fixed, per row; rows and seconds of the late batch.
        self._suspected: tuple[float, float, int, float] | None = None
        self._confirmed = False  # whether the fit was suspected before, and confirmed
        self._lowered = False  # whether the fit was lowered below its measurements
        self.fixed_s = self.per_row_s = self.chunk_row_s = self.after_s = 0.0
        self.measured = 0
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)  # of w, w n, w n², w t, w n t

    def expected_s(self, n_rows: int) -> float:
        """Expected seconds of n rows."""
        return self.fitted_s(n_rows) * self.slowdown.factor

    def fitted_s(self, n_rows: int) -> float:
        """Fitted seconds of n rows; 0 before the first measurement. Frames compare it with `SlowdownEstimate.fitted_within`."""
        return self.fixed_s + self.per_row_s * n_rows

    def rows_within(self, fitted_s: float) -> int:
        """The most rows within so many fitted seconds; 1 before the first measurement, since one row has to be tried."""
        if not self.measured:
            return 1
        left_s = fitted_s - self.fixed_s
        if left_s < self.per_row_s:
            return 0
        return int(min(left_s / self.per_row_s, _UNLIMITED)) if self.per_row_s > 0 else _UNLIMITED

    def limit(self, n_waiting: int, n_fits: int, deadline: float, budget_s: float) -> Limit:
        """Limit of a batch of which not all rows fit, with the margin kept: about `n_fits` rows at once, the others in chunks while there
        is time.

        Args:
          n_fits: 0 if not even one row fits.
          deadline: seconds, on the clock `time.perf_counter`.
        """
        row_s = self.per_row_s * self.slowdown.factor
        # Not from the seconds of rows in chunks: small chunks are slow, and would make the next ones smaller.
        chunk = _round_down(min(_MAX_CHUNK_ROWS, max(1, int(_CHUNK_SHARE * budget_s / row_s))))
        row_s = max(row_s, self.chunk_row_s)
        return Limit(deadline - self.after_s - self.slowdown.guard_s(budget_s), _round_down(min(n_fits or chunk, n_waiting)), chunk, row_s)

    def is_worthwhile_last(self, fitted_s: float) -> bool:
        """Whether a partial batch is worth running at the end of a frame: its rows cost at least a share of the batch's fixed cost.

        Args:
          fitted_s: see `SlowdownEstimate.fitted_at_end`.
        """
        return self.fixed_s + max(self.per_row_s, _MIN_WORTH * self.fixed_s) <= fitted_s

    def learn(self, n_rows: int, limit: Limit | None, picked_s: float, ended_s: float, is_first: bool, gross_s: float = math.inf) -> None:
        """Learns from a batch that has run.

        Args:
          picked_s, ended_s: clock time when it was chosen, and when its results were in the frame.
          is_first: it was the first of its frame.
          gross_s: clock time from which its results are grossly late.
        """
        if ended_s > gross_s and self.measured and n_rows and ended_s - picked_s > _GROSS * self.expected_s(n_rows):
            self._suspect(n_rows, ended_s - picked_s)
            return
        if limit is None or not limit.began_s:
            seconds = ended_s - picked_s
            self.observe(n_rows, max(seconds - (self.slowdown.first_s if is_first else self.slowdown.later_s), _MIN_RUN_SHARE * seconds))
            return
        self.slowdown.observe_begin(limit.began_s - picked_s, is_first)
        seconds = ended_s - limit.began_s
        self.observe(limit.guaranteed_rows, seconds - limit.chunks_s)
        if limit.n_rows > limit.guaranteed_rows:
            self.observe(limit.n_rows, seconds)
            self.chunk_row_s = ema(self.chunk_row_s, limit.chunks_s / (limit.n_rows - limit.guaranteed_rows))
        elif limit.chunk:
            self.chunk_row_s *= _FORGETTING  # decays, since chunks that never run are never measured again
        self.after_s = ema(self.after_s, min(ended_s - limit.ended_s, MAX_OVERHEAD_S))

    def is_worthwhile(self, n_rows: int) -> bool:
        """Whether a partial batch pays: its rows cost at least its fixed cost."""
        return not self.measured or n_rows * self.per_row_s >= self.fixed_s

    def initialize(self, small: tuple[int, float], large: tuple[int, float]) -> None:
        """Starts from two measurements, (rows, seconds) each."""
        (n, a), (m, b) = small, large
        if m > n:
            self.per_row_s = max((b - a) / (m - n), _MIN_SHARE * a / m)
            self.fixed_s = max(a - self.per_row_s * n, _MIN_SHARE * a)
        else:
            self.fixed_s = self.per_row_s = a / (1 + n)
        for n_rows, seconds in (small, large):
            self._accumulate(n_rows, seconds)
        self.measured += 1

    def observe(self, n_rows: int, seconds: float) -> None:
        """Learns from a batch that has run."""
        seconds = max(seconds, _MIN_S)  # a coarse clock may not have advanced
        if not self.measured:
            self._initialize_from(n_rows, seconds / self.slowdown.factor)
            return
        expected = self.expected_s(n_rows)
        ratio = seconds / expected
        seconds = expected * min(ratio, MAX_RATIO) / self.slowdown.factor
        w, wn, wnn, wt, wnt = self._accumulate(n_rows, seconds)
        left, right = w * (1 + _RIDGE), wnn * (1 + _RIDGE)
        top, bottom = wt + _RIDGE * w * self.fixed_s, wnt + _RIDGE * wnn * self.per_row_s
        determinant = left * right - wn * wn
        least = _MIN_SHARE * seconds
        self.fixed_s = max((top * right - bottom * wn) / determinant, least)
        self.per_row_s = max((left * bottom - top * wn) / determinant, least / n_rows)
        self.measured += 1
        self._lowered = False
        self.slowdown.observe(ratio)

    def _suspect(self, n_rows: int, seconds: float) -> None:
        """Discards the fit after a grossly late batch, until one row has been tried."""
        suspected = self.fixed_s, self.per_row_s, n_rows, seconds / self.slowdown.factor
        known = self._lowered  # a policy known to be slow was tried anyway; this is its cost
        self._confirmed = self._confirmed and self.measured < _SOON
        self.fixed_s = self.per_row_s = self.chunk_row_s = self.after_s = 0.0
        self.measured, self._sums = 0, (0.0, 0.0, 0.0, 0.0, 0.0)
        if known:
            self._initialize_from(n_rows, suspected[3])
        else:
            self._suspected = suspected

    def _initialize_from(self, n_rows: int, seconds: float) -> None:
        """Starts from one measurement, and from the late batch that made the last fit suspect."""
        self._lowered = False
        large = n_rows, seconds
        if self._suspected is not None:
            fixed_s, per_row_s, n_late, late_s = self._suspected
            self._suspected = None
            if not self._confirmed and seconds <= _CONFIRMED_RATIO * (fixed_s + per_row_s * n_rows):
                self.fixed_s, self.per_row_s, self._confirmed = fixed_s, per_row_s, True
                self._accumulate(n_rows, seconds)
                self.measured += 1
                return
            if n_late > n_rows:
                large = n_late, late_s
        self._confirmed = False
        self.initialize((n_rows, seconds), large)

    def _accumulate(self, n_rows: int, seconds: float) -> tuple[float, float, float, float, float]:
        """Adds one batch to the sums, weighted for relative errors."""
        weight = 1.0 / (seconds * seconds)
        weight_n = weight * n_rows
        w, wn, wnn, wt, wnt = self._sums
        self._sums = (_FORGETTING * w + weight, _FORGETTING * wn + weight_n, _FORGETTING * wnn + weight_n * n_rows,
                      _FORGETTING * wt + weight * seconds, _FORGETTING * wnt + weight_n * seconds)
        return self._sums

    def lower(self) -> None:
        """Lowers an estimate by which not even one row fits into a whole frame. A batch that never runs is never measured again, so a
        policy that was slow once would wait for ever."""
        self.fixed_s = max(self.fixed_s * _LOWERING, _MIN_S)
        self.per_row_s = max(self.per_row_s * _LOWERING, _MIN_S)
        self._lowered = True
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)
