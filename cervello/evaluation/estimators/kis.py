"""`kis`: kernelised importance sampling for deterministic policies with continuous actions."""

from __future__ import annotations

from math import log, pi

import numpy as np

from cervello.errors import ConfigurationError
from cervello.evaluation.estimators.cwpdis import cwpdis
from cervello.evaluation.moments import Moments
from cervello.evaluation.table import Table
from cervello.spec import Array
from cervello.statistics.arguments import is_number


def kis(table: Table, actions: Array, targets: Array, behavior_logp: Array, bandwidth: float | None = None,
        kernel: str = "gaussian") -> Moments:
    """Σₜ γᵗ Σᵢ κᵢₜ rᵢₜ / Σᵢ κᵢₜ, with κ the product up to step t of K(a − π(s)) / b(a|s), K a Gaussian product kernel.

    Args:
      actions: [steps, d] as they were drawn, before clipping; all logged steps, episode by episode.
      targets: [steps, d] the policy's actions there.
      behavior_logp: [steps] ln b(a|s).
      bandwidth: standard deviation of the kernel; by default, for each element, 1.06 σ n^(−1 / (4 + d)), σ of the logged actions.
      kernel: "gaussian", the only one.
    Source: N. Kallus, A. Zhou, "Policy evaluation and optimization with continuous treatments", AISTATS 2018.
    """
    check_kernel(kernel, bandwidth)
    width = bandwidths(actions.std(0), table.n, bandwidth)
    logs = np.zeros(table.reward.shape)
    logs[table.alive] = kernel_ratios(actions, targets, behavior_logp, width)
    return cwpdis(table.with_ratios(logs))


def check_kernel(kernel: str, bandwidth: float | None) -> None:
    """Raises ConfigurationError where one of them makes no sense."""
    if kernel != "gaussian":
        raise ConfigurationError(f"evaluation, kernel: expected 'gaussian', got {kernel!r}")
    if bandwidth is not None and not (is_number(bandwidth) and 0 < bandwidth < np.inf):
        raise ConfigurationError(f"evaluation, bandwidth: expected a positive number, got {bandwidth!r}")


def bandwidths(deviation: Array, n: int, bandwidth: float | None = None) -> Array:
    """[d] deviations of the kernel, of the logged actions' and the number of episodes.

    Raises:
      ConfigurationError: an element of the actions never changes.
    """
    d = len(deviation)
    width = np.full(d, bandwidth) if bandwidth is not None else 1.06 * deviation * n ** (-1 / (4 + d))
    if not (width > 0).all():
        raise ConfigurationError("evaluation, kis: expected logged actions that differ, got one action everywhere; give bandwidth=")
    return width


def kernel_ratios(actions: Array, targets: Array, behavior_logp: Array, width: Array) -> Array:
    """[steps] ln (K(a − π(s)) / b(a|s)).

    Args:
      actions, targets: [steps, d]. behavior_logp: [steps]. width: [d].
    """
    z = (actions - targets) / width
    return np.asarray((-0.5 * z**2 - np.log(width) - 0.5 * log(2 * pi)).sum(1) - behavior_logp)
