"""`dm`: the direct method."""

from __future__ import annotations

from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import Table


def dm(table: Table) -> Moments:
    """The mean of V̂(s₀). As good as the value function; no weight tells how good that is.

    Source: M. Dudík, J. Langford, L. Li, "Doubly robust policy evaluation and learning", ICML 2011, section 2.
    """
    assert table.v is not None
    return mean_of(table.by_unit(table.v[:, 0]), table.counts)
