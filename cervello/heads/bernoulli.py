"""Independent binary actions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.heads.base import COMMON_EXTRAS, Head, Rng, scalars, tensor_name
from cervello.heads.graph_builder import GraphBuilder, Port
from cervello.heads.graph_stages import FLAGS, NOISE, run, stage
from cervello.native import Model
from cervello.native.execution.chained import Feed, Stage
from cervello.spec import Array, Specs, TensorSpec

_INT8 = np.dtype(np.int8)


class Bernoulli(Head):
    """Elements that are 1 with probability sigmoid(logit), else 0: the actions of a MultiBinary space, int8 of the logits' shape.

    A draw takes one uniform number u per element, a multiple of 2⁻²⁴: the element is 1 where u < sigmoid(logit), in float32. An infinite
    logit has a certain result. Deterministic rows are 1 where the logit is positive. An element whose logit is NaN is 0, and the
    log-probability and entropy of its row are NaN.

    Args:
      logits: name of a tensor [N, …].
    """

    noise = "uniform"
    extras = COMMON_EXTRAS

    def __init__(self, logits: str):
        self.name = tensor_name("Bernoulli", "logits", logits)
        self.tensors = (self.name,)

    def __repr__(self) -> str:
        return f"Bernoulli({self.name!r})"

    def specs(self, given: Specs) -> Specs:
        return scalars(TensorSpec("action", self._spec(given, self.name).shape, _INT8), self.supports)

    def noise_width(self, given: Specs) -> int:
        """One number per element, by the specs `given`."""
        return self._spec(given, self.name).size

    def act(self, columns: Mapping[str, Any], noise: Array | None = None, deterministic: Array | None = None,
            wanted: tuple[str, ...] | None = None, rng: Rng = None) -> dict[str, Array]:
        logits = self._rows(columns, self.name)
        flags = self._flags(deterministic, len(logits))
        names = self._wanted(wanted)
        model = _sampling_model(logits.shape[1], self._graph_results(names))
        found = run(model, logits=logits, uniform=self._noise(noise, flags, logits.shape[1], rng), deterministic=flags[:, None])
        if "action" in found:
            found["action"] = found["action"].astype(_INT8).reshape(np.shape(columns[self.name]))
        return self._with_flags(found, names, flags)

    def stages(self, given: Specs, wanted: tuple[str, ...]) -> tuple[Stage, ...] | None:
        if type(self) is not Bernoulli:
            return None
        model = _sampling_model(self.noise_width(given), self._graph_results(wanted))
        drawn = stage(model, int8=frozenset({"action"}), logits=Feed("output", self.name), uniform=NOISE, deterministic=FLAGS)
        return self._with_flags_stage(drawn, wanted=wanted)

    def log_prob(self, columns: Mapping[str, Any], action: Any) -> Array:
        logits = self._rows(columns, self.name)
        actions = self._array("action", action)
        fits = actions.dtype.kind in "fiub" and actions.ndim > 0 and actions.size == logits.size and len(actions) == len(logits)
        if not fits or not ((actions == 0) | (actions == 1)).all():
            raise InputError(f"head {self!r}, action: expected zeros and ones of {np.shape(columns[self.name])}, got {actions.shape} "
                             f"{actions.dtype}{', with other numbers' if fits else ''}")
        rows = np.ascontiguousarray(actions, np.float32).reshape(logits.shape)
        return run(_log_prob_model(logits.shape[1]), logits=logits, action=rows)["log_prob"]


def _log_prob(g: GraphBuilder, logits: str, action: str) -> str:
    """[N] for [N, width] of 0 and 1: -softplus of the logit, negated where the action is 1."""
    log_odds = g.add("Where", g.add("Equal", action, 0.0), logits, g.add("Neg", logits))
    return g.reduce_row("ReduceSum", g.add("Neg", g.add("Softplus", log_odds)))


def _entropy(g: GraphBuilder, logits: str) -> str:
    """[N]: Σ p softplus(-x) + (1 - p) softplus(x), where 0 times infinity is 0."""
    other = g.add("Neg", logits)
    terms = []
    for x, minus_x in ((logits, other), (other, logits)):
        p = g.add("Sigmoid", x)
        terms.append(g.add("Where", g.add("Equal", p, 0.0), 0.0, g.add("Mul", p, g.add("Softplus", minus_x))))
    return g.reduce_row("ReduceSum", g.add("Add", *terms))


@lru_cache(maxsize=128)
def _sampling_model(width: int, wanted: tuple[str, ...]) -> Model:
    g = GraphBuilder()
    logits = g.input("logits", "float32", width)
    outputs: dict[str, Port] = {}
    if "action" in wanted or "log_prob" in wanted:
        flag = g.input("deterministic", "bool", 1)
        drawn = g.cast(g.add("Less", g.input("uniform", "float32", width), g.add("Sigmoid", logits)), "float32")
        action = g.add("Where", flag, g.cast(g.add("Greater", logits, 0.0), "float32"), drawn)
        if "action" in wanted:
            outputs["action"] = action, "float32", (width,)
        if "log_prob" in wanted:
            outputs["log_prob"] = g.zero_where(flag, _log_prob(g, logits, action)), "float32", ()
    if "entropy" in wanted:
        outputs["entropy"] = _entropy(g, logits), "float32", ()
    return g.model("bernoulli head", outputs)


@lru_cache(maxsize=128)
def _log_prob_model(width: int) -> Model:
    g = GraphBuilder()
    logits, action = g.input("logits", "float32", width), g.input("action", "float32", width)
    return g.model("bernoulli head", {"log_prob": (_log_prob(g, logits, action), "float32", ())})
