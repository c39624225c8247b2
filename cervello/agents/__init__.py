"""Agents over time: who is there, which slot is theirs, and the policy they share."""

from cervello.agents.membership.table import AgentTable
from cervello.agents.policy.actions import Actions
from cervello.agents.policy.loading import load
from cervello.agents.policy.policy import Policy
from cervello.agents.policy.watch import Watch, watch
from cervello.agents.runtime.frame import Frame
from cervello.agents.runtime.runtime import Runtime

__all__ = ["Actions", "AgentTable", "Frame", "Policy", "Runtime", "Watch", "load", "watch"]
