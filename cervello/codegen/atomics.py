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

from cervello.codegen.intrinsics import operation

_I64 = ir.IntType(64)
_CPU = platform.machine().lower()


def _pointer(builder: Any, address: Any, index: Any) -> Any:
    return builder.gep(builder.inttoptr(address, _I64.as_pointer()), [index], inbounds=True)


@operation(*[types.int64] * 3)
def load(builder, address, index):
    """Reads the word with acquire order: writes before the matching `store` are visible afterwards."""
    return builder.load_atomic(_pointer(builder, address, index), "acquire", 8)


@operation(types.void, *[types.int64] * 3)
def store(builder, address, index, value):
    """Writes the word with release order: earlier writes are visible to a thread that loads it."""
    builder.store_atomic(value, _pointer(builder, address, index), "release", 8)


def _make_read_modify_write(kind: str) -> Any:
    @operation(*[types.int64] * 4)
    def read_modify_write(builder, address, index, value):
        return builder.atomic_rmw(kind, _pointer(builder, address, index), value, "seq_cst")

    return read_modify_write


exchange, add = _make_read_modify_write("xchg"), _make_read_modify_write("add")  # both return the previous word


@operation(types.void)
def pause(builder):
    """Hints to the CPU that this thread is in a spin loop."""
    if _CPU in ("x86_64", "amd64"):
        builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"), [])
    elif _CPU in ("aarch64", "arm64"):
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.hint"), [ir.IntType(32)(1)])  # yield
