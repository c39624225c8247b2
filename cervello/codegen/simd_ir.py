"""LLVM IR for vectors of sixteen lanes: types, and helpers that emit instructions. For intrinsics, see `simd`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

LANES = 16
F32, I1, I8, I32, I64 = ir.FloatType(), ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
F32X16, I1X16, I8X16, I32X16, I64X16 = (ir.VectorType(element, LANES) for element in (F32, I1, I8, I32, I64))


def splat_value(builder: Any, value: Any, vector: ir.VectorType) -> Any:
    """A vector with one value in all lanes."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(I32X16, [0] * LANES))


def first_lanes(builder: Any, count: Any) -> Any:
    """A mask of the first `count` lanes; `count` is any int64."""
    for sign, limit in ((">", LANES), ("<", 0)):  # clamped to int32 range: comparing int32 lanes is one instruction, int64 lanes three
        count = builder.select(builder.icmp_signed(sign, count, I64(limit)), I64(limit), count)
    return builder.icmp_signed("<", ir.Constant(I32X16, list(range(LANES))), splat_value(builder, builder.trunc(count, I32), I32X16))


def pointer(builder: Any, address: Any, kind: Any) -> Any:
    """An int64 address as a pointer to `kind`."""
    return builder.inttoptr(address, kind.as_pointer())


def llvm_function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """The declaration of an LLVM intrinsic."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def emit_masked_load(builder: Any, address: Any, lanes: Any, vector: ir.VectorType = F32X16) -> Any:
    """Loads the lanes of a mask; the other lanes are 0, and their memory is not accessed."""
    kind, n_bytes = _element(vector)
    function = llvm_function(builder, f"llvm.masked.load.v16{kind}.p0", vector, [vector.as_pointer(), I32, I1X16, vector])
    return builder.call(function, [pointer(builder, address, vector), I32(n_bytes), lanes, ir.Constant(vector, None)])


def emit_masked_store(builder: Any, address: Any, value: Any, lanes: Any, vector: ir.VectorType = F32X16) -> None:
    """Stores the lanes of a mask; the memory of the other lanes is not accessed."""
    kind, n_bytes = _element(vector)
    function = llvm_function(builder, f"llvm.masked.store.v16{kind}.p0", ir.VoidType(), [vector, vector.as_pointer(), I32, I1X16])
    builder.call(function, [value, pointer(builder, address, vector), I32(n_bytes), lanes])


def _element(vector: ir.VectorType) -> tuple[str, int]:
    """LLVM's name and the bytes of an element, which is a float32 or an integer."""
    element = vector.element
    return ("f32", 4) if element == F32 else (f"i{element.width}", element.width // 8)
