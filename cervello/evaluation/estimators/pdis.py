"""`pdis`: per-decision importance sampling."""

from __future__ import annotations

import numpy as np

from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import AnyTable, Table, per_unit
from cervello.spec import Array


def pdis(table: AnyTable) -> Moments:
    """The mean over episodes of Σₜ γᵗ ρₜ rₜ, with ρₜ the product of ratios up to step t. Unbiased.

    Source: D. Precup, R. Sutton, S. Singh, "Eligibility traces for off-policy policy evaluation", ICML 2000.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return mean_of(per_unit(table, _paid), per_unit(table, lambda t: t.counts))


def _paid(table: Table) -> Array:
    paid = table.weight * table.reward
    paid *= table.discount[:-1]
    return table.by_unit(paid.sum(1))
