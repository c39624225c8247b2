"""Agents over time: who is there, which slot is theirs, and the policy they share."""

from cervello.agents.actions import Actions
from cervello.agents.frame import Frame
from cervello.agents.loading import load
from cervello.agents.policy import Policy
from cervello.agents.runtime import Runtime
from cervello.agents.table import AgentTable
from cervello.agents.watch import Watch, watch

__all__ = ["Actions", "AgentTable", "Frame", "Policy", "Runtime", "Watch", "load", "watch"]
