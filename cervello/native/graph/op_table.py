"""Tables of functions by op and the decorators that fill them, and families of ops that several tables name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F")
# Of one float operand, element by element. Their results have its shape and type.
UNARY_FLOATS = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu",
    "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh",
    "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu")
REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
              "ReduceLogSum", "ReduceLogSumExp")


def registers(table: dict[str, F]) -> Callable[..., Callable[[F], F]]:
    """A decorator that enters a function in a table under each of the ops it is called with."""
    def of_ops(*ops: str) -> Callable[[F], F]:
        def register(function: F) -> F:
            table.update(dict.fromkeys(ops, function))
            return function

        return register

    return of_ops
