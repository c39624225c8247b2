"""`operation`: an intrinsic for kernels, made of a function that emits LLVM instructions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic


def operation(result: Any, *operands: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes an intrinsic of a function (builder, LLVM value of each operand) that returns the LLVM value of the result.

    Args:
      result: numba's type of the result; `types.void` for none.
      operands: numba's types of the operands.
    """
    names = ["typing_context", *(f"operand_{i}" for i in range(len(operands)))]

    def make(emit: Callable[..., Any]) -> Any:
        @functools.wraps(emit)
        def define(typing_context: Any, *given: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                value = emit(builder, *values)
                return context.get_dummy_value() if result == types.void else value

            return result(*operands), codegen

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        define.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
        return intrinsic(define)

    return make
