"""What a batch of a policy will cost, learnt while it runs.

A batch of n rows is expected to take (fixed + per_row · n) · pace seconds. Fixed and per_row are a policy's own: a least-squares line
through its batches, relative errors, old ones forgotten, held near its last place where the data say nothing (all batches of one size). The
pace is everybody's: how much slower batches are in these frames than lines say, because caches are colder or the machine is busier than it
was; it is known after a few frames, also for policies that run once in a hundred. With it goes a high quantile of measured over expected,
by which a frame is planned: a batch that would break the budget too often does not begin. A batch during which the machine was busy
elsewhere counts as a bounded error only.

Source: the line is recursive least squares with exponential forgetting and a ridge; the quantile moves by the rule of stochastic
approximation (Robbins and Monro, 1951).
"""

from __future__ import annotations

from dataclasses import dataclass

_KEEP = 0.97  # what is left of a batch's weight after the next one
_RIDGE = 0.01
_LEAST_SHARE = 0.02  # each part of the line is at least this share of an expectation
_MOST_RATIO = 2.0  # measured may count as this many times what was expected
_RATE = 0.05  # of the pace
_LEAK = 0.99  # the pace's way back to 1, by when lines have learnt what it knew
_QUANTILE = 0.97
_STEP = 0.03  # how far the quantile moves when it was too low
_RELAX = 0.9  # what is left of an estimate after a frame that it kept its policy out of


@dataclass(slots=True)
class Pace:
    """Mutable. What all policies of a runtime have in common.

    Attributes:
      factor: measured over what lines say, lately.
      quantile: measured over expected, of all batches but three in a hundred.
    """

    factor: float = 1.0
    quantile: float = 1.1

    def observe(self, ratio: float) -> None:
        """Learns from a batch that took `ratio` times what was expected."""
        if ratio > self.quantile:
            self.quantile += _STEP * _QUANTILE
        else:
            self.quantile = max(1.0, self.quantile - _STEP * (1 - _QUANTILE))
        self.factor = self.factor**_LEAK * (1.0 + _RATE * (min(ratio, _MOST_RATIO) - 1.0))


class CostModel:
    """Mutable. Seconds of batches of one policy.

    Args:
      pace: shared with others; None for one of its own.

    Attributes:
      fixed_s, per_row_s: the line; 0 as long as nothing was measured.
      measured: batches so far.
    """

    __slots__ = ("_sums", "fixed_s", "measured", "pace", "per_row_s")

    def __init__(self, pace: Pace | None = None):
        self.pace = Pace() if pace is None else pace
        self.fixed_s = self.per_row_s = 0.0
        self.measured = 0
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)  # of w, w n, w n², w t, w n t

    def expected_s(self, n_rows: int) -> float:
        """The expectation for n rows."""
        return (self.fixed_s + self.per_row_s * n_rows) * self.pace.factor

    def bound_s(self, n_rows: int) -> float:
        """What n rows take nearly always."""
        return self.expected_s(n_rows) * self.pace.quantile

    def rows_within(self, seconds: float) -> int:
        """The most rows whose bound is within so many seconds; 1 when nothing is known yet, since one row has to be tried."""
        if not self.measured:
            return 1
        left_s = seconds / (self.pace.factor * self.pace.quantile) - self.fixed_s
        if left_s < self.per_row_s:
            return 0
        return int(left_s / self.per_row_s) if self.per_row_s > 0 else 1 << 62

    def pays(self, n_rows: int) -> bool:
        """Whether a part of a crowd is worth a batch: its rows cost at least what the batch costs whatever its size."""
        return not self.measured or n_rows * self.per_row_s >= self.fixed_s

    def set(self, small: tuple[int, float], large: tuple[int, float]) -> None:
        """Starts from two measurements, (rows, seconds) each."""
        (n, a), (m, b) = small, large
        if m > n:
            self.per_row_s = max((b - a) / (m - n), _LEAST_SHARE * a / m)
            self.fixed_s = max(a - self.per_row_s * n, _LEAST_SHARE * a)
        else:
            self.fixed_s = self.per_row_s = a / (1 + n)
        for n_rows, seconds in (small, large):
            self._add(n_rows, seconds)
        self.measured += 1

    def observe(self, n_rows: int, seconds: float) -> None:
        """Learns from a batch that has run."""
        if not self.measured:
            seconds /= self.pace.factor
            self.set((n_rows, seconds), (n_rows, seconds))
            return
        expected = self.expected_s(n_rows)
        ratio = seconds / expected
        seconds = expected * min(ratio, _MOST_RATIO) / self.pace.factor
        w, wn, wnn, wt, wnt = self._add(n_rows, seconds)
        left, right = w * (1 + _RIDGE), wnn * (1 + _RIDGE)
        top, bottom = wt + _RIDGE * w * self.fixed_s, wnt + _RIDGE * wnn * self.per_row_s
        determinant = left * right - wn * wn
        least = _LEAST_SHARE * seconds
        self.fixed_s = max((top * right - bottom * wn) / determinant, least)
        self.per_row_s = max((left * bottom - top * wn) / determinant, least / n_rows)
        self.measured += 1
        self.pace.observe(ratio)

    def _add(self, n_rows: int, seconds: float) -> tuple[float, float, float, float, float]:
        """One more batch in the sums, weighted by its relative error."""
        weight = 1.0 / (seconds * seconds)
        weight_n = weight * n_rows
        w, wn, wnn, wt, wnt = self._sums
        self._sums = (_KEEP * w + weight, _KEEP * wn + weight_n, _KEEP * wnn + weight_n * n_rows, _KEEP * wt + weight * seconds,
                      _KEEP * wnt + weight_n * seconds)
        return self._sums

    def relax(self) -> None:
        """Forgets some of an estimate that leaves no room for a single row in a whole frame: what never runs is never measured again, so a
        policy that was slow once would wait for ever."""
        self.fixed_s *= _RELAX
        self.per_row_s *= _RELAX
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)
