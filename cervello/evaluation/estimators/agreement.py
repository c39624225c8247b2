"""`agreement`: how often, or how closely, a policy does what was logged."""

from __future__ import annotations

import numpy as np

from cervello.evaluation.moments import Moments, mean_of
from cervello.evaluation.table import Table
from cervello.spec import Array


def agreement(table: Table, matches: Array) -> Moments:
    """The mean over logged steps. No value of a policy; a check of what was evaluated.

    Args:
      matches: [n, L], 0 after the end. Discrete actions: 1 for the policy's most likely action, 1 over their number where several are
        as likely, else 0. Continuous ones: Euclidean distance of the policy's action to the executed one.
    """
    return mean_of(table.by_unit(matches.sum(1)), table.by_unit(table.length.astype(np.float64)))
