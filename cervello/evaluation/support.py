"""Which actions a policy never takes: probabilities of 0."""

from __future__ import annotations

import numpy as np

from cervello.spec import Array

_LEAST = -745.2  # exp of it, and of all below, is 0 in float64


def least_log_prob(n_choices: int) -> float:
    """The logarithm below which a discrete action has probability 0: −∞ need not be reached, since masks are often large negative logits.

    Args:
      n_choices: of an action, whose logarithms are summed.
    """
    return _LEAST * n_choices


def is_never(logs: Array, n_choices: int = 1) -> Array:
    """Whether logarithms of probabilities of discrete actions are those of 0, bool of their shape; False for NaN."""
    return np.asarray(logs < least_log_prob(n_choices))


def without_impossible(logs: Array, n_choices: int) -> Array:
    """The logarithms, −∞ where the probability is 0."""
    never = is_never(logs, n_choices)
    return np.where(never, -np.inf, logs) if never.any() else logs
