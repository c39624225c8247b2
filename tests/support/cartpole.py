"""A policy for CartPole that needs no training."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from small_models import FLOAT, graph, node

import cervello


def model(gain: float = 1.0, lean: float = 0.0) -> bytes:
    """obs [N, 4] → logits [N, 2]: pushes to where the pole falls. The larger the gain, the surer; `lean` favours one side."""
    weights = np.outer([0.1, 0.5, 4.0, 1.0], [-1.0, 1.0]).astype(np.float32) * np.float32(gain)
    return graph([node("Gemm", "obs w b", "logits")], {"obs": (FLOAT, ("N", 4))}, {"logits": (FLOAT, ("N", 2))},
                 {"w": weights, "b": np.array([lean, -lean], np.float32)})


def policy(gain: float = 1.0, lean: float = 0.0, **options: Any) -> cervello.Policy:
    """It draws, unless told otherwise."""
    return cervello.load(model(gain, lean), wrappers="auto", spaces=gymnasium.make("CartPole-v1"), **options)
