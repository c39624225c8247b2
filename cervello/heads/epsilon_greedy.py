"""Epsilon-greedy actions: the best of K values, or with probability ε a random one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from cervello.errors import ConfigurationError
from cervello.heads.base import Rng
from cervello.heads.categorical import Categorical
from cervello.heads.graph_builder import GraphBuilder
from cervello.heads.graph_stages import run, stage
from cervello.native import Model
from cervello.native.execution.chained import Feed, Stage
from cervello.spec import Array, Specs

_LARGEST = float(np.finfo(np.float32).max)


class EpsilonGreedy(Categorical):
    """The action of the largest value with probability 1 - ε, else any action with equal probability. Actions are int64 [N].

    Of equal values the first is the best. With a mask, the best and the random action are among the allowed ones; a row that allows
    nothing is treated as if it allowed everything. A NaN counts as the lowest value.

    Args:
      values: name of a tensor [N, K], the actions' values.
      epsilon: ε, 0 ≤ ε ≤ 1; 0 always takes the best.
      mask: name of a mask [N, K].
    Raises:
      ConfigurationError: an ε outside 0 to 1, or an invalid name.

    Source: Sutton & Barto, Reinforcement Learning, 2nd edition, section 2.2.
    """

    def __init__(self, values: str, epsilon: float = 0.0, mask: str | None = None):
        super().__init__(values, mask)
        number = isinstance(epsilon, (int, float)) and not isinstance(epsilon, bool)
        if not number or not 0 <= epsilon <= 1:
            raise ConfigurationError(f"EpsilonGreedy({values!r}): expected a probability, 0 ≤ epsilon ≤ 1, got {epsilon!r}")
        self.epsilon = float(epsilon)

    def __repr__(self) -> str:
        masked = "" if self.mask is None else f", mask={self.mask!r}"
        return f"EpsilonGreedy({self.name!r}, {self.epsilon}{masked})"

    def act(self, columns: Mapping[str, Any], noise: Array | None = None, deterministic: Array | None = None,
            wanted: tuple[str, ...] | None = None, rng: Rng = None) -> dict[str, Array]:
        found = super().act(columns, noise, deterministic, wanted, rng)
        if self.epsilon == 1 and "action" in found and deterministic is not None and np.any(deterministic):
            values, _, mask = super()._parameters(columns)  # all are equally likely then, and one is still the best
            best = run(_log_prob_model(values.shape[1], mask is not None, self.epsilon), values=values, mask=mask)["best"]
            found["action"] = np.where(deterministic, best, found["action"])
        return found

    def stages(self, given: Specs, wanted: tuple[str, ...]) -> tuple[Stage, ...] | None:
        if type(self) is not EpsilonGreedy or self.epsilon == 1:  # see `act`: then the best is no longer the mode of the draws
            return None
        sizes = self._sizes(self.mask_width(given))
        model = _log_prob_model(sizes[0], self.mask is not None, self.epsilon)
        greedy = stage(model, values=Feed("output", self.name), mask=self._mask_feed(sizes))
        return greedy, *self._choice_stages(given, wanted, Feed("result", "logits"))

    def _parameters(self, columns: Mapping[str, Any]) -> tuple[Array, tuple[int, ...], Array | None]:
        """Log-probabilities of the actions instead of logits; applying the mask to them again changes nothing."""
        values, sizes, mask = super()._parameters(columns)
        found = run(_log_prob_model(values.shape[1], mask is not None, self.epsilon), values=values, mask=mask)
        return found["logits"], sizes, mask


@lru_cache(maxsize=128)
def _log_prob_model(width: int, masked: bool, epsilon: float) -> Model:
    """The log-probability of each action, and the best one, of a row of values."""
    g = GraphBuilder()
    values = g.input("values", "float32", width)
    finite = g.add("Clip", g.add("Where", g.add("Equal", values, values), values, -_LARGEST), -_LARGEST, _LARGEST)
    random_share: str | float = epsilon / width
    if masked:
        allowed = g.allowed(g.input("mask", "bool", width))
        finite = g.add("Where", allowed, finite, -np.inf)
        count = g.reduce_row("ReduceSum", g.cast(allowed, "float32"), keep=True)
        random_share = g.add("Where", allowed, g.add("Div", np.array([[epsilon]], np.float32), count), 0.0)
    best = g.reduce_row("ArgMax", finite, keep=True)
    is_best = g.add("Equal", best, np.arange(width, dtype=np.int64)[None])
    probabilities = g.add("Add", g.add("Where", is_best, np.float32(1 - epsilon).item(), 0.0), random_share)
    squeezed = g.add("Squeeze", best, np.array([1], np.int64))
    return g.model("epsilon-greedy head", {"logits": (g.add("Log", probabilities), "float32", (width,)), "best": (squeezed, "int64", ())})
