"""Ops of onnxruntime's domain: fused products, norms and gates that its optimiser writes at level "extended".

Source: onnxruntime, docs/ContribOperators.md, com.microsoft-1; SimplifiedLayerNormalization is in ONNX's own domain there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cervello.errors import GraphError
from cervello.native.graph.dtypes import F32
from cervello.native.passes.graph_builder import GraphBuilder, Results, Rule, decomposes

DOMAIN = "com.microsoft"


def contrib(*ops: str, least: int, most: int, floats: Iterable[int] | None = None, attributes: tuple[str, ...] = (), results: int = 1,
            domain: str = DOMAIN) -> Callable[[Rule], Rule]:
    """Registers a decomposition of ops that have no ONNX schema, with the checks that a schema would give.

    Args:
      least, most: number of operands; the first `least` are required.
      floats: indices of operands that must be float32 if they are given; None: all.
      attributes: supported attributes; a node with others is not decomposed.
      results: number of supported results.
    """
    def register(rule: Rule) -> Rule:
        def checked(s: GraphBuilder) -> Results:
            given = len(s.node.inputs)
            if given > most or any(not s.input(i) for i in range(least)):
                raise GraphError(f"node {s.node}: expected {least} to {most} operands, got {[i for i in s.node.inputs if i]}; export the "
                                 "policy again")
            if set(s.node.attributes) - set(attributes) or any(s.node.outputs[results:]):
                return None
            return rule(s) if are_floats(s, *(range(given) if floats is None else floats)) else None

        decomposes(*ops, domain=domain)(checked)
        return rule

    return register


def are_floats(s: GraphBuilder, *indices: int) -> bool:
    """Whether operands, where given, are float32."""
    return all(not s.input(i) or s.dtype(i) == F32 for i in indices)


_ACTIVATIONS = {"Relu": (), "Tanh": (), "Sigmoid": (), "Softplus": (), "Softsign": (), "LeakyRelu": ("alpha",), "Elu": ("alpha",),
                "ThresholdedRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}


def _activated(s: GraphBuilder, name: str, given: dict[str, float] | tuple[float, ...]) -> str | None:
    """Adds the activation that a node names, with parameters by name or in order; None if it is not supported."""
    kind = s.attribute("activation", "")
    if not kind:
        return name
    if kind == "Clip" and isinstance(given, tuple) and len(given) == 2:
        return s.add("Clip", name, s.constant(given[0], F32), s.constant(given[1], F32))
    names = _ACTIVATIONS.get(kind)
    if names is None or (isinstance(given, tuple) and len(given) != len(names)):
        return None
    by_name = dict(zip(names, given, strict=True)) if isinstance(given, tuple) else given
    values: dict[str, Any] = {name: by_name[name] for name in names if name in by_name}
    return str(s.add(kind, name, **values))


@contrib("FusedMatMul", "TransposeMatMul", least=2, most=2, attributes=("alpha", "transA", "transB", "transBatchA", "transBatchB"))
def _fused_matmul(s: GraphBuilder) -> Results:
    if s.attribute("transBatchA", 0) or s.attribute("transBatchB", 0):
        return None
    operands = []
    for i, flag in enumerate(("transA", "transB")):
        axes = list(range(len(s.shape(i))))
        transposed = s.attribute(flag, 0) and len(axes) > 1
        operands.append(s.transpose(s.input(i), *axes[:-2], axes[-1], axes[-2]) if transposed else s.input(i))
    product, alpha = s.add("MatMul", *operands), s.attribute("alpha", 1.0)
    return product if alpha == 1 else s.add("Mul", product, s.constant(alpha, F32))


@contrib("FusedGemm", least=2, most=3, attributes=("alpha", "beta", "transA", "transB", "activation", "activation_alpha", "activation_beta",
                                                   "activation_gamma"))
def _fused_gemm(s: GraphBuilder) -> Results:
    product = s.attributes("alpha", "beta", "transA", "transB")
    given = {name.removeprefix("activation_"): value for name, value in s.node.attributes.items() if name.startswith("activation_")}
    return _activated(s, s.add("Gemm", *s.node.inputs, **product), given)


@contrib("FusedConv", least=2, most=4, attributes=("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides", "activation",
                                                   "activation_params"))
def _fused_conv(s: GraphBuilder) -> Results:
    window = {name: value for name, value in s.node.attributes.items() if not name.startswith("activation")}
    y = s.add("Conv", *s.node.inputs[:3], **window)
    return _activated(s, s.add("Add", y, s.input(3)) if s.input(3) else y, tuple(s.attribute("activation_params", ())))


@contrib("SkipLayerNormalization", least=3, most=5, attributes=("epsilon",), results=4)
@contrib("SkipSimplifiedLayerNormalization", least=3, most=4, attributes=("epsilon",), results=4)
def _skip_norm(s: GraphBuilder) -> Results:
    """Mean and deviation as results exist only in training and are not supported."""
    if any(s.node.outputs[1:3]):
        return None
    simplified = s.node.op == "SkipSimplifiedLayerNormalization"
    shift, bias = ("", s.input(3)) if simplified else (s.input(3), s.input(4))
    total = s.add("Add", s.input(0), s.input(1))
    total = s.add("Add", total, bias) if bias else total
    normed = s.add("RMSNormalization" if simplified else "LayerNormalization", total, s.input(2), *([shift] if shift else []), axis=-1,
                   epsilon=float(s.attribute("epsilon", 1e-12)))
    return normed, "", "", total


_NORM = ("axis", "epsilon", "stash_type")


@contrib("SimplifiedLayerNormalization", least=2, most=2, attributes=_NORM, domain="")
@contrib("SimplifiedLayerNormalization", least=2, most=2, attributes=_NORM)
@contrib("LayerNormalization", least=2, most=3, attributes=_NORM)
def _norm(s: GraphBuilder) -> Results:
    op = "LayerNormalization" if s.node.op == "LayerNormalization" else "RMSNormalization"
    return str(s.add(op, *s.node.inputs, **s.node.attributes))


@contrib("Gelu", least=1, most=1)
@contrib("BiasGelu", least=2, most=2)
@contrib("FastGelu", least=1, most=2)
@contrib("QuickGelu", least=1, most=1, attributes=("alpha",))
def _gelu(s: GraphBuilder) -> Results:
    """Of the first operand, plus the second if there is one."""
    x = s.add("Add", s.input(0), s.input(1)) if s.input(1) else s.input(0)
    if s.node.op == "QuickGelu":
        return s.add("Swish", x, alpha=float(s.attribute("alpha", 1.702)))
    return s.add("Gelu", x, approximate="tanh") if s.node.op == "FastGelu" else s.add("Gelu", x)


@contrib("BiasAdd", least=3, most=3)
def _bias_add(s: GraphBuilder) -> Results:
    return s.add("Add", s.add("Add", s.input(0), s.input(1)), s.input(2))
