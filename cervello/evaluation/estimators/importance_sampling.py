"""`is`: ordinary importance sampling."""

from __future__ import annotations

import numpy as np

from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import AnyTable, per_unit


def importance_sampling(table: AnyTable) -> Moments:
    """The mean over episodes of ρ G, with ρ the product of all ratios and G the discounted return. Unbiased.

    Source: D. Precup, R. Sutton, S. Singh, "Eligibility traces for off-policy policy evaluation", ICML 2000.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return mean_of(per_unit(table, lambda t: t.by_unit(np.exp(t.log_weight[:, -1]) * t.total)), per_unit(table, lambda t: t.counts))
