"""Episodes in memory and small policies to evaluate on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from small_models import FLOAT, graph, node

from cervello.recording import Episode


def logits_policy(weights: np.ndarray, bias: np.ndarray, name: str = "logits") -> bytes:
    """obs [N, d] ▸ logits [N, K] = obs · weights + bias."""
    weights = np.asarray(weights, np.float32)
    return graph([node("Gemm", "obs w b", name)], {"obs": (FLOAT, ("N", weights.shape[0]))}, {name: (FLOAT, ("N", weights.shape[1]))},
                 {"w": weights, "b": np.asarray(bias, np.float32)})


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def bandit(n: int = 400, seed: int = 0, odds: tuple[float, float] = (0.5, 0.5)) -> list[Episode]:
    """One step, two actions; action 1 pays 1."""
    rng = np.random.default_rng(seed)
    taken = (rng.random(n) < odds[1]).astype(np.int64)
    logs = np.log(np.asarray(odds))[taken]
    return [Episode(i, np.zeros((2, 1), np.float32), taken[i:i + 1], taken[i:i + 1].astype(float), np.array([True]), np.array([False]),
                    log_prob=logs[i:i + 1]) for i in range(n)]


def walks(n: int = 60, seed: int = 0, longest: int = 8, d: int = 3, K: int = 3, scale: float = 0.3, truncated: bool = False,
          **more: Any) -> list[Episode]:
    """Episodes of different lengths, by a policy with logits obs · w."""
    rng = np.random.default_rng(seed)
    w = behaviour_weights(d, K, scale)
    found = []
    for i in range(n):
        T = int(rng.integers(1, longest + 1))
        obs = rng.normal(size=(T + 1, d)).astype(np.float32)
        logs = log_softmax(obs[:-1].astype(np.float64) @ w)
        actions = np.array([rng.choice(K, p=np.exp(row)) for row in logs], np.int64)
        ends = np.zeros(T, bool)
        ends[-1] = True
        cut = truncated and i % 2 == 0
        found.append(Episode(i, obs, actions, obs[:-1, 0] + (actions == 1), ends & (not cut), ends & cut,
                             log_prob=logs[np.arange(T), actions], **more))
    return found


def generated(steps: int, seed: int = 0, shortest: int = 50, longest: int = 150, d: int = 4) -> Iterator[Episode]:
    """Episodes of an even behaviour of two actions, one at a time, until they have so many steps."""
    rng = np.random.default_rng(seed)
    i = 0
    while steps > 0:
        T = min(int(rng.integers(shortest, longest + 1)), steps)
        obs, actions = rng.standard_normal((T + 1, d), np.float32), rng.integers(0, 2, T)
        yield Episode(i, obs, actions, obs[:-1, 0] + actions, np.arange(T) == T - 1, np.zeros(T, bool),
                      log_prob=np.full(T, np.float32(np.log(0.5))))
        i, steps = i + 1, steps - T


def behaviour_weights(d: int = 3, K: int = 3, scale: float = 0.3) -> np.ndarray:
    return (np.random.default_rng(99).normal(size=(d, K)) * scale).astype(np.float32).astype(np.float64)
