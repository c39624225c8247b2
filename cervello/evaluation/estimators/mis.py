"""`mis`: marginalised importance sampling."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from cervello.errors import ConfigurationError
from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import Table
from cervello.spec import Array

_MOST_STATES, _CENTRES = 512, 100
_ROWS = 1 << 12  # of kernels at a time


@dataclass(frozen=True, eq=False)
class Visits:
    """Features of all logged states and of those that came after them; the same for every candidate.

    Attributes:
      n_features: F.
      here, there: [steps] int64, which feature is 1, −1 for none; of discrete states, else None.
      kernels: [rows, F] float64 of states in the order of time, where row `at[i]` is the state of step i and row `at[i] + 1` the one after
        it: most states are both, and are held once. None for discrete states. at: [steps] int64, ascending.
    """

    n_features: int
    here: Array | None = None
    there: Array | None = None
    kernels: Array | None = None
    at: Array | None = None
    _products: dict[bytes, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, observations: Array, following: Array) -> Visits:
        """Indicators where observations are integers or one-hot and few; else Gaussian kernels (median distance).

        Args:
          observations: [steps, d] of all logged steps, episode by episode. following: [steps, d] what came after each.
        """
        states, after = np.asarray(observations, np.float64) + 0.0, np.asarray(following, np.float64) + 0.0  # no −0, whose bytes differ
        distinct = discrete_states(states)
        if distinct is not None:
            return cls(len(distinct), _places(states, distinct), _places(after, distinct))
        centres = states[np.unique(np.linspace(0, len(states) - 1, _CENTRES).round().astype(np.int64))]
        gaps = _squares(centres, centres)
        width = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0
        breaks = np.append((after[:-1] != states[1:]).any(1), True)  # what follows is not the next row
        at = np.arange(len(states)) + np.cumsum(breaks) - breaks
        rows = np.empty((len(states) + int(breaks.sum()), states.shape[1]))
        rows[at], rows[at[breaks] + 1] = states, after[breaks]
        kernels = np.empty((len(rows), len(centres)))
        for block in _blocks(len(rows)):
            gaps = _squares(rows[block], centres)
            np.exp(np.divide(gaps, -2 * width, out=gaps), out=kernels[block])
        return cls(len(centres), kernels=kernels, at=at)

    def product(self, weight: Array) -> Array:
        """[F, F] Σ weight φ(sₜ) φ(sₜ)ᵀ over steps; kept, since it is the same for every candidate."""
        assert self.kernels is not None
        key = weight.tobytes()
        if key not in self._products:
            self._products.clear()
            self._products[key] = _product(self.kernels, self.kernels, self.spread(weight))
        return self._products[key]

    def spread(self, values: Array) -> Array:
        """[rows] values of steps at the rows of their states, 0 elsewhere."""
        assert self.kernels is not None
        found = np.zeros(len(self.kernels))
        found[self.at] = values
        return found


def mis(table: Table, visits: Visits) -> Moments:
    """Σᵢₜ γᵗ w(sᵢₜ) ρᵢₜ rᵢₜ / n, with ρ the ratio of the step alone and w the ratio of discounted visits.

    w solves the flow of discounted visits, for features φ: Σ γᵗ w(sₜ) (φ(sₜ) − γ ρₜ φ(sₜ₊₁)) = Σ φ(s₀), where nothing follows an
    episode's end. With kernels w = 1 + Σ α k around at most 100 states, ridge 1e-3 n. Returns, not average rewards: undiscounted episodes
    have to end.

    Raises:
      ConfigurationError: γ = 1 with truncated episodes.
    Source: Q. Liu, L. Li, Z. Tang, D. Zhou, "Breaking the curse of horizon: infinite-horizon off-policy estimation", NeurIPS 2018.
    """
    if table.gamma == 1 and table.bootstraps:
        assert table.truncated is not None
        raise ConfigurationError(f"evaluation, mis: expected γ < 1 or episodes that end, got γ = 1 and episode "
                                 f"{int(np.argmax(table.truncated))} truncated; give gamma= or horizon=, or leave mis out")
    alive = table.alive
    episode, step = np.nonzero(alive)
    discount = table.discount[step]
    with np.errstate(over="ignore"):
        ratio = np.exp(table.log_ratio[alive])
    last = step == table.length[episode] - 1
    goes_on = ~last if table.truncated is None else ~last | table.truncated[episode]
    weight = _weights(visits, discount, table.gamma * ratio * goes_on, step == 0, table.n)
    values = np.zeros(table.n)
    np.add.at(values, episode, discount * weight * ratio * table.reward[alive])
    return replace(mean_of(table.by_unit(values), table.counts), influence=None,
                   notes=("the fit of visits is kept in resamples; intervals are by the bootstrap",))


def _weights(visits: Visits, discount: Array, flow: Array, first: Array, n: int) -> Array:
    """[steps] w."""
    F = visits.n_features
    if visits.kernels is None:
        here, there = visits.here, visits.there
        assert here is not None
        assert there is not None
        flows = np.zeros((F, F))  # [feature, unknown]
        np.add.at(flows, (here, here), discount)
        seen = there >= 0
        np.subtract.at(flows, (there[seen], here[seen]), (discount * flow)[seen])
        start = np.bincount(here[first], minlength=F).astype(np.float64)
        return np.asarray(np.linalg.lstsq(flows, start, rcond=None)[0][here])
    kernels, at = visits.kernels, visits.at
    assert at is not None
    moved = visits.spread(discount * flow)[:-1]
    flows = visits.product(discount) - _product(kernels[1:], kernels[:-1], moved)
    rest = kernels[at[first]].sum(0) - (visits.spread(discount) @ kernels - moved @ kernels[1:])
    return np.asarray(1 + (kernels @ np.linalg.solve(flows + 1e-3 * n * np.eye(F), rest))[at])


def _product(a: Array, b: Array, weight: Array) -> Array:
    """[F, F] Σ weight aᵀ b over rows, some at a time: the scaled rows stay in the cache."""
    found = np.zeros((a.shape[1], b.shape[1]))
    for block in _blocks(len(a)):
        found += a[block].T @ (weight[block, None] * b[block])
    return found


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, n, _ROWS)]


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
