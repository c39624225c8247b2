"""What a batch of a policy will cost, learnt while it runs.

A batch of n rows is expected to take fixed + per_row · n seconds: a least-squares line through the batches so far, relative errors, old
ones forgotten. It is held near its last place where the data say nothing (all batches of one size), and a batch during which the machine
was busy elsewhere counts as a bounded error only. Next to the expectation stands a high quantile of measured over expected, by which a
frame is planned: a batch that would break the budget one time in twenty does not begin.

Source: the line is recursive least squares with exponential forgetting and a ridge; the quantile moves by the rule of stochastic
approximation (Robbins and Monro, 1951).
"""

from __future__ import annotations

from dataclasses import dataclass

_KEEP = 0.97  # what is left of a batch's weight after the next one
_RIDGE = 0.01
_LEAST_SHARE = 0.02  # each part of the line is at least this share of an expectation
_MOST_RATIO = 2.0  # measured may count as this many times what was expected
_QUANTILE = 0.95
_STEP = 0.04  # how far the quantile moves when it was too low
_RELAX = 0.9  # what is left of an estimate after a frame that it kept its policy out of


@dataclass(slots=True)
class CostModel:
    """Mutable. Seconds of batches of one policy.

    Attributes:
      fixed_s, per_row_s: the expectation's parts; 0 as long as nothing was measured.
      quantile: measured over expected, of one batch in twenty.
      measured: batches so far.
    """

    fixed_s: float = 0.0
    per_row_s: float = 0.0
    quantile: float = 1.1
    measured: int = 0
    _sums: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)  # of w, w n, w n², w t, w n t

    def expected_s(self, n_rows: int) -> float:
        """The expectation for n rows."""
        return self.fixed_s + self.per_row_s * n_rows

    def bound_s(self, n_rows: int) -> float:
        """What n rows take nineteen times out of twenty."""
        return self.expected_s(n_rows) * self.quantile

    def rows_within(self, seconds: float) -> int:
        """The most rows whose bound is within so many seconds; 1 when nothing is known yet, since one row has to be tried."""
        if not self.measured:
            return 1
        left_s = seconds / self.quantile - self.fixed_s
        if left_s < self.per_row_s:
            return 0
        return int(left_s / self.per_row_s) if self.per_row_s > 0 else 1 << 62

    def set(self, small: tuple[int, float], large: tuple[int, float]) -> None:
        """Starts from two measurements, (rows, seconds) each."""
        (n, a), (m, b) = small, large
        if m > n:
            self.per_row_s = max((b - a) / (m - n), 0.02 * a / m)
            self.fixed_s = max(a - self.per_row_s * n, 0.02 * a)
        else:
            self.fixed_s = self.per_row_s = a / (1 + n)
        for n_rows, seconds in (small, large):
            weight = 1.0 / (seconds * seconds)
            terms = (weight, weight * n_rows, weight * n_rows * n_rows, weight * seconds, weight * n_rows * seconds)
            self._sums = tuple(s + t for s, t in zip(self._sums, terms, strict=True))  # type: ignore[assignment]
        self.measured += 1

    def observe(self, n_rows: int, seconds: float) -> None:
        """Learns from a batch that has run."""
        if not self.measured:
            self.set((n_rows, seconds), (n_rows, seconds))
            return
        expected = self.expected_s(n_rows)
        ratio = seconds / expected
        if ratio > self.quantile:
            self.quantile += _STEP * _QUANTILE
        else:
            self.quantile = max(1.0, self.quantile - _STEP * (1 - _QUANTILE))
        self._learn(n_rows, expected * min(ratio, _MOST_RATIO))
        self.measured += 1

    def _learn(self, n_rows: int, seconds: float) -> None:
        """Moves the line."""
        weight = 1.0 / (seconds * seconds)
        weight_n = weight * n_rows
        w, wn, wnn, wt, wnt = self._sums
        w, wn, wnn = _KEEP * w + weight, _KEEP * wn + weight_n, _KEEP * wnn + weight_n * n_rows
        wt, wnt = _KEEP * wt + weight * seconds, _KEEP * wnt + weight_n * seconds
        self._sums = w, wn, wnn, wt, wnt
        left, right = w * (1 + _RIDGE), wnn * (1 + _RIDGE)
        top, bottom = wt + _RIDGE * w * self.fixed_s, wnt + _RIDGE * wnn * self.per_row_s
        determinant = left * right - wn * wn
        least = _LEAST_SHARE * seconds
        self.fixed_s = max((top * right - bottom * wn) / determinant, least)
        self.per_row_s = max((left * bottom - top * wn) / determinant, least / n_rows)

    def relax(self) -> None:
        """Forgets some of an estimate that leaves no room for a single row in a whole frame: what never runs is never measured again, so a
        policy that was slow once would wait for ever."""
        self.fixed_s *= _RELAX
        self.per_row_s *= _RELAX
        self.quantile = max(1.0, self.quantile * _RELAX)
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)
