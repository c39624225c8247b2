"""What importance weights say about how far estimates can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, log10, sqrt
from typing import Any

import numpy as np

from cervello.evaluation.table import AnyTable, largest_unit_log_weight
from cervello.spec import Array
from cervello.statistics import pareto_tail_index
from cervello.statistics.effective_sample_size import WeightSums

RELIABLE, WEAK, UNSUPPORTED = "reliable", "weak", "unsupported"
ORDER = (RELIABLE, WEAK, UNSUPPORTED)


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """Of one policy's weights. Units are episodes, or matches.

    Attributes:
      n: units. L: steps of the longest episode.
      ess: [L] effective sample size of the weights up to each step.
      largest_share: of the largest whole product in the sum of all; NaN without weight.
      pareto_k: tail index of the whole products.
      mean_weight: [L] mean weight up to each step, which is 1 in expectation.
      mean_weight_error: standard errors between the mean whole product and 1.
      support_violations: steps where the policy puts more than 1e-6 on actions that the behaviour never takes; None: not observable.
      unsupported_actions: logged actions that the policy never takes.
      ties: steps where several actions are the policy's most likely.
      deterministic: whether the policy always takes one action.
      last_step_with_weight: the horizon to try where there is none later; L where there is some.
      log_weight: [n] the whole products, for the plot of their tail.
    """

    n: int
    ess: Array
    largest_share: float
    pareto_k: float
    mean_weight: Array
    mean_weight_error: float
    support_violations: int | None
    unsupported_actions: int
    ties: int
    deterministic: bool
    last_step_with_weight: int
    log_weight: Array

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers; infinite ones as strings, since JSON has none."""
        return {"n": self.n, "ess": self.ess.tolist(), "largest_share": plain(self.largest_share), "pareto_k": plain(self.pareto_k),
                "mean_weight": [plain(each) for each in self.mean_weight.tolist()], "mean_weight_error": plain(self.mean_weight_error),
                "support_violations": "not observable" if self.support_violations is None else self.support_violations,
                "unsupported_actions": self.unsupported_actions, "ties": self.ties, "deterministic": self.deterministic,
                "last_step_with_weight": self.last_step_with_weight}


def plain(value: float) -> float | str | None:
    """A number that JSON holds."""
    if np.isnan(value):
        return None
    return float(value) if np.isfinite(value) else "infinity" if value > 0 else "-infinity"


def diagnose(table: AnyTable, support_violations: int | None = None, ties: int = 0, deterministic: bool = False) -> Diagnostics:
    """Diagnostics of a table's weights."""
    tops = largest_unit_log_weight(table)
    sums, total, unsupported = WeightSums(tops), np.zeros(table.n_steps), 0
    last = []
    for block in table.blocks():
        sums.add_weights(block.unit_step_weight(tops))
        with np.errstate(over="ignore", invalid="ignore"):
            total += (block.weight if block.unit is None else np.exp(block.unit_log_weight)).sum(0)
        if np.isneginf(block.log_ratio.min()):
            unsupported += int((np.isneginf(block.log_ratio) & block.alive).sum())
        last.append(block.unit_log_weight[:, -1].copy())
    products = np.concatenate(last)
    with np.errstate(over="ignore", invalid="ignore"):
        error = _errors(np.exp(products))
    shares = np.exp(products - tops[-1]) if np.isfinite(tops[-1]) else None
    empty = ~np.isfinite(tops)
    return Diagnostics(
        table.n_units, sums.effective, float("nan") if shares is None else float(1 / shares.sum()), pareto_tail_index(products),
        total / table.n_units, error, support_violations, unsupported, ties, deterministic,
        int(np.argmax(empty)) if empty.any() else table.n_steps, products)


def _errors(weights: Array) -> float:
    """Standard errors between the mean and 1; infinite where all are equal and not 1."""
    off = abs(float(weights.mean()) - 1.0)
    if off <= 1e-9:
        return 0.0
    deviation = float(weights.std(ddof=1)) if len(weights) > 1 else 0.0
    return off / (deviation / sqrt(len(weights))) if deviation > 0 and np.isfinite(deviation) else inf


@dataclass(frozen=True)
class Verdict:
    """How far an estimate can be trusted.

    Attributes:
      name: "reliable", "weak" or "unsupported".
      reason: what decided, and what to do.
    """

    name: str
    reason: str


def judge(found: Diagnostics) -> Verdict:
    """The verdict that the weights allow; the tail index comes first.

    Reliable: the tail index with its 95% bound, k̂ + 1.645 (1 + max(k̂, −½)) / √M, is below min(½, 1 − 1 / log₁₀ n); the mean weight is
    within 2.58 standard errors of 1; the effective sample size at the last step is at least 20. No rule that sees only data holds for
    every distribution of weights: a rare tail that no logged episode shows is not seen.
    Unsupported: no weight, or an effective sample size below 2.
    """
    ess = float(found.ess[-1])
    if ess == 0:
        T = found.last_step_with_weight
        what = f"log more, or try horizon={T} (--horizon {T} on the command line)" if T else "log more, or with more exploration"
        return Verdict(UNSUPPORTED, f"no logged episode is possible under the policy; {what}")
    if ess < 2:
        return Verdict(UNSUPPORTED, "the estimate rests on fewer than 2 episodes; log more, or shorten the horizon")
    n = found.n
    M = ceil(min(n / 5, 3 * sqrt(n)))
    k = found.pareto_k
    if k == inf:
        return Verdict(WEAK, f"too few weights above 0, of {n} episodes, to tell how heavy their tail is; log more, or shorten the horizon")
    bound = k + 1.645 * (1 + max(k, -0.5)) / sqrt(M)
    limit = min(0.5, 1 - 1 / log10(n)) if n > 1 else -inf
    if not bound < limit and k > -inf:
        return Verdict(WEAK, f"weights have heavy tails (index {k:.2f}, at most {bound:.2f}, where {limit:.2f} is the limit); log more, "
                       "or shorten the horizon")
    if found.mean_weight_error > 2.58:
        return Verdict(WEAK, f"weights average {float(found.mean_weight[-1]):.3g} instead of 1, {found.mean_weight_error:.1f} standard "
                       "errors off: propensities are wrong, or rare large weights are missing; check what was logged, or log more")
    if ess < 20:
        return Verdict(WEAK, f"the estimate rests on {ess:.1f} of {n} episodes; log more, or shorten the horizon")
    return Verdict(RELIABLE, f"weights are well behaved: {ess:.0f} of {n} episodes count, tail index {k:.2f}")


def worst(verdicts: list[str]) -> str:
    """The worst of some."""
    return max(verdicts, key=ORDER.index)
