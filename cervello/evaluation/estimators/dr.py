"""`dr`: the doubly robust estimator."""

from __future__ import annotations

import numpy as np

from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import AnyTable, Table, per_unit
from cervello.spec import Array


def dr(table: AnyTable) -> Moments:
    """The mean over episodes of V̂(s₀) + Σₜ γᵗ ρₜ (rₜ + γ V̂(sₜ₊₁) − Q̂(sₜ, aₜ)). Unbiased for any Q̂ that the episode did not shape.

    V̂ of the state after the last step is 0 where the episode is over there, else what `Table.v` says.

    Source: N. Jiang, L. Li, "Doubly robust off-policy value evaluation for reinforcement learning", ICML 2016.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return mean_of(per_unit(table, _corrected), per_unit(table, lambda t: t.counts))


def _corrected(table: Table) -> Array:
    assert table.q is not None
    assert table.v is not None
    error = table.gamma * table.v[:, 1:]
    error += table.reward
    error -= table.q
    error *= table.weight
    error *= table.discount[:-1]
    return table.by_unit(table.v[:, 0] + error.sum(1))
