"""From moments and diagnostics to an estimate with its interval and its verdict."""

from __future__ import annotations

from cervello.evaluation.diagnostics import RELIABLE, UNSUPPORTED, WEAK, Diagnostics, Verdict, judge
from cervello.evaluation.estimators.cwpdis import ALIVE
from cervello.evaluation.intervals import IntervalOptions, interval
from cervello.evaluation.moments import Moments
from cervello.evaluation.registry import EstimatorInfo
from cervello.evaluation.report import Estimate
from cervello.evaluation.values import Fit
from cervello.statistics.arguments import Interval


def make_estimate(info: EstimatorInfo, moments: Moments, diagnostics: Diagnostics | None, fit: Fit | None, fitted: bool,
                  options: IntervalOptions, bounds: Interval | None, ragged: str) -> Estimate:
    """One policy's value by one estimator.

    Args:
      diagnostics: of the policy's weights; None where no estimator uses weights. fit: of its value function, where one was fitted.
      fitted: whether propensities are estimated. bounds: of a unit's value, for concentration bounds. ragged: of cwpdis.
    """
    found, kind = interval(moments, options, info.name, bounds)
    notes = moments.notes
    if "values" in info.needs and fit is not None and not fit.converged:
        notes = (*notes, f"the value function has not converged: its last change was {fit.residuals[-1]:.3g}; give another q= or "
                 "gamma < 1")
    if moments.value is None:
        verdict = Verdict(UNSUPPORTED, moments.unsupported or "the estimate is no finite number; shorten the horizon")
    else:
        verdict = _verdict(info, diagnostics, fitted, ragged)
    if verdict.name == UNSUPPORTED:
        return Estimate(info.name, None, None, kind, verdict.name, verdict.reason, notes, moments, bounds)
    if found is None:
        notes = (*notes, "no interval: fewer than 3 episodes, or resamples without weight")
    return Estimate(info.name, moments.value, found, kind, verdict.name, verdict.reason, notes, moments, bounds)


def _verdict(info: EstimatorInfo, diagnostics: Diagnostics | None, fitted: bool, ragged: str) -> Verdict:
    """Of an estimate that is a number, by the estimator's family."""
    if info.family == "values":
        return Verdict(WEAK, "a value function alone carries no sign of its error; compare with 'dr' or 'wdr'")
    if info.family == "check":
        return Verdict(RELIABLE, "a mean over logged steps; it is no value")
    if info.family == "kernel":
        return Verdict(WEAK, "kernels trade bias for variance by the bandwidth, which no diagnostic measures; compare bandwidths")
    assert diagnostics is not None
    verdict = judge(diagnostics)
    if verdict.name == RELIABLE and info.ragged and ragged == ALIVE:
        return Verdict(WEAK, "alive-only estimates no mean return where lengths differ; take ragged='carry-forward'")
    if verdict.name == RELIABLE and fitted:
        return Verdict(WEAK, "propensities are estimated, and their error is in no interval; log them when recording")
    return verdict
