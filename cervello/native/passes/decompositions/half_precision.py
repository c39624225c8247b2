"""Ops on 16-bit floats: operands are cast to float32, and results are rounded once.

Ops that only move elements are not listed; their kernels take elements of any size.
"""

from __future__ import annotations

from dataclasses import replace

from cervello.native.fallback.precision import HALF_TYPES
from cervello.native.frontend.control_flow import RANDOM
from cervello.native.graph.dtypes import F32
from cervello.native.graph.op_table import REDUCTIONS, UNARY_FLOATS
from cervello.native.passes.graph_builder import GraphBuilder, Results, applied, register_first

_OPS = (
    *UNARY_FLOATS, *REDUCTIONS, "Add", "ArgMax", "ArgMin", "Attention", "AveragePool", "BatchNormalization", "Bernoulli", "Conv",
    "ConvTranspose", "CumSum", "Div", "Einsum", "Equal", "GRU", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual",
    "GroupNormalization", "InstanceNormalization", "IsInf", "IsNaN", "LSTM", "LayerNormalization", "Less", "LessOrEqual", "LogSoftmax",
    "LpNormalization", "MatMul", "Max", "MaxPool", "Mean", "MeanVarianceNormalization", "Min", "Mod", "Mul", "Multinomial", "PRelu", "Pow",
    "RMSNormalization", "RNN", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Resize", "Shrink", "Softmax",
    "Sub", "Sum", "TopK", "Upsample")


def _in_float32(s: GraphBuilder) -> Results:
    results = [s.graph.get(name) for name in s.node.outputs]
    kinds = [None if value is None else value.dtype for value in results]
    drawn = s.node.op in RANDOM
    if not any(value is not None and value.dtype in HALF_TYPES for value in s.values) and not (drawn and kinds[0] in HALF_TYPES):
        return None
    if any(name and kind is None for name, kind in zip(s.node.outputs, kinds, strict=True)):
        return None
    operands = []
    for name, value in zip(s.node.inputs, s.values, strict=True):
        operands.append(s.add("Cast", name, to=F32) if value is not None and value.dtype in HALF_TYPES else name)
    attributes = dict(s.node.attributes)
    if drawn and kinds[0] in HALF_TYPES and "dtype" in attributes:
        attributes["dtype"] = 1  # float32
    made = s.add(s.node.op, *operands, outputs=len(s.node.outputs), **attributes)
    names = [made] if len(s.node.outputs) == 1 else made
    own_results = tuple(name if given else "" for name, given in zip(names, s.node.outputs, strict=True))
    s.nodes[-1] = replace(s.nodes[-1], outputs=own_results, opset=s.node.opset, index=s.node.index if drawn else s.nodes[-1].index)
    return tuple(s.add("Cast", name, to=kind) if kind in HALF_TYPES else name for name, kind in zip(own_results, kinds, strict=True))


_DECOMPOSITION = applied(_in_float32)
for _op in _OPS:
    register_first("", _op, _DECOMPOSITION)
