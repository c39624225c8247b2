"""A game whose episodes are known ahead, in every kind of vector environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import small_models
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from small_models import FLOAT, graph, node

import cervello

ACTIONS = 4
Array = np.ndarray[Any, Any]


class CountingGame(gymnasium.Env[Any, Any]):
    """Observes (its number, its episode, the step, 10 times the last action, what the seed drew); episodes of 2 to 5 steps end in turn by
    termination and truncation.

    Args:
      number: of the environment, in every observation.
      masks: None, or where a mask is given that allows one action more with each step: "info" or "observation".
      drawn: whether the seed shows in observations.

    Attributes:
      executed: every action that counted.
      seeds: of every reset.
      resets: how many.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own form)

    def __init__(self, number: int = 0, masks: str | None = None, drawn: bool = False):
        self.number, self._masks, self._drawn = number, masks, drawn
        numbers = gymnasium.spaces.Box(-1e9, 1e9, (5,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(ACTIONS)
        self.observation_space = gymnasium.spaces.Dict({
            "obs": numbers, "action_mask": gymnasium.spaces.Box(0, 1, (ACTIONS,), np.int8)}) if masks == "observation" else numbers
        self.executed: list[int] = []
        self.seeds: list[Any] = []
        self.resets, self._t, self._last, self._draw = 0, 0, 0, 0.0

    @property
    def length(self) -> int:
        return 2 + (self.number + self.resets) % 4

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.resets, self._t, self._last = self.resets + 1, 0, 0
        self._draw = float(self.np_random.random()) if self._drawn else 0.0
        return self._seen()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(int(action))
        assert self._masks is None or self.allowed()[int(action)], "a forbidden action"
        self.executed.append(int(action))
        self._t, self._last = self._t + 1, int(action)
        over = self._t >= self.length
        observation, info = self._seen()
        return observation, 1.0 + self._last, over and self.resets % 2 == 0, over and self.resets % 2 == 1, info

    def allowed(self) -> Array:
        """[4] int8, the mask of the next action: one action, another one at each step and in each environment."""
        return np.eye(ACTIONS, dtype=np.int8)[(self.number + self.resets + self._t) % ACTIONS]

    def _seen(self) -> tuple[Any, dict[str, Any]]:
        numbers = np.array([self.number, self.resets, self._t, 10 * self._last, self._draw], np.float32)
        if self._masks == "observation":
            return {"obs": numbers, "action_mask": self.allowed()}, {}
        return numbers, {"action_mask": self.allowed()} if self._masks == "info" else {}


def games(n: int = 3, **options: Any) -> list[Any]:
    """Functions that make n games of different numbers."""
    return [lambda i=i: CountingGame(i, **options) for i in range(n)]


def vector(mode: str, n: int = 3, **options: Any) -> SyncVectorEnv:
    """n games in a vector environment of "next_step", "same_step" or "disabled"."""
    return SyncVectorEnv(games(n, **options), autoreset_mode=AutoresetMode[mode.upper()])


def drawing_policy(spaces: Any, **options: Any) -> cervello.Policy:
    """Logits of ACTIONS actions, drawn by the head of the game."""
    constants = {"w": small_models.dense(5, ACTIONS) * np.float32(0.2)}
    data = graph([node("MatMul", "obs w", "logits")], {"obs": (FLOAT, ("N", 5))}, {"logits": (FLOAT, ("N", ACTIONS))}, constants)
    return cervello.load(data, wrappers="auto", spaces=spaces, **options)
