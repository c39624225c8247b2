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

    def make(emit: Callable[..., Any]) -> Any:
        named = [each.name for each in inspect.signature(emit).parameters.values() if each.kind is not inspect.Parameter.VAR_POSITIONAL]
        others = [f"operand_{i}" for i in range(len(named) - 1, len(operands))]  # of an emit(builder, *values)

        @functools.wraps(emit)
        def define(typing_context: Any, *given: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                value = emit(builder, *values)
                return context.get_dummy_value() if result == types.void else value

            return result(*operands), codegen

        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("typing_context", *named[1:], *others)]
        define.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return intrinsic(define)

    return make
