"""`wis`: weighted importance sampling."""

from __future__ import annotations

import numpy as np

from cervello.evaluation.moments import Moments, ratio
from cervello.evaluation.table import AnyTable, Table, below, largest_log_weight, per_unit
from cervello.spec import Array


def wis(table: AnyTable) -> Moments:
    """Σ ρ G / Σ ρ, with each episode's own whole product ρ. Biased for few episodes, consistent, never outside the range of returns.

    Source: D. Precup, R. Sutton, S. Singh, "Eligibility traces for off-policy policy evaluation", ICML 2000.
    """
    top = largest_log_weight(table)[-1:]

    def rows(block: Table) -> Array:
        weight = below(block.log_weight[:, -1:], top)[:, 0]
        with np.errstate(invalid="ignore"):
            paid = weight * block.total
        return np.stack([block.by_unit(paid), block.by_unit(weight)], 1)

    columns = per_unit(table, rows)
    total = columns[:, 1].sum()
    if total <= 0:
        return Moments(columns, ratio, None, "no episode has weight: the policy never does what was logged; log more, or shorten "
                       "the horizon")
    with np.errstate(over="ignore", invalid="ignore"):
        influence = (columns[:, 0] - columns[:, 0].sum() / total * columns[:, 1]) / (total / len(columns))
    return Moments(columns, ratio, influence)
