"""Distribution functions from scipy, imported at the first call: the import takes a quarter of a second."""

from __future__ import annotations

from typing import Any


def normal_cdf(x: Any) -> Any:
    """P(Z ≤ x) for a standard normal Z."""
    from scipy.special import ndtr

    return ndtr(x)


def normal_quantile(p: Any) -> Any:
    """x with P(Z ≤ x) = p for a standard normal Z."""
    from scipy.special import ndtri

    return ndtri(p)


def student_t_quantile(degrees: float, p: float) -> float:
    """x with P(T ≤ x) = p for Student's T of so many degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, p))
