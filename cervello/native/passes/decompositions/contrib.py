"""Ops of onnxruntime's own domain that its optimiser writes where a file is saved after its level "extended": fused products, norms, gates.

Source: onnxruntime, docs/ContribOperators.md, com.microsoft-1; SimplifiedLayerNormalization stands in ONNX's domain there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cervello.errors import GraphError
from cervello.native.passes.graph_builder import Decomposition, GraphBuilder, decomposes

DOMAIN = "com.microsoft"
F32 = np.dtype(np.float32)


def contrib(*ops: str, least: int, most: int, attributes: tuple[str, ...] = (), results: int = 1, domain: str = DOMAIN,
            ) -> Callable[[Decomposition], Decomposition]:
    """Registers how ops without a schema are replaced, behind a check of what a schema would say.

    Args:
      least, most: operands, of which the first `least` must be there.
      attributes: those that are understood; a node with others is refused.
      results: as many as can be given.
    """
    def register(function: Decomposition) -> Decomposition:
        def checked(s: GraphBuilder) -> bool:
            given = len(s.node.inputs)
            if given > most or any(not s.input(i) for i in range(least)):
                raise GraphError(f"node {s.node}: expected {least} to {most} operands, got {[i for i in s.node.inputs if i]}; export the "
                                 "policy again")
            if set(s.node.attributes) - set(attributes) or any(s.node.outputs[results:]):
                return False
            return function(s)

        decomposes(*ops, domain=domain)(checked)
        return function

    return register


def floats(s: GraphBuilder, *indices: int) -> bool:
    """Whether operands, where given, are float32."""
    return all(not s.input(i) or ((value := s.value(i)) is not None and value.dtype == F32) for i in indices)


def rank(s: GraphBuilder, index: int) -> int:
    value = s.value(index)
    return len(value.shape or ()) if value is not None else 0


_ACTIVATIONS = {"Relu": (), "Tanh": (), "Sigmoid": (), "Softplus": (), "Softsign": (), "LeakyRelu": ("alpha",), "Elu": ("alpha",),
                "ThresholdedRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}


def _activated(s: GraphBuilder, name: str, given: dict[str, float] | tuple[float, ...]) -> str | None:
    """The activation that a node names, with its parameters by name or in order; None where it is another."""
    kind = s.attribute("activation", "")
    if not kind:
        return name
    if kind == "Clip" and isinstance(given, tuple) and len(given) == 2:
        return str(s.add("Clip", name, s.constant(given[0], F32), s.constant(given[1], F32)))
    names = _ACTIVATIONS.get(kind)
    if names is None or (isinstance(given, tuple) and len(given) != len(names)):
        return None
    by_name = dict(zip(names, given, strict=True)) if isinstance(given, tuple) else given
    values: dict[str, Any] = {name: by_name[name] for name in names if name in by_name}
    return str(s.add(kind, name, **values))


@contrib("FusedMatMul", "TransposeMatMul", least=2, most=2, attributes=("alpha", "transA", "transB", "transBatchA", "transBatchB"))
def _fused_matmul(s: GraphBuilder) -> bool:
    if not floats(s, 0, 1) or s.attribute("transBatchA", 0) or s.attribute("transBatchB", 0):
        return False
    operands = []
    for i, flag in enumerate(("transA", "transB")):
        axes = list(range(rank(s, i)))
        turned = s.attribute(flag, 0) and len(axes) > 1
        operands.append(s.transpose(s.input(i), *axes[:-2], axes[-1], axes[-2]) if turned else s.input(i))
    product, alpha = s.add("MatMul", *operands), s.attribute("alpha", 1.0)
    s.set_outputs(product if alpha == 1 else s.add("Mul", product, s.constant(alpha, F32)))
    return True


@contrib("FusedGemm", least=2, most=3, attributes=("alpha", "beta", "transA", "transB", "activation", "activation_alpha", "activation_beta",
                                                   "activation_gamma"))
def _fused_gemm(s: GraphBuilder) -> bool:
    product = {name: s.node.attributes[name] for name in ("alpha", "beta", "transA", "transB") if name in s.node.attributes}
    given = {name.removeprefix("activation_"): value for name, value in s.node.attributes.items() if name.startswith("activation_")}
    result = _activated(s, s.add("Gemm", *s.node.inputs, **product), given) if floats(s, 0, 1, 2) else None
    if result is not None:
        s.set_outputs(result)
    return result is not None


@contrib("FusedConv", least=2, most=4, attributes=("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides", "activation",
                                                   "activation_params"))
def _fused_conv(s: GraphBuilder) -> bool:
    if not floats(s, 0, 1, 2, 3):
        return False
    window = {name: value for name, value in s.node.attributes.items() if not name.startswith("activation")}
    y = s.add("Conv", *s.node.inputs[:3], **window)
    result = _activated(s, s.add("Add", y, s.input(3)) if s.input(3) else y, tuple(s.attribute("activation_params", ())))
    if result is not None:
        s.set_outputs(result)
    return result is not None


@contrib("SkipLayerNormalization", least=3, most=5, attributes=("epsilon",), results=4)
def _skip_layer_norm(s: GraphBuilder) -> bool:
    """Mean and deviation among its results are given by no form of it that runs for inference."""
    return _skip_norm(s, "LayerNormalization", s.input(3), s.input(4))


@contrib("SkipSimplifiedLayerNormalization", least=3, most=4, attributes=("epsilon",), results=4)
def _skip_rms_norm(s: GraphBuilder) -> bool:
    return _skip_norm(s, "RMSNormalization", "", s.input(3))


def _skip_norm(s: GraphBuilder, op: str, shift: str, bias: str) -> bool:
    if not floats(s, 0, 1, 2, 3, 4) or any(s.node.outputs[1:3]):
        return False
    total = s.add("Add", s.input(0), s.input(1))
    total = s.add("Add", total, bias) if bias else total
    normed = s.add(op, total, s.input(2), *([shift] if shift else []), axis=-1, epsilon=float(s.attribute("epsilon", 1e-12)))
    s.set_outputs(normed, "", "", total)
    return True


@contrib("SimplifiedLayerNormalization", least=2, most=2, attributes=("axis", "epsilon", "stash_type"), domain="")
@contrib("SimplifiedLayerNormalization", least=2, most=2, attributes=("axis", "epsilon", "stash_type"))
def _rms_norm(s: GraphBuilder) -> bool:
    if not floats(s, 0, 1):
        return False
    s.set_outputs(s.add("RMSNormalization", s.input(0), s.input(1), **s.node.attributes))
    return True


@contrib("LayerNormalization", least=2, most=3, attributes=("axis", "epsilon", "stash_type"))
def _layer_norm(s: GraphBuilder) -> bool:
    if not floats(s, 0, 1, 2):
        return False
    s.set_outputs(s.add("LayerNormalization", *s.node.inputs, **s.node.attributes))
    return True


@contrib("Gelu", least=1, most=1)
@contrib("BiasGelu", least=2, most=2)
def _gelu(s: GraphBuilder) -> bool:
    return _gate(s, "Gelu")


@contrib("FastGelu", least=1, most=2)
def _fast_gelu(s: GraphBuilder) -> bool:
    return _gate(s, "Gelu", approximate="tanh")


@contrib("QuickGelu", least=1, most=1, attributes=("alpha",))
def _quick_gelu(s: GraphBuilder) -> bool:
    return _gate(s, "Swish", alpha=float(s.attribute("alpha", 1.702)))


def _gate(s: GraphBuilder, op: str, **attributes: Any) -> bool:
    """An activation of the first operand, to which the second is added where there is one."""
    if not floats(s, 0, 1):
        return False
    s.set_outputs(s.add(op, s.add("Add", s.input(0), s.input(1)) if s.input(1) else s.input(0), **attributes))
    return True


@contrib("BiasAdd", least=3, most=3)
def _bias_add(s: GraphBuilder) -> bool:
    if not floats(s, 0, 1, 2):
        return False
    s.set_outputs(s.add("Add", s.add("Add", s.input(0), s.input(1)), s.input(2)))
    return True
