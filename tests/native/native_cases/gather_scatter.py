"""Elements picked and placed by computed indices, resized pictures, and ops that are spelled in others."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from native_graphs import I64, Chain, In, one, rows, weights

from native_cases.case import Case


def _a(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def _index(*shape: int) -> In:
    return In(("N", *shape), I64)


def _gather_elements(width: int) -> Any:
    c = Chain(x=rows(3, width), i=_index(3, width))
    return c.model(c.add("GatherElements", "x", "i", axis=1))


def _gather_nd(width: int) -> Any:
    c = Chain(x=rows(3, width), i=_index(4, 1))
    return c.model(c.add("GatherND", "x", "i", batch_dims=1))


def _scatter_elements(width: int, reduction: str = "none") -> Any:
    c = Chain(opset=18, x=rows(3, width), i=_index(1, width), u=rows(1, width))
    return c.model(c.add("ScatterElements", "x", "i", "u", axis=1, reduction=reduction))


def _top_k(width: int) -> Any:
    c = Chain(x=rows(width + 2))
    return c.model(*c.add("TopK", "x", _a(2), outputs=2, axis=1), *c.add("TopK", "x", _a(1), outputs=2, axis=-1, largest=0))


def _resize(width: int, mode: str, **attributes: Any) -> Any:
    c = Chain(opset=18, x=rows(2, 3, width + 1))
    return c.model(c.add("Resize", "x", "", np.array([1, 1, 1.5, 2], np.float32), mode=mode, **attributes))


def _attention(width: int) -> Any:
    c = Chain(opset=23, q=rows(3, 2 * width), k=rows(4, width), v=rows(4, width))
    return c.model(c.add("Attention", "q", "k", "v", q_num_heads=2, kv_num_heads=1, is_causal=1))


def _cell(op: str, width: int, **attributes: Any) -> Any:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    c = Chain(opset=14, x=rows(3, 5))
    w, r, b = weights(1, gates * width, 5), weights(1, gates * width, width), weights(1, 2 * gates * width)
    y, h = c.add(op, c.add("Transpose", "x", perm=[1, 0, 2]), w, r, b, outputs=2, hidden_size=width, **attributes)
    return c.model(c.add("Transpose", c.add("Squeeze", y, _a(1)), perm=[1, 0, 2]), c.add("Squeeze", h, _a(0)))


CASES = [
    Case("GatherElements", _gather_elements, integers=(-3, 3)), Case("GatherND", _gather_nd, integers=(-3, 3)),
    Case("ScatterElements", _scatter_elements, integers=(-3, 3)),
    Case("ScatterElements-add", partial(_scatter_elements, reduction="add"), integers=(-3, 3)), Case("TopK", _top_k),
    *(Case(f"Resize-{mode}", partial(_resize, mode=mode), tolerance=1e-5) for mode in ("nearest", "linear", "cubic")),
    Case("Resize-align", partial(_resize, mode="linear", coordinate_transformation_mode="align_corners"), foreign=False),
    *(Case(f"Pad-{mode}", lambda w, mode=mode: one("Pad", rows(w + 2, 3), _a(0, 1, 2, 0, 2, 1), mode=mode))
      for mode in ("reflect", "edge")),
    Case("Tile", lambda w: one("Tile", rows(2, w), _a(1, 3, 2))),
    Case("InstanceNormalization", lambda w: one("InstanceNormalization", rows(3, w), weights(3), weights(3, seed=1)), tolerance=1e-4),
    Case("GroupNormalization", lambda w: one("GroupNormalization", rows(4, w + 1), weights(4), weights(4, seed=1), num_groups=2, opset=21),
         foreign=False),
    Case("RMSNormalization", lambda w: one("RMSNormalization", rows(3, w), weights(w), opset=23), foreign=False),
    Case("ConvTranspose", lambda w: one("ConvTranspose", rows(2, 3, w), weights(2, 5, 3, 2), weights(5), strides=[2, 1], pads=[1, 0, 0, 1]),
         tolerance=1e-5),
    Case("Einsum-pairs", lambda w: one("Einsum", rows(2, w), weights(3, w), equation="nij,kj->nki"), tolerance=1e-5),
    Case("OneHot", lambda w: one("OneHot", _index(w), _a(4), np.array([-1, 2], np.float32)), integers=(-4, 4)),
    Case("DepthToSpace", lambda w: one("DepthToSpace", rows(8, 2, w), blocksize=2, mode="CRD")),
    Case("Attention-grouped", _attention, foreign=False),
    *(Case(f"{op}-clip", partial(_cell, op, clip=0.3), foreign=False) for op in ("LSTM", "GRU", "RNN")),
    Case("RNN", partial(_cell, "RNN"), tolerance=1e-5),
    Case("LSTM-activations", partial(_cell, "LSTM", activations=["HardSigmoid", "Softsign", "Relu"]), tolerance=1e-5),
]
