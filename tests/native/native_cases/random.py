"""Ops that draw: every row from its own agent's stream."""

from __future__ import annotations

from typing import Any

from native_graphs import Chain, In, one, rows, weights

from native_cases.case import Case


def _gaussian(width: int) -> Any:
    """mean + exp(log_std) * noise."""
    c = Chain(x=rows(width))
    noise = c.add("RandomNormalLike", "x", mean=0.5, scale=2.0)
    return c.model(c.add("Add", c.add("Tanh", "x"), c.add("Mul", noise, weights(width))), c.add("Identity", noise))


def _beside_states(width: int) -> Any:
    """Noise in a graph that has another input with rows on axis 1."""
    c = Chain(x=rows(width), state=In((2, "N", 3)))
    return c.model(c.add("RandomNormalLike", "x"), c.add("Tanh", "state"))


CASES = [Case(name, build, foreign=False) for name, build in {
    "RandomNormalLike": _gaussian, "RandomNormalLike-long": lambda w: one("RandomNormalLike", rows(3, 40 + w)),
    "RandomUniformLike": lambda w: one("RandomUniformLike", rows(w), low=-1.0, high=3.0),
    "Multinomial": lambda w: one("Multinomial", rows(w), sample_size=70, dtype=7),
    "Multinomial-int32": lambda w: one("Multinomial", rows(w + 1)), "noise-beside-states": _beside_states}.items()]
