"""Compiles one Python function to relocatable object code. The only place with compiler flags.

No fastmath flag is set: with `arcp`, vector body and remainder gave different bits; with `nnan`, NaN was lost. The numpy error model is
used, because the default one checks every division. There is no reference counting, because kernels only use addresses.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numba
from numba import types

from cervello.codegen import versions
from cervello.codegen.cache import ObjectCode
from cervello.codegen.libraries import KernelLibrary, kernel_libraries
from cervello.errors import CompilationError

versions.check_numba()

_FLAGS: dict[str, Any] = {
    "error_model": "numpy", "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "fastmath": False}


def inline(function: Callable[..., Any]) -> Any:
    """A function that kernels call; always inlined."""
    return numba.njit(forceinline=True, **_FLAGS)(function)


def noinline(function: Callable[..., Any]) -> Any:
    """A function that kernels call; not forced inline, for large functions."""
    return numba.njit(**_FLAGS)(function)


def find(reference: str) -> Callable[..., int]:
    """The Python function that `package.module:name` refers to."""
    module_name, _, name = reference.partition(":")
    found = getattr(importlib.import_module(module_name), name, None)
    if found is None:
        raise CompilationError(f"kernel {reference!r}: expected a function of that name in {module_name}, found none")
    return found  # type: ignore[no-any-return]


def compile_object(reference: str) -> ObjectCode:
    """Compiles `package.module:name`, whose arguments and result are all int64 words."""
    symbol, arity, library = _compiled(reference)
    return ObjectCode(symbol, arity, library.emit_object())


def assembly(reference: str) -> str:
    """The machine code of a kernel as text, for tests that look at registers."""
    return str(_compiled(reference)[2].get_asm_str())


def _compiled(reference: str) -> tuple[str, int, KernelLibrary]:
    """A function's symbol, its number of words and its optimised code."""
    function = find(reference)
    arity = function.__code__.co_argcount
    with kernel_libraries():
        try:
            dispatcher = numba.njit(types.int64(*[types.int64] * arity), nogil=True, **_FLAGS)(function)
        except (numba.core.errors.NumbaError, numba.core.errors.UnsupportedBytecodeError) as error:
            raise CompilationError(f"kernel {reference!r}: expected compilable code, got {error}") from error
        result = dispatcher.overloads[dispatcher.signatures[0]]
        result.library.optimise()
    return result.fndesc.llvm_func_name, arity, result.library
