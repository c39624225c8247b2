"""Attend: a chain MatMul, elementwise ops, Softmax, MatMul as one step. `fusion` makes these nodes; no file holds one."""

from __future__ import annotations

from typing import Any

from cervello.native.graph.dtypes import F32
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Address, Space, Tensor, Weight
from cervello.native.kernels.schema import PREFIX
from cervello.native.kernels.schemas import ATTEND_OP
from cervello.native.kernels.sizes import PANEL, SCORE_ROWS, row_scratch
from cervello.native.lowering.loop_nests import broadcast_strides, collapse, leading_strides, padded
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import lowers
from cervello.native.lowering.rules.elementwise import BINARY
from cervello.native.lowering.rules.linear import padded_bias, segments_for
from cervello.native.passes.fusion import MOST_OPS


@lowers("Attend")
def _attend(lowering: Lowering, node: Node) -> None:
    q, k, v = (lowering.tensor(name) for name in node.inputs[:3])
    if q.strides[-1] != 4 and q.shape[-1] != 1:
        q = lowering.contiguous(q)
    shape = node.attributes["scores"]
    lead = shape[:-2]
    target = _target(lowering, node.outputs[0], q)
    others = [_dense(lowering, name) for name in node.inputs[3:]]
    operand_strides = [broadcast_strides(other, shape) for other in others]
    strides = [leading_strides(tensor, lead) for tensor in (q, k, v, target)] + [each[:-2] for each in operand_strides]
    sizes, steps = padded(*collapse(lead, strides), 3)
    m, n, d, dv = (int(size) for size in (*shape[-2:], q.shape[-1], v.shape[-1]))
    ops: list[Any] = []
    for (op, on_left), each, step in zip(node.attributes["ops"], operand_strides, steps[4:], strict=True):
        ops += ATTEND_OP.arrange({"block": Address(f"{PREFIX}{BINARY[F32][op]}"), "on_left": int(on_left), "by": step, "row": each[-2],
                                  "mask": 0 if each[-1] else (1 if on_left else 2)})
    keys, values = (-(-width // PANEL) * PANEL * terms for terms, width in ((d, n), (n, dv)))
    transposed, in_one_block = row_scratch(n), m <= SCORE_ROWS  # rows are transposed where the keys were, or behind the scores
    scores = -(-min(SCORE_ROWS, m) * n // 16) * 16 + (0 if in_one_block else transposed)
    scratch_sizes = (max(keys, transposed) if in_one_block else keys, values, scores)
    scratch = tuple(lowering.scratch((size,), F32) for size in scratch_sizes)
    unused = [q] * (MOST_OPS - len(others))  # the kernel has a fixed number of operands
    lowering.emit(
        "attention:attend", (q, k, v, *others, *unused), (target,), scratch, sizes=sizes, q_by=steps[0], k_by=steps[1], v_by=steps[2],
        out_by=steps[3], m=m, n=n, d=d, dv=dv, q_row=q.strides[-2], k_row=k.strides[-2], k_column=k.strides[-1], v_row=v.strides[-2],
        v_column=v.strides[-1], out_row=target.strides[-2], d_segments=segments_for(d, n), n_segments=segments_for(n, dv),
        zeros=Weight(padded_bias(None, max(n, dv))), n_ops=len(others), softmax=Address(PREFIX + "normalize_last:softmax"), ops=ops)


def _target(lowering: Lowering, name: str, q: Tensor) -> Tensor:
    """In place of q if q has no later consumer and fits: each row of q is read completely before its row of the result is written."""
    free = name not in lowering.destinations and q.buffer.space is Space.ARENA and q.buffer.readers == 1
    expanded = any(stride == 0 and size != 1 for size, stride in zip(q.shape, q.strides, strict=True))  # rows of q share their memory
    if not free or expanded or q.shape != lowering.shape(name) or q.strides[-1] != 4:
        return lowering.output(name)
    lowering.alias(name, q)
    return lowering.tensors[name]


def _dense(lowering: Lowering, name: str) -> Tensor:
    tensor = lowering.tensor(name)
    return tensor if not tensor.shape or tensor.shape[-1] == 1 or tensor.strides[-1] == 4 else lowering.contiguous(tensor)
