"""`evaluate`: from logged episodes and candidate policies to a report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.errors import ConfigurationError, InputError, did_you_mean
from cervello.evaluation.behavior import Behavior
from cervello.evaluation.blocks import AGENT, JOINT, Blocks
from cervello.evaluation.candidates import Candidate
from cervello.evaluation.chunk import Needs
from cervello.evaluation.diagnostics import Diagnostics, diagnose
from cervello.evaluation.estimators import check_ends
from cervello.evaluation.estimators.cwpdis import ALIVE, CARRY
from cervello.evaluation.estimators.kis import check_kernel
from cervello.evaluation.intervals import IntervalOptions, check_kind, prepare, value_bounds
from cervello.evaluation.layout import alike
from cervello.evaluation.logged import enumerated, open_dataset
from cervello.evaluation.make_estimate import make_estimate
from cervello.evaluation.moments import Moments
from cervello.evaluation.on_ray import score_on_ray
from cervello.evaluation.registry import INFOS, EstimatorInfo, EstimatorInputs, names_where
from cervello.evaluation.report import PolicyReport, Report
from cervello.evaluation.scored import Scored
from cervello.evaluation.scoring import Progress, score
from cervello.evaluation.table import AnyTable
from cervello.evaluation.values import Fit, LinearQ, fitted_values, given_values, room_bytes
from cervello.heads import Head
from cervello.native.execution.counts import thread_count
from cervello.spec import Array
from cervello.statistics.arguments import is_integer, is_number

ESTIMATORS = tuple(INFOS)
"""Names of all estimators, as `evaluate` takes them; docs/evaluation.md says what each is."""


def evaluate(dataset: Any, policies: Any, *, head: Head | Mapping[str, Head] | None = None, behavior: Any = "logged",
             estimators: Sequence[str] = ("pdis", "wis", "cwpdis"), gamma: float = 1.0, horizon: int | None = None,
             interval: str = "default", level: float = 0.95, resamples: int = 1999, seed: int = 0,
             reward_range: tuple[float, float] | None = None, max_weight: float | None = None, q: Any = None, ragged: str = CARRY,
             bandwidth: float | None = None, kernel: str = "gaussian", weights: str = AGENT, ray: int | None = None,
             progress: Progress | None = None, memory_bytes: int = 4 << 30, threads: int = 1) -> Report:
    """Estimates the value of policies from logged episodes.

    Args:
      dataset: "minari:ID", a recording's path, a Minari dataset's folder, a `cervello.recording` recording, or an iterable of episodes
        (`cervello.recording.Episode` or Minari's `EpisodeData`), or a function without arguments that gives them. It is read once;
        observations are held only while they are run. Some numbers per step go to a temporary file where they are many.
      policies: {name: path or Policy}, a list of paths, or one of them.
      head: the distribution of actions that the policies' outputs describe, for all or by name; None for the one of the policy's `Sample`.
      behavior: "logged" propensities, a `fit_behavior`, or the policy (path or Policy, with `head`) that logged the data.
      estimators: names among `ESTIMATORS`.
      gamma: discount; γ⁰ multiplies the first reward.
      horizon: steps after which episodes are cut.
      interval: "default" (BCa below 1,000 units, Student's t from there), "bca", "percentile", "calibrated", "student-t", "hoeffding",
        "empirical-bernstein". level, resamples, seed: of it.
      reward_range: (low, high) of a step's reward, checked. max_weight: bound of the products of ratios, checked by
        the concentration bounds, which are for is and pdis with weights="agent".
      q: for estimators with a value function: a callable q(observations, actions) ▸ [N] or a regressor of scikit-learn; None for a
        quadratic one of this library.
      ragged: "carry-forward" or "alive-only", of cwpdis.
      bandwidth, kernel: of kis; None is 1.06 σ n^(−1 / (4 + d)) for each of d elements, n episodes.
      weights: "agent": of several agents this one alone plays the candidate; "joint": all do, and a match has a step for each tick at
        which some agent decided.
      ray: run the policies by so many actors on Ray Data, with equal results; None runs them in this process.
      progress: called with the number of episodes that are done.
      memory_bytes: about how much memory the fit of value functions may take. They are fitted to all data at once; all else takes memory
        for a bounded number of episodes, and a few numbers for each.
      threads: that policies and `mis` may use in this process; numbers do not depend on them. With `ray`, each actor's policies have one.
    Raises:
      InputError: data that do not fit; the message names episode, step and column. ConfigurationError: options that do not.
    """
    wanted = _names(estimators)
    options = IntervalOptions(interval, level, resamples, seed, reward_range, max_weight)
    _check(gamma, horizon, weights, wanted, options, ragged)
    gamma, horizon = float(gamma), None if horizon is None else int(horizon)  # numbers of numpy are no JSON
    check_kernel(kernel, bandwidth)
    _check_resources(memory_bytes, progress)
    if ray is not None and (not is_integer(ray) or ray < 1):
        raise ConfigurationError(f"evaluation, ray: expected a number of workers from 1, or None, got {ray!r}")
    threads = thread_count("evaluation, threads", threads)
    source = open_dataset(dataset)
    candidates = _candidates(policies, head, threads if ray is None else 1)  # each policy gets its share of them
    by = _behavior(behavior, head)
    infos = [INFOS[name] for name in wanted]
    needs = _needs(infos, _is_function(q), candidates, weights)
    scored = Scored(len(candidates), needs)
    found = alike(enumerated(source, next((each.space for each in candidates if each.space is not None), None)))
    job = (found, candidates, by, needs, horizon, reward_range, _bounds(source), progress)
    asked = q if needs.trees and not needs.held else None
    for data, scores in score(*job, threads) if ray is None else score_on_ray(*job, int(ray)):
        scored.add(data, scores, list(given_values(asked, candidates, scores, data)) if asked is not None else [])
        if needs.held:
            _check_room(scored, candidates, q, memory_bytes)
    scored.check(by)
    for info in infos:
        if info.continues:
            scored.check_final_observations(info.name)
    fits: list[Fit | None] = _fit(q, candidates, scored, gamma, horizon) if needs.held else [None] * len(candidates)
    blocks = Blocks(scored, gamma, weights)
    if any("features" in info.needs for info in infos):
        check_ends(gamma, scored.truncated)

    def inputs(table: AnyTable, k: int) -> EstimatorInputs:
        closeness = blocks.by_unit(scored.closeness(k)) if needs.matches else np.zeros(0)
        return EstimatorInputs(table, blocks, k, closeness, scored.n, scored.discrete, ragged, seed, bandwidth, kernel)

    moments, diagnostics, bounds = _judged(scored, blocks, infos, inputs, options, horizon, threads)
    prepare([each for own in moments for each in own.values()], options)
    reports, fitted = {}, isinstance(by, Behavior)
    for k, (candidate, fit) in enumerate(zip(candidates, fits, strict=True)):
        estimates = {info.name: make_estimate(info, moments[k][info.name], diagnostics[k], fit, fitted, options, bounds[k], ragged)
                     for info in infos}
        reports[candidate.name] = PolicyReport(candidate.name, candidate.path, estimates, diagnostics[k], None if fit is None else {
            "rounds": len(fit.residuals), "converged": fit.converged, "residuals": list(fit.residuals)})
    propensities = "fitted" if fitted else "of a policy" if by is not None else "logged" if needs.propensities else "not used"
    return Report(reports, wanted, scored.n, int(scored.length.sum()), scored.n_units, gamma, horizon, options, propensities,
                  _notes(scored, infos, by, weights, len(candidates)))


def _judged(scored: Scored, blocks: Blocks, infos: Sequence[EstimatorInfo], inputs: Callable[[AnyTable, int], EstimatorInputs],
            options: IntervalOptions, horizon: int | None, threads: int,
            ) -> tuple[list[dict[str, Moments]], list[Diagnostics | None], list[tuple[float, float] | None]]:
    """Of each candidate: its estimates by name, what its weights say, and the bounds of a unit's value for concentration bounds.

    Args:
      inputs: (table, number of the candidate) ▸ what estimators take of it.
    """
    def judged_by(k: int) -> tuple[dict[str, Moments], Diagnostics | None, tuple[float, float] | None]:
        table = tables[k]
        diagnostics = diagnose(table, scored.violations[k], scored.ties[k], scored.deterministic[k]) if scored.needs.ratios else None
        bounds = value_bounds(table, options, horizon) if options.kind in ("hoeffding", "empirical-bernstein") else None
        its = inputs(table, k)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite has no estimate
            return {info.name: info.function(its) for info in infos if info.function is not None}, diagnostics, bounds

    with ThreadPoolExecutor(threads, "cervello-evaluation") as pool:
        tables = list(pool.map(blocks.table, range(len(scored.ties))))
        running = [pool.submit(judged_by, k) for k in range(len(tables))]
        together = {info.name: info.function_of_all(tables, blocks, threads, pool) for info in infos if info.function_of_all is not None}
        judged = [each.result() for each in running]
    moments = [{**own, **{name: found[k] for name, found in together.items()}} for k, (own, *_) in enumerate(judged)]
    return moments, [diagnostics for _, diagnostics, _ in judged], [bounds for *_, bounds in judged]


def _needs(infos: Sequence[EstimatorInfo], given: bool, candidates: Sequence[Candidate], weights: str) -> Needs:
    """What the pass over the data has to keep.

    Args:
      given: whether the value function is the user's own, so that nothing is fitted.
    """
    asked = frozenset[str]().union(*(info.needs for info in infos))
    valued = "values" in asked
    return Needs(propensities="propensities" in asked, ratios="ratios" in asked, modes="modes" in asked, matches="matches" in asked,
                 values=valued, trees=valued and given, features="features" in asked or (valued and not given),
                 held=valued and not (given and all(each.n_actions is not None for each in candidates)), ticks=weights == JOINT)


def _check_room(scored: Scored, candidates: Sequence[Candidate], q: Any, memory_bytes: int) -> None:
    """Raises InputError where the data are too many for value functions that take all of them at once."""
    width = scored.data.features[0].shape[1] if scored.data.features else 0
    room = max(room_bytes(scored.n_rows, scored.held_bytes, width, each, q) for each in candidates)
    if room > memory_bytes:
        raise InputError(f"evaluation, memory_bytes: expected data whose value functions take at most {memory_bytes:,} bytes, got about "
                         f"{room:,} after {scored.n} episodes; evaluate fewer episodes, give a larger memory_bytes=, or for discrete "
                         "actions q= a function, which is asked for some episodes at a time")


def _fit(q: Any, candidates: Sequence[Candidate], scored: Scored, gamma: float, horizon: int | None) -> list[Fit | None]:
    """Adds the candidates' value functions to what was scored."""
    if _is_function(q):
        for k, values in enumerate(given_values(q, candidates, scored.scores, scored.data)):
            scored.add_values(k, values)
        return [None] * len(candidates)
    fits: list[Fit | None] = []
    for k, candidate in enumerate(candidates):
        values, fit = fitted_values(LinearQ() if q is None else q, candidate, scored.scores[k], scored.data, gamma, horizon)
        scored.add_values(k, values)
        fits.append(fit)
    return fits


def _notes(scored: Scored, infos: Sequence[EstimatorInfo], by: Behavior | Candidate | None, weights: str,
           n_policies: int) -> tuple[str, ...]:
    notes = []
    n_steps = int(scored.length.sum())
    if scored.n_certain == n_steps:
        notes.append(f"all {n_steps:,} steps were taken deterministically, so this log has no exploration; record with actions that are "
                     "drawn: cervello play --action with the output that holds the logits (spaces=Spaces(env, action=…)), and no "
                     "--deterministic (deterministic=True)")
    if isinstance(by, Behavior):
        notes.append(f"propensities are estimated (cross-fitted, {by.folds} folds); {by.n_floored} logged actions are at the floor")
    go_on = [info.name for info in infos if info.continues]
    ends = [info.name for info in infos if info.continues is False]
    if (cut := int(scored.truncated.sum())) and go_on and ends:
        notes.append(f"{cut} episodes are truncated before the horizon: {', '.join(go_on)} estimate the return that goes on after them, "
                     f"{', '.join(ends)} the return up to there: different quantities")
    if scored.unit is not None and weights == AGENT:
        notes.append(f"several agents share a match: {scored.n_units} matches are what is resampled and counted")
    if n_policies > 1:
        notes.append("the best of several estimates is too high on average; `best` uses intervals that hold for all at once (Bonferroni)")
    return tuple(notes)


# Options ------------------------------------------------------------------------------------------------------------------


def _names(estimators: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(estimators, Iterable):
        raise ConfigurationError(f"evaluation, estimators: expected names among {list(INFOS)}, got {estimators!r}")
    names = (estimators,) if isinstance(estimators, str) else tuple(dict.fromkeys(estimators))
    for name in names:
        if name not in INFOS:
            raise ConfigurationError(f"evaluation, estimators: expected some of {list(INFOS)}, got {name!r}{did_you_mean(name, INFOS)}")
    if not names:
        raise ConfigurationError("evaluation, estimators: expected at least one, got none; take 'pdis'")
    return names


def _check(gamma: float, horizon: int | None, weights: str, wanted: tuple[str, ...], options: IntervalOptions, ragged: str) -> None:
    if not is_number(gamma) or not 0 <= gamma <= 1:
        raise ConfigurationError(f"evaluation, gamma: expected 0 ≤ gamma ≤ 1, got {gamma!r}")
    if horizon is not None and (not is_integer(horizon) or horizon < 1):
        raise ConfigurationError(f"evaluation, horizon: expected a number of steps from 1, got {horizon!r}")
    if ragged not in (CARRY, ALIVE):
        raise ConfigurationError(f"evaluation, ragged: expected {CARRY!r} or {ALIVE!r}, got {ragged!r}")
    if weights not in (AGENT, JOINT):
        raise ConfigurationError(f"evaluation, weights: expected {AGENT!r} or {JOINT!r}, got {weights!r}")
    if weights == JOINT and (other := [name for name in wanted if not INFOS[name].joint]):
        raise ConfigurationError(f"evaluation, weights='joint': expected estimators among {names_where(lambda info: info.joint)}, got "
                                 f"{other}; take weights='agent' for them")
    for name in wanted:
        check_kind(options.kind, name)
    if options.kind in ("hoeffding", "empirical-bernstein") and weights == JOINT:
        raise ConfigurationError(f"evaluation, interval={options.kind!r}: expected weights='agent', got 'joint': reward_range= is of one "
                                 "agent, and a match may have any number; take interval='bca'")


def _check_resources(memory_bytes: Any, progress: Any) -> None:
    if not is_integer(memory_bytes) or memory_bytes < 1:
        raise ConfigurationError(f"evaluation, memory_bytes: expected a number of bytes from 1, got {memory_bytes!r}; 4 << 30 is usual")
    if progress is not None and not callable(progress):
        raise ConfigurationError(f"evaluation, progress: expected a function of the number of episodes, or None, got {progress!r}")


def _candidates(policies: Any, head: Head | Mapping[str, Head] | None, threads: int) -> list[Candidate]:
    if isinstance(policies, Mapping):
        named = dict(policies)
    elif isinstance(policies, Sequence) and not isinstance(policies, str):
        named = {}
        for each in policies:
            name = each.name if isinstance(each, Policy) else os.fspath(each) if isinstance(each, os.PathLike) else str(each)
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
    return [Candidate(str(name), given, heads.get(name), max(1, threads // len(named)))
            for name, given in named.items()]


def _behavior(behavior: Any, head: Any) -> Behavior | Candidate | None:
    if isinstance(behavior, str) and behavior == "logged":
        return None
    if isinstance(behavior, Behavior):
        return behavior
    if isinstance(behavior, Policy) or (isinstance(behavior, str | os.PathLike) and Path(behavior).exists()):
        return Candidate("behavior", behavior, head if isinstance(head, Head) else None)
    raise ConfigurationError(f"evaluation, behavior: expected 'logged', a fit_behavior, or the policy that logged the data or its file, "
                             f"got {behavior!r:.80}; propensities are never guessed: log them, or fit them with behavior=evaluation."
                             "fit_behavior(dataset, LogisticRegression()), on the command line --behavior fit")


def _is_function(q: Any) -> bool:
    """Whether a value function is given, and not a regressor to fit."""
    return q is not None and callable(q) and not hasattr(q, "fit")


def _bounds(source: Any) -> tuple[Array, Array] | None:
    """Of a bounded Box of actions."""
    space: Any = getattr(source, "action_space", None)
    return (space.low, space.high) if hasattr(space, "low") and hasattr(space, "high") else None
