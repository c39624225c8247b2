"""The recorder's own log-probabilities, checked against a candidate that is the policy which was recorded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cervello.errors import InputError
from cervello.evaluation.candidates import Candidate
from cervello.evaluation.logged import Logged
from cervello.spec import Array

_CLOSE = 1e-4


def check_recorded(candidate: Candidate, logs: Array, some: Sequence[Logged]) -> None:
    """Compares at steps that the candidate itself has drawn.

    Args:
      logs: its log-probabilities of the logged actions, of all steps one after the other.
    Raises:
      InputError: recorded and computed log-probabilities differ by more than 1e-4; the message names episode and step.
    """
    start = 0
    for each in some:
        stop = start + each.length
        if each.version is None or each.logp is None or not (versions := candidate.versions(each.policies)):
            start = stop
            continue
        mine, start = logs[start:stop], stop
        drawn = np.isin(each.version, versions) & np.isfinite(each.logp)
        if each.deterministic is not None:
            drawn &= ~each.deterministic
        wrong = drawn & ~(np.abs(mine - np.where(drawn, each.logp, 0.0)) <= _CLOSE)
        if wrong.any():
            t = int(np.argmax(wrong))
            raise InputError(f"{each.where}, step {t}, behavior_logp: expected {mine[t]:.7g}, which policy {candidate.name!r} gives the "
                             f"action that it drew itself (version {int(each.version[t])}), got {each.logp[t]:.7g}; the column is damaged, "
                             "or observations are not those that the policy saw")
