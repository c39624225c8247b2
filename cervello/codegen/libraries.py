"""Libraries of numba whose inlined functions are optimised once: with the function that they are inlined into, after they are linked.

numba optimises each function, with all that it calls, and emits its machine code before its caller is compiled. A function four calls below
a kernel is thus optimised five times, and only the last result is used. Here a function that is always inlined stays as it was lowered.
Others are optimised alone too: convolutions whose activations were first optimised with the whole kernel took a tenth longer.

A user's own function that a kernel calls may also be called from Python. It has a wrapper for that, and is compiled as usual.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

_WRAPPER = "_ZN7cpython"  # how the names of wrappers for Python begin


class KernelLibrary(JITCodeLibrary):
    """The code of one function and of those that it calls."""

    def _has_wrapper(self) -> bool:
        return any(function.name.startswith(_WRAPPER) and not function.is_declaration for function in self._final_module.functions)

    def _optimize_functions(self, module: object) -> None:
        """Leaves a function as it was lowered."""

    def _optimize_final_module(self) -> None:
        if self._has_wrapper() or not self._is_inlined():
            self.optimise()

    def _is_inlined(self) -> bool:
        """Whether a function of the module is always inlined: then there is no call of it that could be optimised alone."""
        return any(b"alwaysinline" in function.attributes for function in self._final_module.functions if not function.is_declaration)

    def _finalize_final_module(self) -> None:
        is_cached = self._shared_module is not None  # by numba: its object code is complete, and the module has no functions
        if is_cached or self._has_wrapper():
            super()._finalize_final_module()
        self._finalized = True

    def optimise(self) -> None:
        """Optimises the linked code."""
        super()._optimize_functions(self._final_module)
        super()._optimize_final_module()

    def emit_object(self) -> bytes:
        """The relocatable object code."""
        return bytes(self._codegen._tm.emit_object(self._final_module))


class _Codegen(JITCPUCodegen):
    _library_class = KernelLibrary

    def set_env(self, name: str, environment: object) -> None:
        """Stores a function's environment, if it is in memory."""
        if self._engine.is_symbol_defined(name):
            super().set_env(name, environment)


@cache
def _codegen() -> _Codegen:
    return _Codegen("cervello")


_replaced: list[Any] = []  # numba's own code generator, within `kernel_libraries`


@contextlib.contextmanager
def kernel_libraries() -> Iterator[None]:
    """Within the block, numba makes a `KernelLibrary` for each function; other threads wait with compiling."""
    with global_compiler_lock:
        context, own = cpu_target.target_context, _codegen()
        _replaced.append(context._internal_codegen)
        try:
            context._internal_codegen = own
            yield
        finally:
            _restore()


def _restore() -> None:
    """Gives numba its code generator back; also in a forked child, where a thread that is inside the block does not exist."""
    if _replaced:
        cpu_target.target_context._internal_codegen = _replaced.pop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restore)
