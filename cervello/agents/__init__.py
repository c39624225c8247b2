"""Agents over time: ids, slots, and the policies that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cervello.agents.membership.table import AgentTable
from cervello.agents.policy.actions import Actions
from cervello.agents.policy.loading import load
from cervello.agents.policy.policy import Policy
from cervello.agents.policy.watch import Watch, watch

if TYPE_CHECKING:
    from cervello.agents.runtime.frame import Frame
    from cervello.agents.runtime.runtime import Runtime

__all__ = ["Actions", "AgentTable", "Frame", "Policy", "Runtime", "Watch", "load", "watch"]


def __getattr__(name: str) -> Any:
    """Imports `Runtime` and `Frame` on first access: most programs have a policy and no runtime."""
    if name in ("Frame", "Runtime"):
        from cervello.agents.runtime import frame, runtime

        globals().update(Frame=frame.Frame, Runtime=runtime.Runtime)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
