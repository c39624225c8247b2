"""Actions between 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.heads.base import COMMON_EXTRAS, FLOAT32, Head, Rng, scalars, tensor_name
from cervello.spec import Array, Specs, TensorSpec

_LOWEST, _HIGHEST = float(np.finfo(np.float32).tiny), 1.0 - 2.0 ** -24  # limits of float32 within (0, 1)
_HALF_STEP = 2.0 ** -25  # uniform numbers are multiples of 2⁻²⁴: the midpoints of their steps are never 0 or 1


class Beta(Head):
    """Independent beta distributed elements, float32 of alpha's shape, within (0, 1): densities x^(alpha - 1) (1 - x)^(beta - 1) / B.

    A draw inverts the cumulative distribution at one uniform number per element. Unlike rejection, it needs a fixed number of random
    numbers. It uses `scipy.special.betaincinv`, in float64, element by element. There are 2²⁴ different draws, the outermost 2⁻²⁵ from
    either end of the distribution. Logarithms and sums are float64 too, in an order that depends on the width alone.

    Deterministic rows take the mode (alpha - 1) / (alpha + beta - 2) where both parameters are above 1, else the mean. The log-density is
    that of the action as it is rounded to float32 and kept within (0, 1). Where a parameter is not positive and finite, all is NaN.

    Args:
      alpha, beta: names of tensors [N, …] of equal shape, positive; beta may be a row that all agents share.
    """

    noise = "uniform"
    extras = COMMON_EXTRAS

    def __init__(self, alpha: str, beta: str):
        self.alpha, self.beta = tensor_name("Beta", "alpha", alpha), tensor_name("Beta", "beta", beta)
        self.tensors = (self.alpha, self.beta)

    def __repr__(self) -> str:
        return f"Beta({self.alpha!r}, {self.beta!r})"

    def specs(self, given: Specs) -> Specs:
        alpha = self._spec(given, self.alpha)
        self._check_size(given, self.beta, alpha.size)
        return scalars(TensorSpec("action", alpha.shape, FLOAT32), self.supports)

    def noise_width(self, given: Specs) -> int:
        """One number per element, by the specs `given`."""
        return self._spec(given, self.alpha).size

    def act(self, columns: Mapping[str, Any], noise: Array | None = None, deterministic: Array | None = None,
            wanted: tuple[str, ...] | None = None, rng: Rng = None) -> dict[str, Array]:
        a, b = self._parameters(columns)
        flags = self._flags(deterministic, len(a))
        names = self._wanted(wanted)
        uniform = self._noise(noise, flags, a.shape[1], rng)
        found = {}
        if "action" in names or "log_prob" in names:
            action = _action(a, b, uniform, flags)
            if "action" in names:
                found["action"] = action.reshape(np.shape(columns[self.alpha]))
            if "log_prob" in names:
                found["log_prob"] = np.where(flags, FLOAT32.type(0), _log_density(a, b, action))
        if "entropy" in names:
            found["entropy"] = _entropy(a, b)
        return self._with_flags(found, names, flags)

    def log_prob(self, columns: Mapping[str, Any], action: Any) -> Array:
        a, b = self._parameters(columns)
        actions = self._array("action", action)
        if actions.dtype.kind not in "fiu" or actions.ndim < 1 or actions.size != a.size or len(actions) != len(a):
            raise InputError(f"head {self!r}, action: expected numbers of {np.shape(columns[self.alpha])}, got {actions.shape} "
                             f"{actions.dtype}")
        return _log_density(a, b, np.ascontiguousarray(actions, np.float32).reshape(a.shape))

    def _parameters(self, columns: Mapping[str, Any]) -> tuple[Array, Array]:
        """[N, width] float64 each, NaN where one of the two is no valid parameter."""
        alpha = self._rows(columns, self.alpha)
        a, b = alpha.astype(np.float64), self._rows_like(columns, self.beta, alpha).astype(np.float64)
        good = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)
        return np.where(good, a, np.nan), np.where(good, b, np.nan)


def _special() -> Any:
    """scipy's functions, imported on use: importing them takes longer than importing everything else that a policy needs."""
    from scipy import special

    return special


def _action(a: Array, b: Array, uniform: Array, flags: Array) -> Array:
    action = np.empty(a.shape)
    draws = ~flags
    action[draws] = _special().betaincinv(a[draws], b[draws], uniform[draws].astype(np.float64) + _HALF_STEP)
    a, b = a[flags], b[flags]
    peaked = (a > 1) & (b > 1)
    action[flags] = np.where(peaked, a - 1, a) / np.where(peaked, a + b - 2, a + b)
    return np.clip(action, _LOWEST, _HIGHEST).astype(np.float32)


def _log_density(a: Array, b: Array, action: Array) -> Array:
    """[N] float32; -∞ outside of [0, 1]."""
    special = _special()
    x = action.astype(np.float64)
    inside = np.where((x >= 0) & (x <= 1), x, np.nan)
    terms = special.xlogy(a - 1, inside) + special.xlog1py(b - 1, -inside) - special.betaln(a, b)
    return _sum(np.where((x < 0) | (x > 1), np.where(np.isnan(a), np.nan, -np.inf), terms))


def _entropy(a: Array, b: Array) -> Array:
    special = _special()
    return _sum(special.betaln(a, b) - (a - 1) * special.psi(a) - (b - 1) * special.psi(b) + (a + b - 2) * special.psi(a + b))


def _sum(terms: Array) -> Array:
    """[N] float32: sums of rows [N, width] from left to right."""
    total = np.zeros(len(terms))
    with np.errstate(all="ignore"):
        for k in range(terms.shape[1]):
            total = total + terms[:, k]
        return total.astype(np.float32)
