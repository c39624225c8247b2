"""Sets the CPU's floating-point mode while kernels run: round to nearest, denormals not flushed to zero.

Other libraries in the process may change this mode, and results would then depend on it (law 1).
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils

from cervello.codegen.intrinsics import operation

_X86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
_ARM = platform.machine().lower() in ("aarch64", "arm64")
_I8P, _I32, _I64 = ir.IntType(8).as_pointer(), ir.IntType(32), ir.IntType(64)
_MXCSR = 0x1F80  # round to nearest, keep denormals, all exceptions masked
_MXCSR_CONTROL = 0xFFC0  # without the sticky exception flags


@operation(types.int64)
def pin_float_mode(builder):
    """Sets rounding to nearest and disables flush-to-zero; returns the previous mode."""
    if _X86:
        slot = cgutils.alloca_once(builder, _I32)
        raw = builder.bitcast(slot, _I8P)
        get = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [_I8P]), "llvm.x86.sse.stmxcsr")
        put = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [_I8P]), "llvm.x86.sse.ldmxcsr")
        builder.call(get, [raw])
        found = builder.load(slot)
        with builder.if_then(builder.icmp_unsigned("!=", builder.and_(found, _I32(_MXCSR_CONTROL)), _I32(_MXCSR)), likely=False):
            builder.store(_I32(_MXCSR), slot)
            builder.call(put, [raw])
        return builder.zext(found, _I64)
    if _ARM:
        get = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I64, []), "llvm.aarch64.get.fpcr")
        put = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [_I64]), "llvm.aarch64.set.fpcr")
        found = builder.call(get, [])
        with builder.if_then(builder.icmp_unsigned("!=", found, _I64(0)), likely=False):
            builder.call(put, [_I64(0)])
        return found
    return _I64(0)


@operation(types.void, types.int64)
def restore_float_mode(builder, mode):
    """Restores the mode that `pin_float_mode` returned, if it differs."""
    if _X86:
        found = builder.trunc(mode, _I32)
        with builder.if_then(builder.icmp_unsigned("!=", builder.and_(found, _I32(_MXCSR_CONTROL)), _I32(_MXCSR)), likely=False):
            slot = cgutils.alloca_once(builder, _I32)
            builder.store(found, slot)
            put = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [_I8P]), "llvm.x86.sse.ldmxcsr")
            builder.call(put, [builder.bitcast(slot, _I8P)])
    if _ARM:
        with builder.if_then(builder.icmp_unsigned("!=", mode, _I64(0)), likely=False):
            put = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [_I64]), "llvm.aarch64.set.fpcr")
            builder.call(put, [mode])
