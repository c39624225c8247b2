"""Deterministic flags by row, from flags by agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.errors import AgentError, InputError
from cervello.spec import AgentId, Array


def by_row(ids: Sequence[AgentId], deterministic: bool | Array | Mapping[AgentId, bool]) -> Any:
    """A mapping as [N] bool, False for agents that it leaves out; other values unchanged.

    Raises:
      AgentError: it names an agent that is not in the batch. InputError: a value that is no bool.
    """
    if isinstance(deterministic, (bool, np.ndarray)) or not isinstance(deterministic, Mapping):
        return deterministic
    rows = {agent: row for row, agent in enumerate(ids)}
    flags = np.zeros(len(rows), np.bool_)
    for agent, flag in deterministic.items():
        if agent not in rows:
            raise AgentError(f"deterministic: expected agents of this batch, got {agent!r}")
        if not isinstance(flag, (bool, np.bool_)):
            raise InputError(f"deterministic: expected a bool for agent {agent!r}, got {flag!r}")
        flags[rows[agent]] = flag
    return flags
