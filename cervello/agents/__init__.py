"""Agents over time: who is there, which slot is theirs, and the policy they share."""

from cervello.agents.actions import Actions
from cervello.agents.loading import load
from cervello.agents.policy import Policy
from cervello.agents.table import AgentTable
from cervello.agents.watch import Watch, watch

__all__ = ["Actions", "AgentTable", "Policy", "Watch", "load", "watch"]
