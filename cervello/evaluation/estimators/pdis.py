"""`pdis`: per-decision importance sampling."""

from __future__ import annotations

import numpy as np

from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import Table


def pdis(table: Table) -> Moments:
    """The mean over episodes of Σₜ γᵗ ρₜ rₜ, with ρₜ the product of ratios up to step t. Unbiased.

    Source: D. Precup, R. Sutton, S. Singh, "Eligibility traces for off-policy policy evaluation", ICML 2000.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return mean_of(table.by_unit((np.exp(table.log_weight) * table.reward * table.discount[:-1]).sum(1)), table.counts)
