"""`evaluate`: from logged episodes and candidate policies to a report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.errors import ConfigurationError
from cervello.evaluation import estimators as library
from cervello.evaluation.behavior import Behavior
from cervello.evaluation.candidates import Candidate
from cervello.evaluation.diagnostics import RELIABLE, UNSUPPORTED, WEAK, Diagnostics, diagnose, judge
from cervello.evaluation.estimators.cwpdis import ALIVE, CARRY
from cervello.evaluation.intervals import BOUNDED, Interval, IntervalOptions, prepare, value_bounds
from cervello.evaluation.intervals import interval as interval_of
from cervello.evaluation.layout import alike
from cervello.evaluation.logged import enumerated, open_dataset
from cervello.evaluation.moments import Moments
from cervello.evaluation.on_ray import score_on_ray
from cervello.evaluation.report import Estimate, PolicyReport, Report
from cervello.evaluation.scoring import Data, Needs, Progress, Scores, check_all, score
from cervello.evaluation.table import Table, padded
from cervello.evaluation.tables import AGENT, JOINT, build, check_final_observations, with_values
from cervello.evaluation.values import LinearQ, Values, fitted_values, given_values
from cervello.heads import Head
from cervello.spec import Array

ESTIMATORS = ("is", "pdis", "wis", "cwpdis", "fqe", "dm", "dr", "wdr", "magic", "mis", "kis", "agreement")
"""Names of all estimators, as `evaluate` takes them; docs/evaluation.md says what each is."""
WEIGHTED = ("is", "pdis", "wis", "cwpdis", "dr", "wdr", "magic", "mis")  # by ratios of probabilities
BY_VALUES = ("fqe", "dm", "dr", "wdr", "magic")
BOOTSTRAPPED = ("dr", "wdr", "magic", "fqe", "dm", "mis")  # go on after a truncation
_ENDING = ("is", "pdis", "wis", "cwpdis", "kis")


def evaluate(dataset: Any, policies: Any, *, head: Head | Mapping[str, Head] | None = None, behavior: Any = "logged",
             estimators: Sequence[str] = ("pdis", "wis", "cwpdis"), gamma: float = 1.0, horizon: int | None = None,
             interval: str = "default", level: float = 0.95, resamples: int = 1999, seed: int = 0,
             reward_range: tuple[float, float] | None = None, max_weight: float | None = None, q: Any = None, ragged: str = CARRY,
             bandwidth: float | None = None, kernel: str = "gaussian", weights: str = AGENT, ray: int | None = None,
             progress: Progress | None = None) -> Report:
    """Estimates the value of policies from logged episodes.

    Args:
      dataset: "minari:ID", a recording's path, a Minari dataset's folder, a `cervello.recording` recording, or an iterable of episodes
        (`cervello.recording.Episode` or Minari's `EpisodeData`). It is read once; observations are held only while they are run, and
        altogether for estimators that fit a value function or visits.
      policies: {name: path or Policy}, a list of paths, or one of them.
      head: the distribution of actions that the policies' outputs describe, for all or by name; None for the one of the policy's `Sample`.
      behavior: "logged" propensities, a `fit_behavior`, or the policy (path or Policy, with `head`) that logged the data.
      estimators: of is, pdis, wis, cwpdis, fqe, dm, dr, wdr, magic, mis, kis, agreement.
      gamma: discount; γ⁰ multiplies the first reward.
      horizon: steps after which episodes are cut.
      interval: "default" (BCa below 1,000 units, Student's t from there), "bca", "percentile", "calibrated", "student-t", "hoeffding",
        "empirical-bernstein". level, resamples, seed: of it.
      reward_range: (low, high) of a step's reward, checked. max_weight: bound of the products of ratios, checked by
        the concentration bounds.
      q: for estimators with a value function: a callable q(observations, actions) ▸ [N] or a regressor of scikit-learn; None for a
        quadratic one of this library.
      ragged: "carry-forward" or "alive-only", of cwpdis.
      bandwidth, kernel: of kis.
      weights: "agent": of several agents this one alone plays the candidate; "joint": all do.
      ray: run the policies by so many actors on Ray Data, with equal results; None runs them in this process.
      progress: called with the number of episodes that are done.
    Raises:
      InputError: data that do not fit; the message names episode, step and column. ConfigurationError: options that do not.
    """
    wanted = _names(estimators)
    options = IntervalOptions(interval, level, resamples, seed, reward_range, max_weight)
    _check(gamma, horizon, weights, wanted, options, ragged)
    if ray is not None and (isinstance(ray, bool) or not isinstance(ray, int) or ray < 1):
        raise ConfigurationError(f"evaluation, ray: expected a number of workers from 1, or None, got {ray!r}")
    source = open_dataset(dataset)
    candidates = _candidates(policies, head)
    by = _behavior(behavior, head)
    needs = Needs(propensities=any(name in WEIGHTED or name == "kis" for name in wanted),
                  ratios=any(name in WEIGHTED for name in wanted), modes="kis" in wanted,
                  matches="agreement" in wanted, values=any(name in BY_VALUES for name in wanted),
                  states=any(name in BY_VALUES or name == "mis" for name in wanted))
    found = alike(enumerated(source, next((each.space for each in candidates if each.space is not None), None)))
    job = (found, candidates, by, needs, horizon, reward_range, _bounds(source), progress)
    data, scores = score(*job) if ray is None else score_on_ray(*job, ray)
    check_all(data, by)
    for name in wanted:
        if name in BOOTSTRAPPED:
            check_final_observations(data, name)
    tables = [build(data, its, gamma, weights) for its in scores]
    visits: Iterable[Array | None] = repeat(None)
    if "mis" in wanted:
        visits = library.visit_ratios(np.concatenate(data.features), library.Flow.of(tables))
    fitted = isinstance(by, Behavior)
    judged = []
    for candidate, its, table, its_visits in zip(candidates, scores, tables, visits, strict=False):
        values = _values(q, candidate, its, data, gamma, horizon) if needs.values else None
        if values is not None:
            table = with_values(table, data, values)
        diagnostics = diagnose(table, its.violations, its.ties, its.deterministic) if needs.ratios else None
        bounds = value_bounds(table, options, horizon) if options.kind in ("hoeffding", "empirical-bernstein") else None
        moments = {name: _moments(name, table, data, its, ragged, bandwidth, kernel, seed, its_visits) for name in wanted}
        judged.append((candidate, moments, diagnostics, None if values is None else replace(values, q=[], v=[]), bounds))  # small
    prepare([each for _, moments, *_ in judged for each in moments.values()], options)
    reports = {}
    for candidate, moments, diagnostics, values, bounds in judged:
        estimates = {name: _estimate(name, each, diagnostics, values, fitted, options, bounds, ragged) for name, each in moments.items()}
        fit = None if values is None or values.converged is None else {
            "rounds": len(values.residuals), "converged": values.converged, "residuals": list(values.residuals)}
        reports[candidate.name] = PolicyReport(candidate.name, candidate.path, estimates, diagnostics, fit)
    propensities = "fitted" if fitted else "of a policy" if by is not None else "logged" if needs.propensities else "not used"
    return Report(reports, wanted, data.n, sum(map(len, data.rewards)), table.n_units, gamma, horizon, options, propensities,
                  _notes(data, wanted, by, table, len(candidates), its))


# Options ------------------------------------------------------------------------------------------------------------------


def _names(estimators: Sequence[str]) -> tuple[str, ...]:
    names = (estimators,) if isinstance(estimators, str) else tuple(dict.fromkeys(estimators))
    for name in names:
        if name not in ESTIMATORS:
            raise ConfigurationError(f"evaluation, estimators: expected some of {list(ESTIMATORS)}, got {name!r}")
    if not names:
        raise ConfigurationError("evaluation, estimators: expected at least one, got none; take 'pdis'")
    return names


def _check(gamma: float, horizon: int | None, weights: str, wanted: tuple[str, ...], options: IntervalOptions, ragged: str) -> None:
    if not 0 <= gamma <= 1:
        raise ConfigurationError(f"evaluation, gamma: expected 0 ≤ gamma ≤ 1, got {gamma!r}")
    if horizon is not None and (isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1):
        raise ConfigurationError(f"evaluation, horizon: expected a number of steps from 1, got {horizon!r}")
    if ragged not in (CARRY, ALIVE):
        raise ConfigurationError(f"evaluation, ragged: expected {CARRY!r} or {ALIVE!r}, got {ragged!r}")
    if weights not in (AGENT, JOINT):
        raise ConfigurationError(f"evaluation, weights: expected {AGENT!r} or {JOINT!r}, got {weights!r}")
    if weights == JOINT and (other := [name for name in wanted if name not in ("is", "pdis", "wis", "cwpdis")]):
        raise ConfigurationError(f"evaluation, weights='joint': expected estimators among is, pdis, wis and cwpdis, got {other}; take "
                                 "weights='agent' for them")
    if options.kind in ("hoeffding", "empirical-bernstein") and (other := [name for name in wanted if name not in BOUNDED]):
        raise ConfigurationError(f"evaluation, interval={options.kind!r}: expected estimators among {list(BOUNDED)}, got {other}; take "
                                 "interval='bca' for them")


def _candidates(policies: Any, head: Head | Mapping[str, Head] | None) -> list[Candidate]:
    if isinstance(policies, Mapping):
        named = dict(policies)
    elif isinstance(policies, Sequence) and not isinstance(policies, str):
        named = {}
        for each in policies:
            name = each.name if isinstance(each, Policy) else os.fspath(each)
            if name in named:
                raise ConfigurationError(f"evaluation, policies: expected different names, got {name!r} twice; give {{name: policy}}")
            named[name] = each
    else:
        named = {policies.name if isinstance(policies, Policy) else str(policies): policies}
    if not named:
        raise ConfigurationError("evaluation, policies: expected at least one, got none")
    heads = head if isinstance(head, Mapping) else dict.fromkeys(named, head)
    for name, each in heads.items():
        if name not in named:
            raise ConfigurationError(f"evaluation, head: expected policies among {list(named)}, got {name!r}")
        if each is not None and not isinstance(each, Head):
            raise ConfigurationError(f"evaluation, head: expected one of cervello.heads, got {each!r}")
    return [Candidate(str(name), given, heads.get(name)) for name, given in named.items()]


def _behavior(behavior: Any, head: Any) -> Behavior | Candidate | None:
    if isinstance(behavior, str) and behavior == "logged":
        return None
    if isinstance(behavior, Behavior):
        return behavior
    if isinstance(behavior, Policy | str | os.PathLike):
        return Candidate("behavior", behavior, head if isinstance(head, Head) else None)
    raise ConfigurationError(f"evaluation, behavior: expected 'logged', a fit_behavior, a path or a Policy, got {behavior!r:.80}; "
                             "propensities are never guessed")


def _bounds(source: Any) -> tuple[Array, Array] | None:
    """Of a bounded Box of actions."""
    space: Any = getattr(source, "action_space", None)
    return (space.low, space.high) if hasattr(space, "low") and hasattr(space, "high") else None


# Estimates ----------------------------------------------------------------------------------------------------------------


def _values(q: Any, candidate: Candidate, its: Scores, data: Data, gamma: float, horizon: int | None) -> Values:
    if q is not None and callable(q) and not hasattr(q, "fit"):
        return given_values(q, candidate, its, data)
    return fitted_values(LinearQ() if q is None else q, candidate, its, data, gamma, horizon)


def _moments(name: str, table: Table, data: Data, its: Scores, ragged: str, bandwidth: float | None, kernel: str, seed: int,
             visits: Array | None) -> Moments:
    plain: dict[str, Callable[[Table], Moments]] = {
        "is": library.importance_sampling, "pdis": library.pdis, "wis": library.wis, "dm": library.dm, "fqe": library.dm, "dr": library.dr,
        "wdr": library.wdr}
    if name in plain:
        return plain[name](table)
    if name == "cwpdis":
        return library.cwpdis(table, ragged)
    if name == "magic":
        return library.magic(table, seed)
    if name == "agreement":
        return library.agreement(table, padded(its.matches, table.n_steps))
    if name == "kis":
        if data.discrete:
            raise ConfigurationError("evaluation, kis: expected continuous actions, got discrete ones; take 'pdis' or 'cwpdis'")
        taken, own = (np.concatenate([each.reshape(len(each), -1) for each in rows]).astype(np.float64)
                      for rows in (data.sampled, its.modes))
        return library.kis(table, taken, own, np.concatenate(data.logp), bandwidth, kernel)
    assert visits is not None
    return library.mis(table, visits)


def _estimate(name: str, moments: Moments, diagnostics: Diagnostics | None, values: Values | None, fitted: bool, options: IntervalOptions,
              bounds: Interval | None, ragged: str) -> Estimate:
    found, kind = interval_of(moments, options, name, bounds)
    notes = moments.notes
    if name in ("fqe", "dm", "dr", "wdr", "magic") and values is not None and values.converged is False:
        notes = (*notes, f"the value function has not converged: its last change was {values.residuals[-1]:.3g}; give another q= or "
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


def _notes(data: Data, wanted: tuple[str, ...], by: Behavior | Candidate | None, table: Table, n_policies: int, its: Scores,
           ) -> tuple[str, ...]:
    notes = []
    if isinstance(by, Behavior):
        notes.append(f"propensities are estimated (cross-fitted, {by.folds} folds); {by.n_floored} logged actions are at the floor")
    if table.bootstraps and any(name in BOOTSTRAPPED for name in wanted) and any(name in _ENDING for name in wanted):
        notes.append(f"{sum(data.truncated)} episodes are truncated before the horizon: dr, wdr, magic, dm, fqe and mis estimate the "
                     "return that goes on after them, the others the return up to there: different quantities")
    if table.unit is not None:
        notes.append(f"several agents share a match: {table.n_units} matches are what is resampled and counted")
    if n_policies > 1:
        notes.append("the best of several estimates is too high on average; `best` uses intervals that hold for all at once (Bonferroni)")
    return tuple(notes)

