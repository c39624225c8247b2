"""Vectors of sixteen lanes as numba types: kernels are written once and give the same bits on every CPU.

With automatic vectorisation, the order of a reduction and the code of the remainder would depend on the machine. Here a vector has 16
lanes on every CPU (LLVM splits it into two of 8 or four of 4), and the remainder runs the same code under a mask. Lanes are combined only
in sums and maxima over lanes, whose tree is fixed, and in transposes.

Values are float32 (f32x16), int32 (i32x16) or bool (mask). Addresses are int64, in bytes, without alignment requirements.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, register_model

from cervello.codegen.intrinsics import operation
from cervello.codegen.simd_ir import (
    F32,
    F32X16,
    I1X16,
    I8X16,
    I32,
    I32X16,
    I64X16,
    LANES,
    emit_masked_load,
    emit_masked_store,
    first_lanes,
    llvm_function,
    pointer,
    splat_value,
)


class SimdType(types.Type):
    """The numba type of a vector of sixteen lanes."""

    def __init__(self, name: str, vector: ir.VectorType):
        self.vector = vector
        super().__init__(name)


f32x16, i32x16, mask = SimdType("f32x16", F32X16), SimdType("i32x16", I32X16), SimdType("mask", I1X16)


@register_model(SimdType)
class _SimdModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: SimdType):
        super().__init__(dmm, fe_type, fe_type.vector)


def _register_operators() -> None:
    """Registers the operators of the three types with numba; they compile faster than overloads."""

    def register(op: Any, result: SimdType, operand: SimdType, emit: Any) -> None:
        lower_builtin(op, operand, operand)(lambda context, builder, sig, args: emit(builder, *args))
        cases.setdefault(op, []).append(signature(result, operand, operand))

    def call(name: str, *extra: Any) -> Any:
        return lambda builder, a, b: getattr(builder, name)(*extra, a, b)

    cases: dict[Any, list[Any]] = {}
    for op, name in [(operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")]:
        register(op, f32x16, f32x16, call(name))
    for op, name in [(operator.add, "add"), (operator.sub, "sub"), (operator.mul, "mul"), (operator.and_, "and_"),
                     (operator.or_, "or_"), (operator.xor, "xor"), (operator.lshift, "shl"), (operator.rshift, "lshr")]:
        register(op, i32x16, i32x16, call(name))
    for op, sign in [(operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "==")]:
        register(op, mask, f32x16, call("fcmp_ordered", sign))
        register(op, mask, i32x16, call("icmp_signed", sign))
    register(operator.ne, mask, f32x16, call("fcmp_unordered", "!="))  # NaN is unequal to everything, including itself
    register(operator.and_, mask, mask, call("and_"))
    register(operator.or_, mask, mask, call("or_"))
    register(operator.xor, mask, mask, call("xor"))
    for op, signatures in cases.items():
        infer_global(op)(type(f"lanes_{op.__name__}", (ConcreteTemplate,), {"cases": signatures}))


_register_operators()


def _unary(name: str) -> Any:
    @operation(f32x16, f32x16)
    def function(builder, x):
        return builder.call(llvm_function(builder, f"llvm.{name}.v16f32", F32X16, [F32X16]), [x])

    return function


fabs = _unary("fabs")
"""|x| of sixteen float32 x."""
sqrt = _unary("sqrt")
"""√x of sixteen float32 x, correctly rounded; NaN below 0."""
round_even = _unary("roundeven")
"""The nearest whole float32 of each of sixteen x, halves to even."""
round_down = _unary("floor")
"""The largest whole float32 ≤ x, for each of sixteen x."""
round_up = _unary("ceil")
"""The smallest whole float32 ≥ x, for each of sixteen x."""
round_zero = _unary("trunc")
"""Each of sixteen float32 x without its fraction."""


@operation(f32x16, f32x16, f32x16, f32x16)
def fma(builder, a, b, c):
    """a * b + c with one rounding."""
    return builder.call(llvm_function(builder, "llvm.fma.v16f32", F32X16, [F32X16] * 3), [a, b, c])


@intrinsic
def select(typing_context, where, a, b):
    """a in lanes where the mask is true, else b."""
    def codegen(context, builder, sig, args):
        return builder.select(*args)
    return a(mask, a, b), codegen


@operation(mask, mask)
def invert(builder, m):
    """The negation of a mask."""
    return builder.not_(m)


@operation(f32x16, types.float32)
def splat(builder, x):
    """One float32 x in all sixteen lanes."""
    return splat_value(builder, x, F32X16)


@operation(i32x16, types.int64)
def splat_int(builder, x):
    """The low 32 bits of one int64 in all lanes."""
    return splat_value(builder, builder.trunc(x, I32), I32X16)


@operation(i32x16)
def lane_index(builder):
    """The vector 0, 1, …, 15."""
    return ir.Constant(I32X16, list(range(LANES)))


@operation(i32x16, f32x16)
def as_int(builder, x):
    """Bitcast from float32 to int32."""
    return builder.bitcast(x, I32X16)


@operation(f32x16, i32x16)
def as_float(builder, x):
    """Bitcast from int32 to float32."""
    return builder.bitcast(x, F32X16)


@operation(f32x16, i32x16)
def to_float(builder, x):
    """Converts signed int32 to the nearest float32."""
    return builder.sitofp(x, F32X16)


@operation(i32x16, f32x16)
def to_int(builder, x):
    """Converts float32 to int32: truncates towards zero, saturates, NaN gives 0, on every CPU."""
    return builder.call(llvm_function(builder, "llvm.fptosi.sat.v16i32.v16f32", I32X16, [F32X16]), [x])


@operation(i32x16, i32x16, i32x16)
def shift_right_signed(builder, a, b):
    """a >> b, arithmetic: the sign bit is copied."""
    return builder.ashr(a, b)


@operation(i32x16, i32x16, i32x16)
def mulhi(builder, a, b):
    """The upper 32 bits of the unsigned 64-bit products a * b."""
    wide = builder.mul(builder.zext(a, I64X16), builder.zext(b, I64X16))
    return builder.trunc(builder.lshr(wide, ir.Constant(I64X16, [32] * LANES)), I32X16)


@operation(f32x16, f32x16, f32x16)
def scalef(builder, x, n):
    """x * 2^n for integral n, rounded once, by the instruction vscalefps; AVX-512 only, see `exponentials.ldexp`."""
    lanes = ir.IntType(16)
    function = llvm_function(builder, "llvm.x86.avx512.mask.scalef.ps.512", F32X16, [F32X16, F32X16, F32X16, lanes, I32])
    return builder.call(function, [x, n, x, lanes(-1), I32(4)])  # 4: the thread's current rounding mode


@operation(f32x16, types.int64)
def load(builder, address):
    """Sixteen adjacent float32, any alignment."""
    return builder.load(pointer(builder, address, F32X16), align=4)


@operation(f32x16, types.int64, types.int64)
def load_masked(builder, address, count):
    """The first `count` of sixteen adjacent float32; the other lanes are 0 and not read."""
    return emit_masked_load(builder, address, first_lanes(builder, count))


@operation(types.void, types.int64, f32x16)
def store(builder, address, value):
    """Stores sixteen adjacent float32."""
    builder.store(value, pointer(builder, address, F32X16), align=4)


@operation(types.void, types.int64, f32x16, types.int64)
def store_masked(builder, address, value, count):
    """Stores the first `count` lanes; the memory after them is not accessed."""
    emit_masked_store(builder, address, value, first_lanes(builder, count))


def _lane_addresses(builder: Any, address: Any, stride: Any) -> Any:
    steps = builder.mul(ir.Constant(I64X16, list(range(LANES))), splat_value(builder, stride, I64X16))
    return builder.inttoptr(builder.add(splat_value(builder, address, I64X16), steps), ir.VectorType(F32.as_pointer(), LANES))


@operation(f32x16, types.int64, types.int64, types.int64)
def gather(builder, address, stride, count):
    """Loads the first `count` of sixteen float32 that lie `stride` bytes apart; the other lanes are 0."""
    pointers = _lane_addresses(builder, address, stride)
    function = llvm_function(builder, "llvm.masked.gather.v16f32.v16p0", F32X16, [pointers.type, I32, I1X16, F32X16])
    return builder.call(function, [pointers, I32(4), first_lanes(builder, count), ir.Constant(F32X16, [0.0] * LANES)])


@operation(types.void, types.int64, types.int64, f32x16, types.int64)
def scatter(builder, address, stride, value, count):
    """Stores the first `count` lanes `stride` bytes apart."""
    pointers = _lane_addresses(builder, address, stride)
    function = llvm_function(builder, "llvm.masked.scatter.v16f32.v16p0", ir.VoidType(), [F32X16, pointers.type, I32, I1X16])
    builder.call(function, [value, pointers, I32(4), first_lanes(builder, count)])


@operation(mask, types.int64, types.int64)
def load_bools(builder, address, count):
    """Loads the first `count` of sixteen adjacent bool bytes as a mask; the other lanes are false."""
    lanes = emit_masked_load(builder, address, first_lanes(builder, count), I8X16)
    return builder.icmp_unsigned("!=", lanes, ir.Constant(I8X16, None))


@operation(types.void, types.int64, mask, types.int64)
def store_bools(builder, address, value, count):
    """Stores the first `count` lanes of a mask as bytes 0 or 1."""
    emit_masked_store(builder, address, builder.zext(value, I8X16), first_lanes(builder, count), I8X16)


@operation(f32x16, f32x16, types.int64, f32x16)
def keep_first(builder, value, count, other):
    """The first `count` lanes of `value`; `other` in the other lanes."""
    return builder.select(first_lanes(builder, count), value, other)


@operation(types.float32, f32x16, types.int64)
def lane(builder, value, index):
    """One lane as a float32."""
    return builder.extract_element(value, index)


def _make_rotate(distance: int) -> Any:
    @operation(f32x16, f32x16)
    def rotate(builder, value):
        order = [(i + distance) % LANES for i in range(LANES)]
        return builder.shuffle_vector(value, value, ir.Constant(I32X16, order))

    return rotate


# Lane i gets lane (i + distance) mod 16; for trees over lanes.
rotate_8, rotate_4, rotate_2, rotate_1 = (_make_rotate(distance) for distance in (8, 4, 2, 1))


@operation(f32x16, f32x16, f32x16, f32x16, f32x16)
def sum_lanes_of_4(builder, a, b, c, d):
    """The sums over the lanes of a, b, c, d in lanes 0 to 3; each in the order of x + rotate_8(x), then rotate_4, rotate_2, rotate_1."""
    def add_halves(x: Any, y: Any, width: int) -> Any:
        """For x, then y: adds the two halves of each run of 2 * width lanes."""
        low = [i for i in range(2 * LANES) if i // width % 2 == 0]
        return builder.fadd(builder.shuffle_vector(x, y, ir.Constant(I32X16, low)),
                            builder.shuffle_vector(x, y, ir.Constant(I32X16, [i + width for i in low])))

    x = add_halves(add_halves(a, b, 8), add_halves(c, d, 8), 4)
    for width in (2, 1):
        x = add_halves(x, x, width)
    return x
