"""`mis`: marginalised importance sampling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cervello.errors import ConfigurationError
from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import Table
from cervello.spec import Array

_MOST_STATES, _CENTRES = 512, 100
_BLOCK = 1024  # rows of kernels at a time: they stay in the cache, and memory does not grow with the data


@dataclass(frozen=True, eq=False)
class Flow:
    """What visits flow by, for all logged observations, those after the last step of an episode included.

    Attributes:
      discount: [rows] γᵗ. start: [rows] 1 where an episode begins, else 0. onward: [K, rows] γᵗ γ ρₜ of each candidate, 0 where nothing
        follows. All are 0 where no step was taken.
    """

    discount: Array
    start: Array
    onward: Array

    @classmethod
    def of(cls, tables: Sequence[Table]) -> Flow:
        """Of candidates' tables, whose episodes lie in the order of the observations.

        Raises:
          ConfigurationError: γ = 1 with truncated episodes.
        """
        table = tables[0]  # they differ in ratios alone
        if table.gamma == 1 and table.bootstraps:
            assert table.truncated is not None
            raise ConfigurationError(f"evaluation, mis: expected γ < 1 or episodes that end, got γ = 1 and episode "
                                     f"{int(np.argmax(table.truncated))} truncated; give gamma= or horizon=, or leave mis out")
        episode, step = np.nonzero(table.alive)
        rows = _rows(episode)
        discount, start = np.zeros(len(rows) + table.n), np.zeros(len(rows) + table.n)
        onward = np.zeros((len(tables), len(rows) + table.n))
        last = step == table.length[episode] - 1
        goes_on = ~last if table.truncated is None else ~last | table.truncated[episode]
        discount[rows], start[rows] = table.discount[step], step == 0
        with np.errstate(over="ignore"):
            for k, each in enumerate(tables):
                onward[k, rows] = discount[rows] * (table.gamma * np.exp(each.log_ratio[table.alive]) * goes_on)
        return cls(discount, start, onward)


def visit_ratios(observations: Array, flow: Flow) -> Iterator[Array]:
    """w for each candidate, [rows]: the ratio of discounted visits under the candidate to those under the behaviour.

    w solves the flow of discounted visits, for features φ: Σ γᵗ w(sₜ) (φ(sₜ) − γ ρₜ φ(sₜ₊₁)) = Σ φ(s₀), where nothing follows an
    episode's end. Features are indicators where observations are integers or one-hot and few; else w = 1 + Σ α k with Gaussian kernels
    (median distance) around at most 100 logged states, ridge 1e-3 n.

    Args:
      observations: [rows, d], T + 1 of each episode, episode by episode.
    """
    states = np.asarray(observations, np.float64) + 0.0  # no −0, whose bytes differ
    taken = flow.discount > 0
    read = taken.copy()
    read[1:] |= (flow.onward[:, :-1] > 0).any(0)
    states[~read] = 0.0  # after an episode's end anything may stand
    distinct = discrete_states(states[taken])
    return _by_indicators(_places(states, distinct), len(distinct), flow) if distinct is not None else _by_kernels(states, taken, flow)


def _rows(episode: Array) -> Array:
    """Rows of steps among all observations: each episode before has one observation more than steps."""
    return np.arange(len(episode)) + episode


def mis(table: Table, ratio_of_visits: Array) -> Moments:
    """Σᵢₜ γᵗ w(sᵢₜ) ρᵢₜ rᵢₜ / n, with ρ the ratio of the step alone and w of `visit_ratios`. Returns, not average rewards.

    Source: Q. Liu, L. Li, Z. Tang, D. Zhou, "Breaking the curse of horizon: infinite-horizon off-policy estimation", NeurIPS 2018.
    """
    episode, step = np.nonzero(table.alive)
    with np.errstate(over="ignore"):
        ratio = np.exp(table.log_ratio[table.alive])
    paid = table.discount[step] * ratio_of_visits[_rows(episode)] * ratio * table.reward[table.alive]
    return replace(mean_of(table.by_unit(np.bincount(episode, paid, table.n)), table.counts), influence=None,
                   notes=("the fit of visits is kept in resamples; intervals are by the bootstrap",))


def _by_indicators(places: Array, F: int, flow: Flow) -> Iterator[Array]:
    """places: [rows] which feature is 1, −1 for none."""
    here, there, discount = places[:-1], places[1:], flow.discount[:-1]
    at, begun = (discount != 0) & (here >= 0), (flow.start > 0) & (places >= 0)
    visited, start = np.bincount(here[at], discount[at], F), np.bincount(places[begun], minlength=F).astype(np.float64)
    for onward in flow.onward[:, :-1]:
        on = (onward != 0) & (here >= 0) & (there >= 0)
        flowing = np.diag(visited) - np.bincount(there[on] * F + here[on], onward[on], F * F).reshape(F, F)  # [feature, unknown]
        yield np.where(places >= 0, np.linalg.lstsq(flowing, start, rcond=None)[0][places], 0.0)


def _by_kernels(states: Array, taken: Array, flow: Flow) -> Iterator[Array]:
    logged = np.flatnonzero(taken)
    centres = states[logged[np.unique(np.linspace(0, len(logged) - 1, _CENTRES).round().astype(np.int64))]]
    gaps = _squares(centres, centres)[np.triu_indices(len(centres), 1)]
    gaps = gaps[gaps > 1e-12 * (centres**2).sum(1).max()]  # below is rounding: the same state
    width = float(np.median(gaps)) if len(gaps) else 1.0

    def kernels(rows: slice) -> Array:
        return np.asarray(np.exp(_squares(states[rows], centres) / (-2 * width)))

    F, K = len(centres), len(flow.onward)
    gram, moved = np.zeros((F, F)), np.zeros((F, K * F))  # Σ γᵗ φ(sₜ) k(sₜ)ᵀ, the same for all; Σ γᵗ γ ρₜ φ(sₜ₊₁) k(sₜ)ᵀ of each
    rest = np.zeros((F, K))  # Σ φ(s₀) less what w = 1 makes of the flow
    for first in range(0, len(states) - 1, _BLOCK):
        block = kernels(slice(first, first + _BLOCK + 1))
        here, there = block[:-1], block[1:]
        rows = slice(first, first + len(here))
        gram += (flow.discount[rows, None] * here).T @ here
        moved += there.T @ np.concatenate([onward[rows, None] * here for onward in flow.onward], 1)
        rest += there.T @ flow.onward[:, rows].T + (here.T @ (flow.start[rows] - flow.discount[rows]))[:, None]
    ridge = 1e-3 * flow.start.sum() * np.eye(F)
    alphas = np.stack([np.linalg.solve(gram - moved[:, k * F:(k + 1) * F] + ridge, rest[:, k]) for k in range(K)], 1)
    found = np.empty((K, len(states)))
    for first in range(0, len(states), _BLOCK):
        rows = slice(first, first + _BLOCK)
        found[:, rows] = 1 + (kernels(rows) @ alphas).T
    yield from found


def discrete_states(states: Array) -> Array | None:
    """[S, d] the distinct rows where observations are integers or one-hot and few; else None."""
    if not (states == np.round(states)).all():
        return None
    distinct = np.unique(states, axis=0)
    return distinct if len(distinct) <= _MOST_STATES else None


def _places(rows: Array, distinct: Array) -> Array:
    """[N] which of the distinct rows each is, −1 for none."""
    known = {row.tobytes(): i for i, row in enumerate(np.ascontiguousarray(distinct))}
    found, inverse = np.unique(rows, axis=0, return_inverse=True)
    numbers = np.array([known.get(row.tobytes(), -1) for row in np.ascontiguousarray(found)], np.int64)
    return numbers[inverse.reshape(-1)]


def _squares(a: Array, b: Array) -> Array:
    """[N, M] squared distances."""
    return np.asarray(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0.0))
