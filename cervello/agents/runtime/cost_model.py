"""What a batch of a policy will cost, learnt while it runs.

A batch of n rows is expected to take (fixed + per_row · n) · pace seconds. Fixed and per_row are a policy's own: a least-squares line
through its batches, relative errors, old ones forgotten, held near its last place where the data say nothing (all batches of one size). The
pace is everybody's: how much slower batches are in these frames than lines say, because caches are colder or the machine is busier than it
was; it is known after a few frames, also for policies that run once in a hundred. With it goes the margin by which a frame is
planned, learnt from whole frames: it grows until about seven in a thousand are late by more than a tenth. It is in seconds, for long
and short batches alike, since what makes frames late is not in the batches: the machine turns to something else for a moment. A batch
during which that happened counts as a bounded error of its line.

A batch that can stop is given more rows than surely fit: those at once for which the margin stays, the others in pieces of a tenth of the
budget, as long as a piece is expected to be in time by what the last ones took. It keeps back a fifth of the margin, since all that may
still delay it is one piece.

A batch that is grossly late (several times what was expected, and well behind the budget) means that the line is wrong, or that
the machine was elsewhere. The next batch is a single row then, which tells the two apart. If it takes what the line says, the line stays.
If it does not, or if a batch is grossly late again soon, a new line begins with that row and the late batch.

Source: the line is recursive least squares with exponential forgetting and a ridge; the margin moves by the rule of stochastic
approximation (Robbins and Monro, 1951).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cervello.inferers.deadline_path import Limit

_KEEP = 0.97  # what is left of a batch's weight after the next one
_RIDGE = 0.01
_LEAST_SHARE = 0.02  # each part of the line is at least this share of an expectation
_MOST_RATIO = 2.0  # measured may count as this many times what was expected
_RATE = 0.05  # of the pace
_LEAST_REST = 0.3  # of a batch's seconds count as those it ran
_MOST_BESIDE_S = 2e-4  # count at most before a batch runs, and after it
_LEAK = 0.99  # the pace's way back to 1, by when lines have learnt what it knew
_LATE = 1.1  # times its budget that make a frame late
_LATE_SHARE = 0.007  # of frames
_STEP = 0.02  # of the budget, by which the margin grows after a late frame
_FIRST_MARGIN_S, _FIRST_MARGIN = 125e-6, 0.25  # of the budget at most: the first margin, when nobody knows what delays frames here
_MOST_MARGIN = 0.3  # of the budget is kept back at most: a machine that is always busy elsewhere must not stop all decisions
_TOP_MARGIN = 0.6  # of the budget: what a margin may grow to, for the sake of batches that keep back a part of it
_ANY = 1 << 62  # rows
_PIECE_SHARE = 0.1  # of the budget is what a piece takes at most
_MOST_PIECE = 64  # rows
_GUARD = 0.2  # of the margin is kept back from a batch that can stop
_COLD = 1.3  # times its cost is what a policy may take that comes last
_LEAST_WORTH = 0.3  # of its fixed cost is what the rows of such a batch cost at least
_SHARE_OF_NEW = 0.2  # in means that forget
_LEAST_S = 1e-9  # no part of a line is relaxed below
_GROSS = 4.0  # times what was expected is grossly late, if the frame is late too
_SOON = 16  # batches
_TRUSTED = 2.0  # times what a line says that a row may take, for the line to stay
GROSS_SHARE = 0.5  # of its budget that a frame is late then
_RELAX = 0.9  # what is left of an estimate after a frame that it kept its policy out of


@dataclass(slots=True)
class SlowdownEstimate:
    """Mutable. What all policies of a runtime have in common.

    Attributes:
      factor: measured over what lines say, lately.
      margin_s: seconds that a frame is planned to be over early, where it ends with a batch that cannot stop; a part of it otherwise.
      first_s, later_s: from the choice of a batch until it runs, for the first of a frame and for others: the same work whatever the
        policy, but the interpreter's code and data are far away when a frame begins.
      judged: whether there has been a full frame.
    """

    factor: float = 1.0
    margin_s: float = 10e-6
    first_s: float = 0.0
    later_s: float = 0.0
    judged: bool = False

    def observe_begin(self, seconds: float, opens: bool) -> None:
        """Learns from a batch how long it took until it ran."""
        if opens:
            self.first_s = _blended(self.first_s, min(seconds, _MOST_BESIDE_S))
        else:
            self.later_s = _blended(self.later_s, min(seconds, _MOST_BESIDE_S))

    def observe(self, ratio: float) -> None:
        """Learns from a batch that took `ratio` times what was expected."""
        self.factor = self.factor**_LEAK * (1.0 + _RATE * (min(ratio, _MOST_RATIO) - 1.0))

    def within(self, seconds: float, budget_s: float) -> float:
        """Seconds of lines that fit into so many of a frame; a margin learnt at larger budgets leaves smaller ones most of theirs."""
        return (seconds - min(self.margin_s, _MOST_MARGIN * budget_s)) / self.factor

    def last(self, seconds: float, budget_s: float) -> float:
        """Seconds of lines that fit into the last ones of a frame, for a batch that can stop, even if its first rows are slow: its policy's
        weights are far away."""
        return (seconds - self.later_s - self.guard_s(budget_s)) / (_COLD * self.factor)

    def guard_s(self, budget_s: float) -> float:
        """Seconds kept back from a batch that can stop."""
        return _GUARD * min(self.margin_s, _TOP_MARGIN * budget_s)

    def judge(self, elapsed_s: float, budget_s: float) -> None:
        """Learns from a frame; one that was over early, for want of work, says nothing."""
        if not self.judged and elapsed_s > 0.5 * budget_s:
            self.judged, self.margin_s = True, max(self.margin_s, min(_FIRST_MARGIN_S, _FIRST_MARGIN * budget_s))
        if elapsed_s > _LATE * budget_s:
            self.margin_s = min(self.margin_s + _STEP * budget_s, _TOP_MARGIN * budget_s)
        elif elapsed_s > 0.5 * budget_s:
            self.margin_s = max(min(self.margin_s, _TOP_MARGIN * budget_s) - _STEP * _LATE_SHARE * budget_s, 0.0)


def _size(n_rows: int) -> int:
    """The largest of 1, 2, …, 8, 10, 12, 14, 16, 20, … that is not larger: few sizes, so that their plans are soon there."""
    return n_rows - n_rows % (1 << max(n_rows.bit_length() - 3, 0))


def _blended(old: float, new: float) -> float:
    """A mean that forgets; 0 is none yet."""
    return old + _SHARE_OF_NEW * (new - old) if old else new


class CostModel:
    """Mutable. Seconds of batches of one policy.

    Args:
      pace: shared with others; None for one of its own.
      version: of the policy that it is about.

    Attributes:
      fixed_s, per_row_s: the line; 0 as long as nothing was measured.
      measured: batches so far.
      piece_row_s: what a row takes in a small piece at a batch's end; 0 when no batch has had any.
      after_s: what follows when a batch's last row has run, until its results are in the frame.
    """

    __slots__ = ("_doubted", "_relaxed", "_sums", "_trusted", "after_s", "fixed_s", "measured", "pace", "per_row_s", "piece_row_s",
                 "version")

    def __init__(self, pace: SlowdownEstimate | None = None, version: int = 1):
        self.pace, self.version = SlowdownEstimate() if pace is None else pace, version
        # Of a line in doubt: fixed, per row; rows and seconds of the late batch.
        self._doubted: tuple[float, float, int, float] | None = None
        self._trusted = False  # whether the line was doubted before, and stayed
        self._relaxed = False  # whether the line says less than was measured
        self.fixed_s = self.per_row_s = self.piece_row_s = self.after_s = 0.0
        self.measured = 0
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)  # of w, w n, w n², w t, w n t

    def expected_s(self, n_rows: int) -> float:
        """The expectation for n rows."""
        return self.line_s(n_rows) * self.pace.factor

    def line_s(self, n_rows: int) -> float:
        """What the line says of n rows; 0 while nothing is known. Compared with `SlowdownEstimate.within`, since frames ask it often."""
        return self.fixed_s + self.per_row_s * n_rows

    def rows_within(self, line_s: float) -> int:
        """The most rows within so many seconds of the line; 1 when nothing is known yet, since one row has to be tried."""
        if not self.measured:
            return 1
        left_s = line_s - self.fixed_s
        if left_s < self.per_row_s:
            return 0
        return int(min(left_s / self.per_row_s, _ANY)) if self.per_row_s > 0 else _ANY

    def limit(self, n_waiting: int, n_fits: int, deadline: float, budget_s: float) -> Limit:
        """For a batch of which not all rows fit, the margin kept: about so many at once, the others in pieces while there is time.

        Args:
          n_fits: 0 where not one row fits.
          deadline: seconds, on the clock `time.perf_counter`.
        """
        row_s = self.per_row_s * self.pace.factor
        # Not by what rows in pieces take: small ones are slow, and would make the next ones small.
        piece = _size(min(_MOST_PIECE, max(1, int(_PIECE_SHARE * budget_s / row_s))))
        row_s = max(row_s, self.piece_row_s)
        return Limit(deadline - self.after_s - self.pace.guard_s(budget_s), _size(min(n_fits or piece, n_waiting)), piece, row_s)

    def last_fits(self, line_s: float) -> bool:
        """Whether a part of a crowd is worth beginning in the last moments of a frame: rows that cost at least a share of what a batch
        costs whatever its size.

        Args:
          line_s: see `SlowdownEstimate.last`.
        """
        return self.fixed_s + max(self.per_row_s, _LEAST_WORTH * self.fixed_s) <= line_s

    def learn(self, n_rows: int, limit: Limit | None, picked_s: float, ended_s: float, opens: bool, gross_s: float = math.inf) -> None:
        """Learns from a batch that has run.

        Args:
          picked_s, ended_s: when it was chosen, and when its results were in the frame.
          opens: it was the first of its frame.
          gross_s: when results are grossly late, on the same clock.
        """
        if ended_s > gross_s and self.measured and n_rows and ended_s - picked_s > _GROSS * self.expected_s(n_rows):
            self._doubt(n_rows, ended_s - picked_s)
            return
        if limit is None or not limit.began_s:
            seconds = ended_s - picked_s
            self.observe(n_rows, max(seconds - (self.pace.first_s if opens else self.pace.later_s), _LEAST_REST * seconds))
            return
        self.pace.observe_begin(limit.began_s - picked_s, opens)
        seconds = ended_s - limit.began_s
        self.observe(limit.sure, seconds - limit.pieces_s)
        if limit.n_rows > limit.sure:
            self.observe(limit.n_rows, seconds)
            self.piece_row_s = _blended(self.piece_row_s, limit.pieces_s / (limit.n_rows - limit.sure))
        elif limit.piece:
            self.piece_row_s *= _KEEP  # what never runs is never measured again
        self.after_s = _blended(self.after_s, min(ended_s - limit.over_s, _MOST_BESIDE_S))

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
        seconds = max(seconds, _LEAST_S)  # a coarse clock may not have moved
        if not self.measured:
            self._start(n_rows, seconds / self.pace.factor)
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
        self._relaxed = False
        self.pace.observe(ratio)

    def _doubt(self, n_rows: int, seconds: float) -> None:
        """A batch was grossly late: what was known no longer counts, until a row has been tried."""
        doubted = self.fixed_s, self.per_row_s, n_rows, seconds / self.pace.factor
        known = self._relaxed  # to be slow; it was tried all the same, and this is what it takes
        self._trusted = self._trusted and self.measured < _SOON
        self.fixed_s = self.per_row_s = self.piece_row_s = self.after_s = 0.0
        self.measured, self._sums = 0, (0.0, 0.0, 0.0, 0.0, 0.0)
        if known:
            self._start(n_rows, doubted[3])
        else:
            self._doubted = doubted

    def _start(self, n_rows: int, seconds: float) -> None:
        """Starts from one measurement, and from what was measured when the last line was doubted."""
        self._relaxed = False
        large = n_rows, seconds
        if self._doubted is not None:
            fixed_s, per_row_s, n_late, late_s = self._doubted
            self._doubted = None
            if not self._trusted and seconds <= _TRUSTED * (fixed_s + per_row_s * n_rows):
                self.fixed_s, self.per_row_s, self._trusted = fixed_s, per_row_s, True
                self._add(n_rows, seconds)
                self.measured += 1
                return
            if n_late > n_rows:
                large = n_late, late_s
        self._trusted = False
        self.set((n_rows, seconds), large)

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
        self.fixed_s = max(self.fixed_s * _RELAX, _LEAST_S)
        self.per_row_s = max(self.per_row_s * _RELAX, _LEAST_S)
        self._relaxed = True
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)
