"""The graphs of categorical heads."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from cervello.heads.graph_builder import GraphBuilder, Port
from cervello.native import Model

_LARGEST = float(np.finfo(np.float32).max)


class Choice:
    """The nodes of one choice; only the requested results are computed.

    Args:
      g: the graph.
      logits: a value [N, K] float32.
      mask: a value [N, K] bool; None without.

    Logits are made finite first, so that their maximum is finite. Masked ones then become -∞, whose weight is exactly 0.
    """

    def __init__(self, g: GraphBuilder, logits: str, mask: str | None):
        self.g = g
        is_number = g.add("Equal", logits, logits)  # not NaN
        finite = g.add("Clip", g.add("Where", is_number, logits, -_LARGEST), -_LARGEST, _LARGEST)
        nan_logits = g.add("Where", is_number, 0.0, logits)
        if mask is not None:
            allowed = g.allowed(mask)
            finite = g.add("Where", allowed, finite, -np.inf)
            nan_logits = g.add("Where", allowed, nan_logits, 0.0)
        self.scores = finite
        self.nan_term = g.reduce_row("ReduceSum", nan_logits)  # NaN if an allowed logit is, else 0
        largest = g.reduce_row("ReduceMax", finite, keep=True)
        impossible = g.add("And", g.add("Equal", logits, -np.inf), g.add("Greater", largest, -_LARGEST))  # where another one is possible
        self.shifted = g.add("Where", impossible, -np.inf, g.add("Sub", finite, largest))
        self.weights = g.add("Exp", self.shifted)  # the largest is 1
        self.total = g.reduce_row("ReduceSum", self.weights)
        self.log_total = g.add("Log", self.total)

    def mode(self) -> str:
        """[N, 1] int64."""
        return self.g.reduce_row("ArgMax", self.scores, keep=True)

    def drawn(self, uniform: str) -> str:
        """[N, 1] int64 for uniform [N, 1], multiples of 2⁻²⁴ below 1.

        Cumulated sums of nonnegative weights never decrease, and a weight of 0 leaves them unchanged: the first sum above a threshold
        belongs to a positive weight. The threshold is below the last sum, since (1 - 2⁻²⁴) times a float32 rounds to a smaller one.
        """
        g = self.g
        sums = g.add("CumSum", self.weights, np.array(1, np.int64))
        last = g.add("Slice", sums, np.array([-1], np.int64), np.array([np.iinfo(np.int64).max], np.int64), np.array([1], np.int64))
        passed = g.add("LessOrEqual", sums, g.add("Mul", uniform, last))
        return g.cast(g.reduce_row("ReduceSum", g.cast(passed, "float32"), keep=True), "int64")

    def log_prob(self, action: str) -> str:
        """[N] for [N, 1] int64."""
        g = self.g
        chosen = g.add("Squeeze", g.add("GatherElements", self.shifted, action, axis=1), np.array([1], np.int64))
        return g.add("Add", g.add("Sub", chosen, self.log_total), self.nan_term)

    def every_log_prob(self) -> str:
        """[N, K]."""
        log_total, nan_term = (self.g.add("Unsqueeze", each, np.array([1], np.int64)) for each in (self.log_total, self.nan_term))
        return self.g.add("Add", self.g.add("Sub", self.shifted, log_total), nan_term)

    def entropy(self) -> str:
        """[N]: log Z - Σ w log w / Z, where w log w is 0 for w = 0."""
        g = self.g
        terms = g.add("Where", g.add("Equal", self.weights, 0.0), 0.0, g.add("Mul", self.weights, self.shifted))
        return g.add("Add", g.add("Sub", self.log_total, g.add("Div", g.reduce_row("ReduceSum", terms), self.total)), self.nan_term)


def _choices(g: GraphBuilder, sizes: tuple[int, ...], masked: bool) -> list[Choice]:
    width = sum(sizes)
    logits = _parts(g, g.input("logits", "float32", width), sizes)
    masks = _parts(g, g.input("mask", "bool", width), sizes) if masked else [None] * len(sizes)
    return [Choice(g, *each) for each in zip(logits, masks, strict=True)]


def _parts(g: GraphBuilder, value: str, sizes: tuple[int, ...]) -> list[str]:
    return [value] if len(sizes) == 1 else g.split("Split", len(sizes), value, np.array(sizes, np.int64), axis=1)


def _sum(g: GraphBuilder, values: list[str]) -> str:
    total = values[0]
    for value in values[1:]:
        total = g.add("Add", total, value)
    return total


@lru_cache(maxsize=128)
def sampling_model(sizes: tuple[int, ...], masked: bool, wanted: tuple[str, ...]) -> Model:
    """The graph of `act`: logits [N, width], mask [N, width] where masked, uniform [N, choices], deterministic [N, 1] ▸ the wanted results.

    Args:
      sizes: number of actions of each choice; width is their sum.
      wanted: among "action" [N, choices] int64, "log_prob" [N] and "entropy" [N].
    """
    g = GraphBuilder()
    choices = _choices(g, sizes, masked)
    outputs: dict[str, Port] = {}
    if "action" in wanted or "log_prob" in wanted:
        uniforms = _parts(g, g.input("uniform", "float32", len(sizes)), (1,) * len(sizes))
        flag = g.input("deterministic", "bool", 1)
        actions = [g.add("Where", flag, choice.mode(), choice.drawn(u)) for choice, u in zip(choices, uniforms, strict=True)]
        if "action" in wanted:
            outputs["action"] = (g.add("Concat", *actions, axis=1) if len(actions) > 1 else actions[0]), "int64", (len(sizes),)
        if "log_prob" in wanted:
            total = _sum(g, [c.log_prob(a) for c, a in zip(choices, actions, strict=True)])
            outputs["log_prob"] = g.zero_where(flag, total), "float32", ()
    if "entropy" in wanted:
        outputs["entropy"] = _sum(g, [choice.entropy() for choice in choices]), "float32", ()
    return g.model("categorical head", outputs)


@lru_cache(maxsize=128)
def log_prob_model(sizes: tuple[int, ...], masked: bool) -> Model:
    """The graph of `log_prob`: logits [N, width], mask where masked, action [N, choices] int64 ▸ log_prob [N]."""
    g = GraphBuilder()
    choices = _choices(g, sizes, masked)
    actions = _parts(g, g.input("action", "int64", len(sizes)), (1,) * len(sizes))
    found = _sum(g, [choice.log_prob(action) for choice, action in zip(choices, actions, strict=True)])
    return g.model("categorical head", {"log_prob": (found, "float32", ())})


@lru_cache(maxsize=128)
def all_log_probs_model(width: int, masked: bool) -> Model:
    """The graph of `Categorical.every_log_prob`: logits [N, width], mask where masked ▸ log_prob [N, width]."""
    g = GraphBuilder()
    [choice] = _choices(g, (width,), masked)
    return g.model("categorical head", {"log_prob": (choice.every_log_prob(), "float32", (width,))})
