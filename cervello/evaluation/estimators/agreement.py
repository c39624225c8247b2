"""`agreement`: how often, or how closely, a policy does what was logged."""

from __future__ import annotations

import numpy as np

from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import AnyTable, per_unit
from cervello.spec import Array


def agreement(table: AnyTable, matches: Array) -> Moments:
    """The mean over logged steps. No value of a policy; a check of what was evaluated.

    Args:
      matches: [U] sums over each unit's steps. Discrete actions: of 1 for the policy's most likely action, 1 over their number where
        several are as likely, else 0. Continuous ones: of the Euclidean distance of the policy's action to the executed one.
    """
    return mean_of(matches, per_unit(table, lambda t: t.by_unit(t.length.astype(np.float64))))
