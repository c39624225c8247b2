"""Level of detail: how often an agent decides, how urgent it is, and whether its last decision is repeated in between."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.errors import ConfigurationError
from cervello.spec import AgentId, Array

HOLDS = ("last", "none")
_MAX_FRAMES = 1 << 32  # maximum interval, so that frame numbers stay within the 64 bits of a snapshot


@dataclass(slots=True)
class LevelOfDetail:
    """Level of detail of one agent. Mutable.

    Attributes:
      interval_frames: frames from one turn to the next; 1 is every frame.
      phase: the agent is due in frames whose number modulo `interval_frames` is this; phases are spread over agents.
      priority: urgency grows by this much per frame of waiting.
      hold: "last" repeats the last decision in frames without one; "none" leaves the agent out.
      generation: of the episode that `next_frame` belongs to.
      next_frame: the frame from which the agent is due again; an agent that has never decided is due at once.
    """

    interval_frames: int = 1
    phase: int = 0
    priority: float = 1.0
    hold: str = "none"
    next_frame: int = 0
    generation: int | None = None

    def decided(self, frame: int) -> None:
        """Sets the next due frame: the first of the agent's phase after this frame."""
        self.next_frame = frame + 1 + (self.phase - frame - 1) % self.interval_frames


def check(where: str, every: Any, priority: Any, hold: Any) -> None:
    """Raises ConfigurationError for values that are no valid level."""
    if isinstance(every, bool) or not isinstance(every, (int, np.integer)) or not 1 <= every <= _MAX_FRAMES:
        raise ConfigurationError(f"{where}, every: expected a whole number of frames from 1 to 2³², got {every!r}")
    number = isinstance(priority, (int, float, np.integer, np.floating)) and not isinstance(priority, bool)
    if not number or not 0 < priority <= sys.float_info.max:
        raise ConfigurationError(f"{where}, priority: expected a finite number above 0, got {priority!r}; an agent that is not "
                                 "pushed does not decide")
    if hold not in HOLDS:
        raise ConfigurationError(f"{where}, hold: expected one of {list(HOLDS)}, got {hold!r}")


_DEFAULT = LevelOfDetail()


class Levels:
    """Levels of detail of the agents of one policy. Mutable.

    Attributes:
      by_agent: levels, for agents whose level is not the default.
      not_due: agents that were pushed in this frame and are not due.
      held: last decisions of agents with `hold="last"`.
      phases: phase of the next agent, by `every`.
    """

    __slots__ = ("by_agent", "held", "not_due", "phases")

    def __init__(self) -> None:
        self.by_agent: dict[AgentId, LevelOfDetail] = {}
        self.not_due: dict[AgentId, None] = {}
        self.held: dict[AgentId, dict[str, Array]] = {}
        self.phases: dict[int, int] = {}

    def set(self, agent: AgentId, every: int, priority: float, hold: str) -> None:
        """Sets an agent's level. Phases are assigned round-robin, so that agents do not all decide in one frame."""
        was = self.by_agent.get(agent, _DEFAULT)
        if (every, priority, hold) == (1, 1.0, "none"):
            self.by_agent.pop(agent, None)
            self.held.pop(agent, None)
            return
        phase = was.phase
        if every != was.interval_frames or agent not in self.by_agent:
            phase = self.phases.get(every, 0)
            self.phases[every] = (phase + 1) % every
        level = LevelOfDetail(every, phase, priority, hold, was.next_frame, was.generation)
        if agent in self.by_agent and every != was.interval_frames:
            level.next_frame = min(was.next_frame, was.next_frame - was.interval_frames + every)
        self.by_agent[agent] = level
        if hold == "none":
            self.held.pop(agent, None)

    def forget(self, agent: AgentId) -> None:
        """Removes an agent."""
        for kept in (self.by_agent, self.not_due, self.held):
            kept.pop(agent, None)

    def is_due(self, agent: AgentId, generation: int, frame: int, waiting: Collection[AgentId]) -> bool:
        """Whether a pushed agent is due. An agent that is already queued stays queued."""
        level = self.by_agent.get(agent)
        if level is None:
            return True
        if level.generation != generation:  # a later episode than the one it last decided in
            if level.generation is not None:
                level.next_frame = frame
                self.held.pop(agent, None)
            level.generation = generation
        return level.next_frame <= frame or agent in waiting

    def priority(self, agent: AgentId) -> float:
        return self.by_agent.get(agent, _DEFAULT).priority

    def decided(self, ids: Iterable[AgentId], generations: Mapping[AgentId, int], rows: Callable[[], Any], frame: int) -> None:
        """Records that agents have decided, and keeps the decisions of agents with `hold="last"`.

        Args:
          rows: returns results by agent; called only if needed.
        """
        found: Any = None
        for agent in ids:
            level = self.by_agent.get(agent)
            if level is not None and level.generation == generations[agent]:
                level.decided(frame)
                if level.hold == "last":
                    found = rows() if found is None else found
                    # Copies: a row is a view that would keep its whole batch alive.
                    self.held[agent] = {name: np.array(row) for name, row in found[agent].items()}
