"""`wdr`: the weighted doubly robust estimator."""

from __future__ import annotations

import numpy as np

from cervello.evaluation.estimators.cwpdis import no_weight
from cervello.evaluation.moments import Moments, divided, step_weights
from cervello.evaluation.table import Table
from cervello.spec import Array


def wdr(table: Table) -> Moments:
    """Σₜ γᵗ (Σᵢ wᵢₜ (rᵢₜ − Q̂ᵢₜ) + Σᵢ wᵢₜ₋₁ V̂ᵢₜ), with wᵢₜ = ρᵢₜ / Σⱼ ρⱼₜ and wᵢ₋₁ = 1/n.

    An episode that has ended keeps its last weight, with reward, Q̂ and V̂ 0.

    Source: P. Thomas, E. Brunskill, "Data-efficient off-policy policy evaluation for reinforcement learning", ICML 2016, section 5.
    """
    columns, total = parts(table)
    L, discount = table.n_steps, table.discount

    def combine(sums: Array) -> Array:
        corrections, baselines = step_sums(sums, L)
        return np.asarray((discount[:-1] * corrections).sum(1) + (discount * baselines).sum(1))

    if (total <= 0).any():
        return Moments(columns, combine, None, no_weight(total))
    influence = (discount[:-1] * per_unit(columns[:, :L], columns[:, 2 * L + 1:3 * L + 1])).sum(1)
    down = np.concatenate([columns[:, -1:], columns[:, 2 * L + 1:3 * L + 1]], 1)
    influence = influence + (discount * per_unit(columns[:, L:2 * L + 1], down)).sum(1)
    return Moments(columns, combine, influence)


def parts(table: Table) -> tuple[Array, Array]:
    """[U, 3 L + 2] sums over units: ρₜ (rₜ − Q̂ₜ) [L], ρₜ₋₁ V̂ₜ [L + 1], ρₜ [L], episodes; and [L] the weight of each step."""
    assert table.q is not None
    assert table.v is not None
    weight = step_weights(table.log_weight)
    before = np.concatenate([np.ones((table.n, 1)), weight], 1)
    columns = np.concatenate([table.by_unit(weight * (table.reward - table.q)), table.by_unit(before * table.v), table.by_unit(weight),
                              table.counts[:, None]], 1)
    return columns, columns[:, 2 * table.n_steps + 1:-1].sum(0)


def step_sums(sums: Array, L: int) -> tuple[Array, Array]:
    """[B, L] Σᵢ wᵢₜ (rᵢₜ − Q̂ᵢₜ) and [B, L + 1] Σᵢ wᵢₜ₋₁ V̂ᵢₜ of sums of `parts`."""
    weight = sums[:, 2 * L + 1:3 * L + 1]
    return divided(sums[:, :L], weight), divided(sums[:, L:2 * L + 1], np.concatenate([sums[:, -1:], weight], 1))


def per_unit(up: Array, down: Array) -> Array:
    """[U, L] influence of units on each step's Σ up / Σ down."""
    total = down.sum(0)
    return np.asarray((up - up.sum(0) / total * down) / (total / len(up)))
