"""What environments around a match show of it."""

from __future__ import annotations

from cervello.envs.multiagent.assignment import PolicyAssignment
from cervello.envs.multiagent.making import Match
from cervello.envs.multiagent.pool import Pool


class MatchMixin:
    """The counts and pools of a match whose agents policies play."""

    _match: Match
    _assignment: PolicyAssignment

    @property
    def begun(self) -> int:
        """Agents of policies that have begun so far."""
        return self._match.roster.begun

    @property
    def ended(self) -> int:
        """Agents of policies that have ended so far."""
        return self._match.roster.ended

    @property
    def empty_masks(self) -> int:
        """Decisions of policies whose mask allowed nothing; it counted as no mask."""
        return self._match.empty_masks

    @property
    def dropped_rewards(self) -> float:
        """Rewards that belong to no action so far: those of agents that were born and died in one step, and the learner's in episodes that
        ended before its first turn.
        """
        return self._match.dropped_rewards

    def pool(self, pattern: str) -> Pool:
        """The pool of a pattern; entries added to it count from the next draw on. Raises ConfigurationError for an unknown pattern."""
        return self._assignment.pool(pattern)
