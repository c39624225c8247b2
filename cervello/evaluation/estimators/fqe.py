"""`fqe`: fitted Q evaluation."""

from __future__ import annotations

from dataclasses import replace

from cervello.evaluation.estimators.dm import dm
from cervello.evaluation.moments import Moments
from cervello.evaluation.table import AnyTable


def fqe(table: AnyTable) -> Moments:
    """The mean of V̂(s₀), with V̂ fitted to the log by `cervello.evaluation.values.fitted_values`, or given as the function `q=`.
    Resamples keep V̂.

    Source: H. Le, C. Voloshin, Y. Yue, "Batch policy learning under constraints", ICML 2019, algorithm 3.
    """
    return replace(dm(table), influence=None, notes=("the value function is kept in resamples; intervals are by the bootstrap",))
