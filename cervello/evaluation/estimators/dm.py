"""`dm`: the direct method."""

from __future__ import annotations

from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import AnyTable, Table, per_unit
from cervello.spec import Array


def dm(table: AnyTable) -> Moments:
    """The mean of V̂(s₀). As good as the value function; no weight tells how good that is.

    Source: M. Dudík, J. Langford, L. Li, "Doubly robust policy evaluation and learning", ICML 2011, section 2.
    """
    return mean_of(per_unit(table, _first_value), per_unit(table, lambda t: t.counts))


def _first_value(table: Table) -> Array:
    assert table.v is not None
    return table.by_unit(table.v[:, 0])
