"""Level of detail: how often an agent decides, how urgent it is, and what stands for the decisions it does not make."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.errors import ConfigurationError

HOLDS = ("last", "none")
_MOST_FRAMES = 1 << 32  # from turn to turn, so that frame numbers stay within the 64 bits of a snapshot


@dataclass(slots=True)
class Level:
    """How an agent is treated. Mutable.

    Attributes:
      every: frames from one turn to the next; 1 is every frame.
      phase: frame numbers that leave this remainder are the agent's turns, so that a crowd's are spread.
      priority: urgency grows by this much per frame of waiting.
      hold: "last" repeats the last decision where none is made, "none" gives nothing.
      birth: of the episode that `next_frame` is about.
      next_frame: when it is the agent's turn again; at once for one that has never decided.
    """

    every: int = 1
    phase: int = 0
    priority: float = 1.0
    hold: str = "none"
    next_frame: int = 0
    birth: int | None = None

    def decided(self, frame: int) -> None:
        """Takes the agent's turn: the next one is the first of its phase after this frame."""
        self.next_frame = frame + 1 + (self.phase - frame - 1) % self.every


def checked(where: str, every: Any, priority: Any, hold: Any) -> None:
    """Raises ConfigurationError for values that make no level."""
    if isinstance(every, bool) or not isinstance(every, (int, np.integer)) or not 1 <= every <= _MOST_FRAMES:
        raise ConfigurationError(f"{where}, every: expected a whole number of frames, at least 1, got {every!r}; at most 2³²")
    number = isinstance(priority, (int, float, np.integer, np.floating)) and not isinstance(priority, bool)
    if not number or not 0 < priority <= sys.float_info.max:
        raise ConfigurationError(f"{where}, priority: expected a finite number above 0, got {priority!r}; an agent that never decides is "
                                 "one that is not pushed")
    if hold not in HOLDS:
        raise ConfigurationError(f"{where}, hold: expected one of {list(HOLDS)}, got {hold!r}")
