"""What recorders around games of PettingZoo share."""

from __future__ import annotations

import os
from typing import Any

from cervello.envs.episode_log import EpisodeLog
from cervello.recording import Writer

TurnWrapper: Any
ParallelWrapper: Any
try:
    from pettingzoo import utils
except ImportError:  # PettingZoo is an extra; games that have its methods are recorded without it too
    TurnWrapper = ParallelWrapper = object
else:
    TurnWrapper, ParallelWrapper = utils.BaseWrapper, utils.BaseParallelWrapper


class GameRecorder:
    """An environment of PettingZoo around which matches are recorded. Other attributes are the environment's."""

    def __init__(self, env: Any, target: str | os.PathLike[str] | Writer, durable: bool = False):
        self.env = env
        self._log = EpisodeLog(target, None, durable)
        self._match = -1

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and name != "_cumulative_rewards":
            raise AttributeError(name)
        return getattr(self.env, name)

    @property
    def writer(self) -> Writer:
        """What it writes to."""
        return self._log.writer
