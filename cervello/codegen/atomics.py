"""Atomic operations on int64 words, for work that compiled code passes between threads without a lock.

Addresses are int64, in bytes; indices count words. Loads have acquire order, stores release order; all other operations are sequentially
consistent.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I64 = ir.IntType(64)
_CPU = platform.machine().lower()


def _pointer(builder: Any, address: Any, index: Any) -> Any:
    return builder.gep(builder.inttoptr(address, _I64.as_pointer()), [index], inbounds=True)


@intrinsic
def load(typing_context, address, index):
    """Reads the word with acquire order: writes before the matching `store` are visible afterwards."""
    def codegen(context, builder, sig, args):
        return builder.load_atomic(_pointer(builder, *args), "acquire", 8)
    return types.int64(types.int64, types.int64), codegen


@intrinsic
def store(typing_context, address, index, value):
    """Writes the word with release order: earlier writes are visible to a thread that loads it."""
    def codegen(context, builder, sig, args):
        builder.store_atomic(args[2], _pointer(builder, *args[:2]), "release", 8)
        return context.get_dummy_value()
    return types.void(types.int64, types.int64, types.int64), codegen


def _make_read_modify_write(operation: str) -> Any:
    @intrinsic
    def read_modify_write(typing_context, address, index, value):
        def codegen(context, builder, sig, args):
            return builder.atomic_rmw(operation, _pointer(builder, *args[:2]), args[2], "seq_cst")
        return types.int64(types.int64, types.int64, types.int64), codegen

    return read_modify_write


exchange, add = _make_read_modify_write("xchg"), _make_read_modify_write("add")  # both return the previous word


@intrinsic
def pause(typing_context):
    """Hints to the CPU that this thread is in a spin loop."""
    def codegen(context, builder, sig, args):
        if _CPU in ("x86_64", "amd64"):
            builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"), [])
        elif _CPU in ("aarch64", "arm64"):
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.hint"), [ir.IntType(32)(1)])  # yield
        return context.get_dummy_value()
    return types.void(), codegen
