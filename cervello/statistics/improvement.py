"""The probability that an episode of one policy is better than one of another policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.statistics.arguments import Interval, finite_values
from cervello.statistics.bootstrap import bca


def probability_of_improvement(x: Any, y: Any) -> float:
    """P(X > Y) + P(X = Y) / 2 over all pairs of a value of x and a value of y: the Mann-Whitney U over their number.

    Args:
      x: [n], y: [m].
    Raises:
      InputError: no values, or values that are not finite.
    Source: R. Agarwal et al., NeurIPS 2021, section 4.3; ties count one half.
    """
    a, b = finite_values(x, "x"), np.sort(finite_values(y, "y"))
    if not len(a) or not len(b):
        raise InputError(f"statistics, probability_of_improvement: expected values of both, got {len(a)} and {len(b)}")
    below, up_to = np.searchsorted(b, a, "left"), np.searchsorted(b, a, "right")
    return float((below.sum() + up_to.sum()) / (2 * len(a) * len(b)))


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """x − y over pairs.

    Attributes:
      mean: of the differences. interval: BCa of their mean; None for fewer than 3 pairs.
      probability_of_improvement: share of pairs in which x is larger, ties one half.
      n: pairs.
    """

    mean: float
    interval: Interval | None
    probability_of_improvement: float
    n: int


def paired_difference(x: Any, y: Any, *, level: float = 0.95, resamples: int = 1999, seed: int = 0) -> PairedDifference:
    """x − y where element i of both is of the same seed, episode or match.

    Args:
      x, y: [n].
      level, resamples, seed: as in `bootstrap`.
    Raises:
      InputError: no pairs, different lengths, or values that are not finite. ConfigurationError: an option that is out of range.
    """
    a, b = finite_values(x, "x"), finite_values(y, "y")
    if len(a) != len(b) or not len(a):
        raise InputError(f"statistics, paired_difference: expected pairs, got {len(a)} and {len(b)} values; play the same seeds with both")
    differences = a - b
    better = float(((differences > 0).sum() + (differences == 0).sum() / 2) / len(a))
    return PairedDifference(float(differences.mean()), bca(differences, level=level, resamples=resamples, seed=seed), better, len(a))
