"""`pdis`: per-decision importance sampling."""

from __future__ import annotations

import numpy as np

from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import AnyTable, per_unit


def pdis(table: AnyTable) -> Moments:
    """The mean over episodes of Σₜ γᵗ ρₜ rₜ, with ρₜ the product of ratios up to step t. Unbiased.

    Source: D. Precup, R. Sutton, S. Singh, "Eligibility traces for off-policy policy evaluation", ICML 2000.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return mean_of(per_unit(table, lambda t: t.by_unit((np.exp(t.log_weight) * t.reward * t.discount[:-1]).sum(1))),
                       per_unit(table, lambda t: t.counts))
