"""Decomposes Attention into products and a softmax; `fusion` makes one step of them if the intermediate values have no other consumer.

Source: ONNX operator specification, Attention-23 to 25: grouped queries, masks, caches, soft cap, causal and sliding windows. A query
that may attend to no key gives zeros.
"""

from __future__ import annotations

import math

import numpy as np

from cervello.native.graph.dims import Affine, depends_on_rows
from cervello.native.graph.dtypes import BOOL, F32
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes

_INF = np.float32(np.inf)


def _heads(s: GraphBuilder, index: int, count: int) -> tuple[str, tuple[int, ...]] | None:
    """Queries, keys or values as [batch, heads, length, size], and the last three sizes; None where one of these depends on N."""
    name, shape = s.input(index), s.shape(index)
    if depends_on_rows(shape[1:]):
        return None
    if len(shape) == 4:
        return name, shape[1:]  # type: ignore[return-value]
    length, width = int(shape[1]), int(shape[2])  # type: ignore[arg-type]
    return s.transpose(s.reshape(name, 0, 0, count, width // count), 0, 2, 1, 3), (count, length, width // count)


@decomposes("Attention")
def _attention(s: GraphBuilder) -> Results:
    if any(s.dtype(i) != F32 for i in range(3)):
        return None
    kv_heads = s.attribute("kv_num_heads", 0)
    found = [_heads(s, i, count) for i, count in enumerate((s.attribute("q_num_heads", 0), kv_heads, kv_heads))]
    if any(each is None for each in found) or s.attribute("softmax_precision", 1) not in (0, 1):
        return None
    (q, (q_heads, q_len, size)), (k, (k_heads, k_len, _)), (v, (_, _, v_size)) = found  # type: ignore[misc]
    past, lengths = 0, s.input(6)
    if s.input(4):
        past_size = s.shape(4)[2]
        if isinstance(past_size, Affine):
            return None
        past = int(past_size)
        k, v = (s.add("Concat", s.input(i), name, axis=2) for i, name in ((4, k), (5, v)))
    k_len += past
    present_k, present_v = k, v
    bias = _bias(s, q_len, k_len, past, lengths)
    if q_heads != k_heads:
        times = q_heads // k_heads
        wide = s.constant([1, 1, times, 1, 1])
        k, v = (s.reshape(s.add("Expand", s.add("Unsqueeze", name, s.constant([2])), wide), 0, q_heads, k_len, width)
                for name, width in ((k, size), (v, v_size)))
    scale = s.attribute("scale")
    scale = np.float32(math.sqrt(1 / math.sqrt(size) if scale is None else scale))
    factor = s.constant(scale, F32)
    raw = capped = scores = s.add("MatMul", s.add("Mul", q, factor), s.add("Mul", s.transpose(k, 0, 1, 3, 2), factor))
    cap = s.attribute("softcap", 0.0)
    if cap:
        capped = scores = s.add("Mul", s.add("Tanh", s.add("Div", scores, s.constant(cap, F32))), s.constant(cap, F32))
    masked_out = ""
    if bias is not None:
        scores = s.add("Add", scores, bias)
        data = s.constants.get(bias)
        if data is None or np.isneginf(data.max(-1)).any():  # a query that may attend to no key
            masked_out = s.add("Equal", s.add("ReduceMax", bias, s.constant([-1]), keepdims=1), s.constant(-_INF, F32))
    shares = s.add("Softmax", scores, axis=-1)
    y = s.add("MatMul", shares, v)
    zero = s.constant(0.0, F32)
    if masked_out:
        y = s.add("Where", masked_out, zero, y)
    if len(s.shape(0)) == 3:
        y = s.reshape(s.transpose(y, 0, 2, 1, 3), 0, 0, q_heads * v_size)
    scores_output = ""
    if any(s.node.outputs[3:]):
        mode = s.attribute("qk_matmul_output_mode", 0)
        if mode == 3 and masked_out:
            shares = s.add("Where", masked_out, zero, shares)
        scores_output = {0: raw, 1: capped, 2: scores, 3: shares}[mode]
    return y, present_k, present_v, scores_output


def _bias(s: GraphBuilder, q_len: int, k_len: int, past: int, lengths: str) -> str | None:
    """The mask that is added to the scores: 0 where a query may attend to a key, else -inf; None if there is no mask."""
    parts = []
    zero, never = s.constant(0.0, F32), s.constant(-_INF, F32)
    if s.input(3):
        mask, shape = s.input(3), s.shape(3)
        if s.dtype(3) == BOOL:
            mask = s.add("Where", mask, zero, never)
        lacking = k_len - int(shape[-1])  # type: ignore[arg-type]
        if lacking > 0:
            rank = len(shape)
            mask = s.add("Pad", mask, s.constant([0] * rank + [0] * (rank - 1) + [lacking]), never, mode="constant")
        parts.append(mask)
    left, right = s.attribute("left_window_size", -1), s.attribute("right_window_size", -1)
    windows = [(True, 0)] if s.attribute("is_causal", 0) else []
    windows += [(True, right)] if right >= 0 else []
    windows += [(False, left)] if left >= 0 else []
    i, j = np.arange(q_len)[:, None], np.arange(k_len)[None]
    if lengths and not past and windows:
        first = s.add("Unsqueeze", s.add("Sub", lengths, s.constant(q_len)), s.constant([1, 2, 3]))  # [batch, 1, 1, 1]
        for ahead, reach in windows:
            edge = s.add("Add", first, s.constant((i + reach if ahead else i - reach)[None, None]))
            allowed = s.add("GreaterOrEqual" if ahead else "LessOrEqual", edge, s.constant(j[None, None]))
            parts.append(s.add("Where", allowed, zero, never))
    elif windows:
        scores_output = np.ones((q_len, k_len), bool)
        for ahead, reach in windows:
            scores_output &= j <= i + past + reach if ahead else j >= i + past - reach
        parts.append(s.constant(np.where(scores_output, np.float32(0), -_INF), F32))
    if lengths:
        valid = s.add("Less", s.constant(j[None, None]), s.add("Unsqueeze", lengths, s.constant([1, 2, 3])))
        parts.append(s.add("Where", valid, zero, never))
    if not parts:
        return None
    total = parts[0]
    for part in parts[1:]:
        total = s.add("Add", total, part)
    return str(total)
