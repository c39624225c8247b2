"""`wdr`: the weighted doubly robust estimator."""

from __future__ import annotations

import numpy as np

from cervello.evaluation.estimators.cwpdis import no_weight
from cervello.evaluation.moments import Columns, Moments, blocks_of, columns_of, divided, sum_of
from cervello.evaluation.table import AnyTable, Table, largest_log_weight
from cervello.spec import Array


def wdr(table: AnyTable) -> Moments:
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
    sums, n = sum_of(columns), len(columns)

    (all_up, all_base), (all_down, all_before) = _columns(sums, L), _weights(sums, L)
    up_mean, base_mean = all_up / all_down, all_base / all_before
    up_factor, base_factor = discount[:-1] / (all_down / n), discount / (all_before / n)

    def influence(block: Array) -> Array:
        (up, base), down = _columns(block, L), block[:, 2 * L + 1:-1]
        moved = up_mean * down
        np.subtract(up, moved, out=moved)
        moved *= up_factor
        found = moved.sum(1)
        np.multiply(base_mean[1:], down, out=moved)  # of the weights before each step but the first
        np.subtract(base[:, 1:], moved, out=moved)
        moved *= base_factor[1:]
        return np.asarray(found + moved.sum(1) + (base[:, 0] - base_mean[0] * block[:, -1]) * base_factor[0])

    return Moments(columns, combine, np.concatenate([influence(block) for block in blocks_of(columns)]))


def parts(table: AnyTable) -> tuple[Array | Columns, Array]:
    """[U, 3 L + 2] sums over units: ρₜ (rₜ − Q̂ₜ) [L], ρₜ₋₁ V̂ₜ [L + 1], ρₜ [L], episodes; and [L] the weight of each step."""
    top, L = largest_log_weight(table), table.n_steps

    def rows(block: Table) -> Array:
        assert block.q is not None
        assert block.v is not None
        weight = block.step_weight(top)
        found = np.empty((block.n, 3 * L + 2))
        np.subtract(block.reward, block.q, out=found[:, :L])
        found[:, :L] *= weight
        found[:, L] = block.v[:, 0]
        np.multiply(weight, block.v[:, 1:], out=found[:, L + 1:2 * L + 1])
        found[:, 2 * L + 1:-1] = weight
        found[:, -1] = 1.0
        return block.by_unit(found)

    columns = columns_of(table, rows)
    return columns, sum_of(columns)[2 * L + 1:-1]


def step_sums(sums: Array, L: int) -> tuple[Array, Array]:
    """[B, L] Σᵢ wᵢₜ (rᵢₜ − Q̂ᵢₜ) and [B, L + 1] Σᵢ wᵢₜ₋₁ V̂ᵢₜ of sums of `parts`."""
    (corrections, baselines), (weight, before) = _columns(sums, L), _weights(sums, L)
    return divided(corrections, weight), divided(baselines, before)


def _columns(rows: Array, L: int) -> tuple[Array, Array]:
    """[…, L] of ρₜ (rₜ − Q̂ₜ), […, L + 1] of ρₜ₋₁ V̂ₜ."""
    return rows[..., :L], rows[..., L:2 * L + 1]


def _weights(rows: Array, L: int) -> tuple[Array, Array]:
    """[…, L] of ρₜ, […, L + 1] of ρₜ₋₁: what each of `_columns` is divided by."""
    weight = rows[..., 2 * L + 1:3 * L + 1]
    return weight, np.concatenate([rows[..., -1:], weight], -1)
