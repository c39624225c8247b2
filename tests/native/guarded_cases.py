"""All graphs that run between pages without access: the families of `native_cases`, and what these leave out."""

from __future__ import annotations

from typing import Any

import numpy as np
from native_cases import FAMILIES
from native_cases.case import Case
from native_flow import BATCHED, SINGLE, parsed
from native_graphs import I64, Chain, In, one, rows

_I32 = np.dtype(np.int32)


def _narrow(width: int, activation: str = "Tanh") -> Any:
    """Few columns and many terms."""
    c = Chain(x=rows(62 + width))
    return c.model(c.add(activation, c.dense("x", 62 + width, 1 + width % 8)))


def _scatter_nd(width: int) -> Any:
    c = Chain(x=In((1, 3, width)), i=In((1, 2, 2), I64), u=In((1, 2, width)))
    return c.model(c.add("ScatterND", "x", "i", "u"))


def _integers(width: int) -> Any:
    c = Chain(x=rows(3, width, dtype=_I32), y=rows(1, width, dtype=_I32))
    results = [c.add(op, "x", "y") for op in ("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Less", "Equal", "Greater")]
    return c.model(*results, *(c.add(op, "x") for op in ("Neg", "Abs", "Sign")))


def _halves(width: int) -> Any:
    c = Chain(x=rows(width, dtype=np.dtype(np.float16)), y=rows(width))
    return c.model(c.add("Tanh", "x"), c.add("Cast", c.add("Cast", "y", to=16), to=1))


OTHERS = [Case("Gemm-narrow", _narrow), Case("Gemm-narrow-relu", lambda w: _narrow(w, "Relu")),
          Case("ScatterND", _scatter_nd, integers=(0, 1)), Case("int32", _integers, integers=(-5, 5)), Case("halves", _halves),
          Case("Softmax-long", lambda w: one("Softmax", rows(3, 64 + w), axis=-1)),
          Case("LpNormalization", lambda w: one("LpNormalization", rows(3, w), axis=-1))]
FLOW = [Case(name, lambda w, text=text: parsed(text, ', "mine" : 1' if "mine." in text else ""), integers=(0, 2))
        for name, text in (BATCHED | SINGLE).items()]
ALL_FAMILIES: dict[str, list[Case]] = {**FAMILIES, "others": OTHERS, "flow": FLOW}
