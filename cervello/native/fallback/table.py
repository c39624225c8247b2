"""numpy definitions of ONNX ops, for constant folding, arithmetic on shapes (object arrays of sizes) and the numpy tier.

This file has the table and the elementwise ops. A function takes the node and its input arrays (None where absent) and
returns an array or a tuple of arrays.
Source: ONNX operator specification, the newest version of each op; `importer` and `opset_upgrade` bring older forms to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cervello.native.fallback.precision import run_in_float32
from cervello.native.fallback.reference import run_reference
from cervello.native.graph.dims import NotAffine, depends_on_rows, parts
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Node
from cervello.native.graph.op_table import registers

Function = Callable[..., Any]
NUMPY: dict[str, Function] = {}
numpy_op = registers(NUMPY)
_SMALL = ("float8", "float6", "float4", "int4", "uint4", "int2", "uint2")


def run_numpy(node: Node, inputs: list[Array | None]) -> list[Array]:
    """Runs one node; outputs keep the dtype numpy gives unless the function decides. 16-bit floats are computed in float32."""
    return run_in_float32(_run, node, inputs)


def _run(node: Node, inputs: list[Array | None]) -> list[Array]:
    with np.errstate(all="ignore"):
        results = NUMPY[node.op](node, *inputs)
    if not isinstance(results, tuple):
        results = (results,)
    return [np.asarray(result) for result in results]


def _unary(function: Function) -> Function:
    return lambda node, x: function(x).astype(x.dtype, copy=False)


_ONE = np.float32(1)
NUMPY |= {op: lambda node, a, b, function=function: function(a, b) for op, function in {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Less": np.less, "Greater": np.greater, "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal, "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}.items()}
_UNARY: dict[str, Function] = {
    "Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Sin": np.sin, "Cos": np.cos, "Tan": np.tan,
    "Atan": np.arctan, "Asin": np.arcsin, "Acos": np.arccos, "Sinh": np.sinh, "Cosh": np.cosh, "Tanh": np.tanh, "Floor": np.floor,
    "Ceil": np.ceil, "Round": np.rint, "Sign": np.sign, "Not": np.logical_not, "Reciprocal": lambda x: _ONE / x,
    "Relu": lambda x: np.maximum(x, 0), "Identity": lambda x: x, "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Softplus": lambda x: np.logaddexp(x, 0), "Softsign": lambda x: x / (1 + abs(x))}
NUMPY |= {op: _unary(function) for op, function in _UNARY.items()}
NUMPY |= {
    "Mod": lambda node, a, b: np.fmod(a, b) if node.attributes.get("fmod", 0) else np.mod(a, b),
    "Where": lambda node, condition, a, b: np.where(condition.astype(bool), a, b),
    "Cast": lambda node, x: _cast_to(node, x, np.dtype(node.attributes["to"])),
    "CastLike": lambda node, x, like: _cast_to(node, x, like.dtype)}


@numpy_op("Equal")
def _equal(node: Node, a: Array, b: Array) -> Array:
    if a.dtype != object and b.dtype != object:
        return np.asarray(np.equal(a, b))
    return np.asarray(np.frompyfunc(_equal_sizes, 2, 1)(a, b)).astype(bool)


def _equal_sizes(a: Any, b: Any) -> bool:
    """Whether two sizes are equal for every N ≥ 1."""
    const, slope = parts(a - b)
    if slope and -const % slope == 0 and -const // slope >= 1:
        raise NotAffine(f"({a}) = ({b})")  # for some N only
    return slope == 0 and const == 0


@numpy_op("Div")
def _div(node: Node, a: Array, b: Array) -> Array:
    if a.dtype == object or b.dtype == object:
        return np.asarray(np.floor_divide(a, b))
    if np.issubdtype(a.dtype, np.integer):  # ONNX divides integers toward zero
        return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)
    return np.asarray(np.divide(a, b))


@numpy_op("Pow")
def _pow(node: Node, a: Array, b: Array) -> Array:
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        whole = np.power(a, np.maximum(b, 0), dtype=a.dtype)
        return np.where(b < 0, cast(np.power(a.astype(np.float64), b), a.dtype), whole)
    return cast(np.asarray(np.power(a, b)), a.dtype)


def _at_least(a: Any, b: Any) -> bool:
    """Whether size a is at least size b for every N ≥ 1.

    Raises:
      NotAffine: it depends on N.
    """
    (const, slope), (other, other_slope) = parts(a), parts(b)
    const, slope = const - other + slope - other_slope, slope - other_slope  # the difference is const + slope * (N - 1)
    if const >= 0 and slope >= 0:
        return True
    if const <= 0 and slope <= 0:
        return False
    raise NotAffine(f"the larger of {a} and {b}")


_EXTREMES: dict[str, tuple[Function, Function]] = {  # of numbers, of sizes
    "Max": (np.maximum, np.frompyfunc(lambda a, b: a if _at_least(a, b) else b, 2, 1)),
    "Min": (np.minimum, np.frompyfunc(lambda a, b: b if _at_least(a, b) else a, 2, 1))}


@numpy_op("Max", "Min")
def _extreme(node: Node, *xs: Array) -> Array:
    of_numbers, of_sizes = _EXTREMES[node.op]
    result = xs[0]
    for x in xs[1:]:
        result = of_numbers(result, x) if object not in (result.dtype, x.dtype) else np.asarray(of_sizes(result, x), object)
    return result


@numpy_op("Clip")
def _clip(node: Node, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    if x.dtype.kind == "f":  # a bound that is missing is the type's own
        low, high = (np.finfo(x.dtype).min if low is None else low), (np.finfo(x.dtype).max if high is None else high)
    x = x if low is None else np.maximum(x, np.asarray(low, x.dtype))
    return x if high is None else np.minimum(x, np.asarray(high, x.dtype))


def _cast_to(node: Node, x: Array, dtype: np.dtype[Any]) -> Array:
    if x.dtype != object and (dtype.kind == "V" or x.dtype.kind == "V" or dtype.name.startswith(_SMALL)):
        attributes: dict[str, Any] = {"to": dtype, **{k: v for k, v in node.attributes.items() if k in ("saturate", "round_mode")}}
        return run_reference(replace(node, op="Cast", attributes=attributes), [x])[0]  # it rounds and saturates as each type demands
    return cast(x, dtype)


def cast(x: Array, dtype: np.dtype[Any]) -> Array:
    """Converts; floats saturate when they become integers, NaN becomes 0."""
    if x.dtype == object:
        if dtype.kind == "b" and symbolic(x):
            raise NotAffine("whether a size is 0")
        return x  # sizes stay exact
    if np.issubdtype(x.dtype, np.floating) and np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        safe = np.nan_to_num(np.trunc(x.astype(np.float64)), nan=0.0, posinf=np.inf, neginf=-np.inf)
        result = np.zeros(x.shape, dtype)
        inside = (safe > float(info.min)) & (safe < float(info.max))
        result[inside] = safe[inside].astype(dtype)
        result[safe >= float(info.max)] = info.max
        result[safe <= float(info.min)] = info.min
        return result
    return x.astype(dtype)


def symbolic(data: Array) -> bool:
    """Whether an array holds sizes that depend on N."""
    return data.dtype == object and depends_on_rows(data.reshape(-1))
