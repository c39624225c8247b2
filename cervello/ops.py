"""Ops of one's own: for files with custom domains, or to run chains of ops as one.

    @ops.elementwise("com.example", "SquaredRelu")
    def squared_relu(x):                       # sixteen float32 at once; compiled, and taken into the product before it
        return ops.select(x > ops.splat(0.0), x * x, ops.splat(0.0))

    @ops.decompose("com.example", "Residual")    # by ops that Cervello has: planned, fused and freed like any others
    def residual(builder):
        builder.set_outputs(builder.add("Add", builder.input(0), builder.input(1)))
        return True

    @ops.decompose("", "Mul")                    # a pattern: x * relu(x) becomes SquaredRelu
    def fuse(builder):
        for x, gate in (0, 1), (1, 0):
            maker = builder.maker(gate)         # the node that makes this input, if no other node reads it
            if maker is not None and maker.op == "Relu" and maker.inputs[0] == builder.input(x):
                builder.set_outputs(builder.add("SquaredRelu", builder.input(x), domain="com.example"))
                return True
        return False                           # not in this form: left as it is

Register before loading; models that are loaded keep what they were built with. `model.plan()` shows what runs. A registered form comes
before Cervello's own, the last registered first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cervello.codegen.blocks import elementwise_block
from cervello.codegen.functions import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atanh,
    cos,
    cosh,
    erf,
    exp,
    expm1,
    log,
    log1p,
    mish,
    power,
    sigmoid,
    sin,
    sinh,
    softplus,
    tan,
    tanh,
)
from cervello.codegen.simd import fabs, fma, round_down, round_even, round_up, select, splat, sqrt
from cervello.errors import ConfigurationError
from cervello.native.lowering.rules.elementwise import register_map
from cervello.native.passes.graph_builder import Decomposition, GraphBuilder, register_first

__all__ = [
    "GraphBuilder",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "decompose",
    "elementwise",
    "erf",
    "exp",
    "expm1",
    "fabs",
    "fma",
    "log",
    "log1p",
    "mish",
    "power",
    "round_down",
    "round_even",
    "round_up",
    "select",
    "sigmoid",
    "sin",
    "sinh",
    "softplus",
    "splat",
    "sqrt",
    "tan",
    "tanh",
]

_MOST_ATTRIBUTES = 3


def elementwise(domain: str, op: str, **attributes: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers an op that maps each float32 element on its own.

    The function gets sixteen elements at once and its attributes, each in all sixteen lanes; it computes with operators (+ - * / and
    comparisons, which give masks) and with the functions of this module, and is compiled when a model first needs it. It must lie at the
    top level of a module. Cervello's law holds for it: a row's bits do not depend on the batch.

    Args:
      domain: of the op, as in the file; not ONNX's own.
      attributes: names and defaults of up to three float attributes, in the order of the function's parameters.
    Raises:
      ConfigurationError: no domain, or a function that cannot be found again by name.
    """
    if not domain or domain == "ai.onnx":
        raise ConfigurationError(f"ops.elementwise, {op!r}: expected a domain of your own, got {domain!r}; ops.decompose "
                                 "changes ONNX's ops")
    if len(attributes) > _MOST_ATTRIBUTES:
        raise ConfigurationError(f"ops.elementwise, {domain}.{op}: expected at most {_MOST_ATTRIBUTES} attributes, got {len(attributes)}")

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if function.__qualname__ != function.__name__:
            raise ConfigurationError(f"ops.elementwise, {domain}.{op}: expected a function at the top level of a module, got "
                                     f"{function.__qualname__!r}")
        register_map(f"{domain}.{op}", f"{function.__module__}:{function.__name__}", attributes)

        def as_own_op(builder: GraphBuilder) -> bool:
            given: dict[str, Any] = {name: float(builder.attribute(name, default)) for name, default in attributes.items()}
            builder.set_outputs(builder.add(f"{domain}.{op}", builder.input(0), **given))
            return True

        register_first(domain, op, as_own_op)
        return elementwise_block(function, len(attributes))  # type: ignore[no-untyped-call,no-any-return]

    return register


def decompose(domain: str, op: str) -> Callable[[Decomposition], Decomposition]:
    """Registers how an op is written in others.

    The function gets a `GraphBuilder` of the node, adds nodes to it, says what the results are with `set_outputs`, and returns True; or
    returns False to leave the node as it is. It is called when the shapes and types of all inputs are known (`builder.value(i)`).

    Args:
      domain: "" for ONNX's own ops.
    """
    def register(function: Decomposition) -> Decomposition:
        register_first("" if domain == "ai.onnx" else domain, op, function)
        return function

    return register
