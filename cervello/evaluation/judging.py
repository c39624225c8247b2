"""From moments and diagnostics to an estimate with its verdict."""

from __future__ import annotations

from cervello.evaluation.diagnostics import RELIABLE, UNSUPPORTED, WEAK, Diagnostics, judge
from cervello.evaluation.estimators.cwpdis import ALIVE
from cervello.evaluation.intervals import Interval, IntervalOptions
from cervello.evaluation.intervals import interval as interval_of
from cervello.evaluation.moments import Moments
from cervello.evaluation.report import Estimate
from cervello.evaluation.values import Fit


def estimate(name: str, moments: Moments, diagnostics: Diagnostics | None, fit: Fit | None, fitted: bool, options: IntervalOptions,
             bounds: Interval | None, ragged: str) -> Estimate:
    """What an estimator says of a policy.

    Args:
      diagnostics: of the policy's weights, where it has some. fit: of its value function, where one was fitted.
      fitted: whether propensities are estimated. bounds: of a unit's value, for concentration bounds. ragged: of cwpdis.
    """
    found, kind = interval_of(moments, options, name, bounds)
    notes = moments.notes
    if name in ("fqe", "dm", "dr", "wdr", "magic") and fit is not None and not fit.converged:
        notes = (*notes, f"the value function has not converged: its last change was {fit.residuals[-1]:.3g}; give another q= or "
                 "gamma < 1")
    if moments.value is None:
        reason = moments.unsupported or "the estimate is no finite number; shorten the horizon"
        return Estimate(name, None, None, kind, UNSUPPORTED, reason, notes, moments, bounds)
    if name in ("dm", "fqe"):
        verdict, reason = WEAK, "a value function alone carries no sign of its error; compare with 'dr' or 'wdr'"
    elif name == "agreement":
        verdict, reason = RELIABLE, "a mean over logged steps; it is no value"
    elif name == "kis":
        verdict, reason = WEAK, "kernels trade bias for variance by the bandwidth, which no diagnostic measures; compare bandwidths"
    else:
        assert diagnostics is not None
        judged = judge(diagnostics)
        verdict, reason = judged.name, judged.reason
        if verdict == RELIABLE and ragged == ALIVE and name == "cwpdis":
            verdict, reason = WEAK, "alive-only estimates no mean return where lengths differ; take ragged='carry-forward'"
        if verdict == RELIABLE and fitted:
            verdict, reason = WEAK, "propensities are estimated, and their error is in no interval; log them when recording"
    if verdict == UNSUPPORTED:
        return Estimate(name, None, None, kind, verdict, reason, notes, moments, bounds)
    if found is None:
        notes = (*notes, "no interval: fewer than 3 episodes, or resamples without weight")
    return Estimate(name, moments.value, found, kind, verdict, reason, notes, moments, bounds)
