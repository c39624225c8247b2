"""Checks of the estimators on the user's machine: exact enumeration, and the coverage of intervals."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cervello.evaluation import estimators
from cervello.evaluation.coverage import FAMILIES, HEAVY, coverage, said_reliable
from cervello.evaluation.moments import Moments
from cervello.evaluation.table import Table
from cervello.spec import Array


@dataclass(frozen=True)
class Check:
    """One check: what was found, what was wanted, and whether they agree."""

    name: str
    found: str
    wanted: str
    passed: bool


def certify(progress: Callable[[int, int], None] | None = None, worlds: int = 20, runs: int = 1000) -> list[Check]:
    """Runs all checks.

    Args:
      progress: called with checks done and to do.
      worlds: decision processes drawn at random. runs: data sets per family of the coverage study.
    """
    jobs: list[Callable[[], Check]] = [lambda name=name: _unbiased(name, worlds) for name in ("is", "pdis", "dr")]  # type: ignore[misc]
    for kind, family, n in itertools.product(("bca", "student-t"), FAMILIES, (100, 1000)):
        jobs.append(lambda kind=kind, family=family, n=n: _covers(kind, family, n, runs, 0.93, 0.97))  # type: ignore[misc]
    for kind, family in itertools.product(("hoeffding", "empirical-bernstein"), FAMILIES):
        jobs.append(lambda kind=kind, family=family: _covers(kind, family, 100, runs, 0.95, 1.0))  # type: ignore[misc]
    for family, n in itertools.product(HEAVY, (100, 1000)):
        jobs.append(lambda family=family, n=n: _cautious(family, n, runs))  # type: ignore[misc]
    found = []
    for i, job in enumerate(jobs):
        found.append(job())
        if progress is not None:
            progress(i + 1, len(jobs))
    return found


def _unbiased(name: str, worlds: int) -> Check:
    """The largest bias over worlds of 3 states, 2 actions and 4 steps, of which every trajectory is enumerated."""
    estimator = {"is": estimators.importance_sampling, "pdis": estimators.pdis, "dr": estimators.dr}[name]
    worst = max(_bias(estimator, seed) for seed in range(worlds))
    return Check(f"{name}: bias by exact enumeration, {worlds} decision processes", f"{worst:.1e}", "≤ 1e-12", worst <= 1e-12)


def _bias(estimator: Callable[[Table], Moments], seed: int, S: int = 3, A: int = 2, T: int = 4, gamma: float = 0.9) -> float:
    rng = np.random.default_rng(seed)
    start, P, reward = rng.dirichlet(np.ones(S)), rng.dirichlet(np.ones(S), (S, A)), rng.normal(size=(S, A))
    pi, b, q = rng.dirichlet(np.ones(A), S), 0.8 * rng.dirichlet(np.ones(A), S) + 0.2 / A, rng.normal(size=(S, A))
    v: Array = np.zeros(S)
    for _ in range(T):
        v = (pi * (reward + gamma * P @ v)).sum(1)
    paths = np.array(list(itertools.product(range(S), repeat=T)))
    choices = np.array(list(itertools.product(range(A), repeat=T)))
    s, a = np.repeat(paths, len(choices), 0), np.tile(choices, (len(paths), 1))
    odds = start[s[:, 0]] * b[s, a].prod(1) * P[s[:, :-1], a[:, :-1], s[:, 1:]].prod(1)
    values = np.concatenate([(pi * q).sum(1)[s], np.zeros((len(s), 1))], 1)
    table = Table(np.log(pi[s, a] / b[s, a]), reward[s, a], np.full(len(s), T), gamma, q=q[s, a], v=values)
    columns = estimator(table).columns
    assert isinstance(columns, np.ndarray)
    return abs(float(odds @ columns[:, 0]) - float(start @ v))


def _covers(kind: str, family: str, n: int, runs: int, low: float, high: float) -> Check:
    share = coverage(kind, family, n, runs)
    slack = 3 * float(np.sqrt(0.95 * 0.05 / runs)) if runs < 5000 else 0.0  # a short study has an error of its own
    wanted = f"{low:.0%} to {high:.0%}" + (f" ± {slack:.1%}" if slack else "")
    return Check(f"{kind}: coverage of 95% intervals, {family}, n = {n:,}", f"{share:.1%}", wanted, low - slack <= share <= high + slack)


def _cautious(family: str, n: int, runs: int) -> Check:
    share = said_reliable(family, n, runs)
    return Check(f"heavy tails called reliable, {family}, n = {n:,}", f"{share:.1%}", "< 5%", share < 0.05)


def table(checks: Sequence[Check]) -> str:
    """The checks as a Markdown table."""
    rows = ["| check | found | wanted | |", "|---|---:|---:|---|"]
    return "\n".join([*rows, *(f"| {c.name} | {c.found} | {c.wanted} | {'ok' if c.passed else 'FAILED'} |" for c in checks)]) + "\n"
