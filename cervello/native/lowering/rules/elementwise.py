"""Elementwise ops: one block per op, and loops that all blocks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cervello.codegen import entry
from cervello.codegen.bits import float_word
from cervello.native.fallback.table import NUMPY
from cervello.native.graph.dtypes import BOOL, F32, I32, I64, Array
from cervello.native.graph.graph import Node
from cervello.native.graph.op_table import UNARY_FLOATS
from cervello.native.graph.tensors import Address, Tensor
from cervello.native.kernels.parameters import arrange
from cervello.native.kernels.schema import PREFIX
from cervello.native.lowering.loop_nests import broadcast_strides, collapse, padded
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.lowering.rules.layouts import in_order_of_operand
from cervello.native.passes.batch_independence import ELEMENTWISE
from cervello.native.shapes.rules.basic import RULES

Parameters = Callable[[Lowering, Node], dict[str, Any]]  # by name
Activation = tuple[str, list[Any]]  # a block and its parameters
_LONG = 64  # least float32 of a run for a fused activation; shorter runs waste lanes, so the activation is a separate step


def _attributes(**defaults: float) -> Parameters:
    return lambda lowering, node: {name: float_word(node.attributes.get(name, default)) for name, default in defaults.items()}


def _bounds(lowering: Lowering, node: Node, info: Any, word: Callable[[Any], int]) -> dict[str, Any]:
    """The bounds of a Clip as words; a missing bound is the limit of the type, as in the specification."""
    words = {}
    for index, (side, missing) in enumerate((("low", info.min), ("high", info.max)), 1):
        bound = lowering.constant(node.input(index)) if node.input(index) else missing
        if bound is None:
            raise NoKernelError("bounds that are not constant")
        words[side] = word(np.asarray(bound).item())
    return words


UNARY = {op: op.lower() for op in UNARY_FLOATS} | {
    "Abs": "abs_", "Round": "round_", "HardSwish": "hard_swish", "LeakyRelu": "leaky_relu", "HardSigmoid": "hard_sigmoid",
    "ThresholdedRelu": "thresholded_relu"}  # blocks of float32
_PARAMETERS: dict[str, Parameters] = {
    "Clip": lambda lowering, node: _bounds(lowering, node, np.finfo(F32), float_word),
    "LeakyRelu": _attributes(alpha=0.01), "Elu": _attributes(alpha=1.0), "Celu": _attributes(alpha=1.0), "Swish": _attributes(alpha=1.0),
    "Selu": _attributes(alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "HardSigmoid": _attributes(alpha=0.2, beta=0.5), "ThresholdedRelu": _attributes(alpha=1.0)}


def activation(lowering: Lowering, node: Node) -> Activation | None:
    """The block and parameters of an elementwise float32 node; None for any other node."""
    if node.domain or lowering.values[node.outputs[0]].dtype != F32 or lowering.values[node.inputs[0]].dtype != F32:
        return None
    block, parameters = UNARY.get(node.op), _PARAMETERS.get(node.op)
    if node.attributes.get("approximate", "none") == "tanh":
        block = "gelu_tanh"
    if block is None:
        return None
    try:
        words = {} if parameters is None else parameters(lowering, node)
    except NoKernelError:
        return None
    if ":" in block:  # a user's block takes its parameters in the order of their names
        return block, list(words.values())
    return f"{PREFIX}unary:{block}", arrange(f"{PREFIX}unary:{block}", **words)


def joined_activation(lowering: Lowering, name: str) -> tuple[str, Activation | None]:
    """Fuses an activation that is the only consumer of a value as an epilogue; returns the result's name, and the activation or None."""
    reader = lowering.only_reader(name)
    act = activation(lowering, reader) if reader is not None and reader.inputs[0] == name else None
    if reader is None or act is None:
        return name, None
    lowering.mark_fused(reader)
    return reader.outputs[0], act


def emit_map(lowering: Lowering, block: str, source: Tensor, target: Tensor, parameters: list[Any]) -> None:
    """target = block(source), element by element."""
    if _has_inner_gaps(target):
        fresh = lowering.scratch(target.shape, target.dtype)
        emit_map(lowering, block, source, fresh, parameters)
        lowering.copy(fresh, target)
        return
    sizes, steps = collapse(target.shape, [broadcast_strides(source, target.shape), target.strides])
    if sizes and steps[0][-1] != source.itemsize:
        source = lowering.materialised(source, target.shape)
        sizes, steps = collapse(target.shape, [source.strides, target.strides])
    if not sizes:
        sizes, steps = [1], [[source.itemsize], [target.itemsize]]
    sizes, (from_, to) = padded(sizes, steps, 4)
    lowering.emit("maps:unary", (source,), (target,), block=Address(block), count=sizes[3], sizes=sizes[:3], source_by=from_[:3],
                  target_by=to[:3], parameters=parameters)


def _has_inner_gaps(target: Tensor) -> bool:
    """Whether elements of the inner axis are not adjacent, as in a column of a wider row; blocks cannot write that."""
    sizes, steps = collapse(target.shape, [target.strides])
    return bool(sizes) and steps[0][-1] != target.itemsize


_WHOLE_UNARY = {"Neg": "neg", "Abs": "abs", "Sign": "sign", "Relu": "relu", "Clip": "clip"}


@lowers(*UNARY)
def _lower_unary(lowering: Lowering, node: Node) -> None:
    found, dtype = activation(lowering, node), lowering.dtype(node.inputs[0])
    kind = {I64: "i64", I32: "i32"}.get(dtype)
    if found is None and kind is not None and node.op in _WHOLE_UNARY:
        block = f"{PREFIX}integers:{_WHOLE_UNARY[node.op]}_{kind}"
        found = block, arrange(block, **(_bounds(lowering, node, np.iinfo(dtype), int) if node.op == "Clip" else {}))
    if found is None:
        raise NoKernelError(f"no kernel for {dtype} or for these operands")
    source = lowering.tensor(node.inputs[0])
    target = lowering.output(node.outputs[0], contiguous=False, over=source)
    emit_map(lowering, found[0], source, target, found[1])


def register_map(op: str, reference: str, attributes: Mapping[str, float]) -> None:
    """Registers an op, by a name that no file has, with a block "module:name" and its float attributes."""
    UNARY[op], _PARAMETERS[op] = reference, _attributes(**attributes)
    RULES[op] = RULES["Relu"]
    ELEMENTWISE.add(op)
    NUMPY[op] = lambda node, x: _applied(reference, x, [node.attributes.get(name, default) for name, default in attributes.items()])
    lowers(op)(_lower_unary)


def _applied(reference: str, x: Array, parameters: Sequence[float]) -> Array:
    """Applies a block to an array, for constant folding."""
    source = np.ascontiguousarray(x, F32)
    target, words = np.empty_like(source), np.array([float_word(p) for p in parameters] or [0], np.int64)
    entry.fastcall_ints(reference)(target.ctypes.data, source.ctypes.data, source.size, words.ctypes.data)
    return target.reshape(x.shape)


@lowers("Not")
def _not(lowering: Lowering, node: Node) -> None:
    source = lowering.tensor(node.inputs[0])
    emit_map(lowering, PREFIX + "unary:not_", source, lowering.output(node.outputs[0], contiguous=False), [])


@lowers("IsNaN", "IsInf")
def _is_nan_or_inf(lowering: Lowering, node: Node) -> None:
    source, name = lowering.float_tensor(node.inputs[0]), node.outputs[0]
    block = PREFIX + ("unary:is_nan" if node.op == "IsNaN" else "unary:is_inf")
    words = {} if node.op == "IsNaN" else {side: int(node.attributes.get(f"detect_{side}", 1)) for side in ("negative", "positive")}
    emit_map(lowering, block, source, lowering.output(name, contiguous=False), arrange(block, **words))


_KINDS = {"bool": "bool", "uint8": "u8", "int8": "i8", "int32": "i32", "int64": "i64", "float32": "f32", "float64": "f64",
          "float16": "f16", "bfloat16": "bf16"}
_HALVES = frozenset({"f16", "bf16"})  # cast only from and to float32


@lowers("Cast", "CastLike")
def _cast(lowering: Lowering, node: Node) -> None:
    source, name = lowering.tensor(node.inputs[0]), node.outputs[0]
    dtype = lowering.dtype(name)
    if dtype == source.dtype:
        lowering.alias(name, source)
        return
    kinds = _KINDS.get(source.dtype.name), _KINDS.get(dtype.name)
    if None in kinds:
        raise NoKernelError(f"no kernel casts {source.dtype} to {dtype}")
    if kinds[0] == "f64" and kinds[1] in _HALVES:
        raise NoKernelError(f"float64 to {dtype}, which would round twice")
    if _HALVES & set(kinds) and "f32" not in kinds:
        wide = lowering.scratch(source.shape, F32)
        emit_map(lowering, f"{PREFIX}casts:{kinds[0]}_to_f32", source, wide, [])
        kinds, source = ("f32", kinds[1]), wide
    emit_map(lowering, f"{PREFIX}casts:{kinds[0]}_to_{kinds[1]}", source, lowering.output(name, contiguous=False), [])


_FLOATS = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "max_", "Min": "min_", "Pow": "pow_", "PRelu": "prelu",
           "Less": "less", "LessOrEqual": "less_equal", "Greater": "greater", "GreaterOrEqual": "greater_equal", "Equal": "equal"}
_WHOLE = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Mod": "mod", "Max": "max", "Min": "min", "Less": "less",
          "LessOrEqual": "less_equal", "Greater": "greater", "GreaterOrEqual": "greater_equal", "Equal": "equal"}
BINARY = {
    F32: {op: f"binary:{block}" for op, block in _FLOATS.items()},
    I64: {op: f"integers:{block}_i64" for op, block in _WHOLE.items()},
    I32: {op: f"integers:{block}_i32" for op, block in _WHOLE.items()},
    BOOL: {"And": "binary:and_", "Or": "binary:or_", "Xor": "binary:xor", "Equal": "integers:equal_bool"},
}


def emit_binary(lowering: Lowering, block: str, operands: tuple[Tensor, ...], target: Tensor,
                act: Activation | None = None, **parameters: int) -> None:
    """target = block(a, b[, c]) with broadcasting; of two float32 operands: act(block(a, b)), in one pass where runs are long.

    Args:
      parameters: of the block, but for the broadcast mask.
    """
    if _has_inner_gaps(target):
        fresh = lowering.scratch(target.shape, target.dtype)
        emit_binary(lowering, block, operands, fresh, act, **parameters)
        lowering.copy(fresh, target)
        return
    for _ in range(2):
        sizes, steps = collapse(target.shape, [*(broadcast_strides(o, target.shape) for o in operands), target.strides])
        if not sizes:
            sizes, steps = [1], [[o.itemsize] for o in (*operands, target)]
        last = [step[-1] for step in steps]
        fits = [stride in (0, o.itemsize) for stride, o in zip(last, operands, strict=False)]
        if all(fits) and any(stride != 0 for stride in last[:-1]):
            break
        all_broadcast = not any(stride != 0 for stride in last[:-1])
        operands = tuple(o if fit and not (all_broadcast and i == 0) else lowering.materialised(o, target.shape)
                         for i, (o, fit) in enumerate(zip(operands, fits, strict=True)))
    else:
        raise NoKernelError("strides that no loop covers")
    broadcast_mask = sum(1 << i for i, stride in enumerate(last[:-1]) if stride == 0)
    sizes, steps = padded(sizes, steps, 4)
    words: dict[str, Any] = {f"{name}_by": step[:3] for name, step in zip((*"abc"[:len(operands)], "target"), steps, strict=True)}
    words |= {"block": Address(PREFIX + block), "count": sizes[3], "sizes": sizes[:3]}
    short_rows = isinstance(sizes[3], int) and sizes[3] < _LONG and sizes[:3] != [1, 1, 1]
    if act is not None and not short_rows:
        lowering.emit("maps:binary_activated", operands, (target,), **words, mask=broadcast_mask, activation=Address(act[0]),
                      parameters=act[1])
        return
    kernel = "maps:binary" if len(operands) == 2 else "maps:ternary"
    lowering.emit(kernel, operands, (target,), **words, parameters=arrange(PREFIX + block, mask=broadcast_mask, **parameters))
    if act is not None:
        emit_map(lowering, act[0], target, target, act[1])


def _reusable_operand(lowering: Lowering, operands: tuple[Tensor, ...], name: str) -> Tensor | None:
    shape = lowering.shape(name)
    return next((o for o in operands if o.shape == shape and o.buffer.readers == 1), None)


@lowers(*dict.fromkeys(op for blocks in BINARY.values() for op in blocks))
def _lower_binary(lowering: Lowering, node: Node) -> None:
    name = node.outputs[0]
    operands = [lowering.tensor(i) for i in node.inputs]
    block = BINARY.get(operands[0].dtype, {}).get(node.op)
    if block is None or any(o.dtype != operands[0].dtype for o in operands):
        raise NoKernelError(f"no kernel for {' and '.join(str(o.dtype) for o in operands)}")
    if node.op == "Mod" and node.attributes.get("fmod", 0):
        block = block.replace(":mod", ":fmod")
    if len(operands) == 1:
        lowering.alias(name, operands[0])
        return
    if node.op == "Pow" and lowering.constant(node.inputs[1]) is not None and np.all(lowering.constant(node.inputs[1]) == 2):
        operands[1] = operands[0]
        block = BINARY[operands[0].dtype]["Mul"]  # x ** 2 is x * x, bit for bit
    name, act = joined_activation(lowering, name)
    ordered = in_order_of_operand(lowering, name, operands) if len(operands) == 2 else None
    if ordered is not None:
        emit_binary(lowering, block, *ordered, act=act)
        return
    over = _reusable_operand(lowering, tuple(operands), name) if len(operands) == 2 else None
    target = lowering.output(name, contiguous=False, over=over)
    more_operands = operands[2:]  # of Max and Min
    emit_binary(lowering, block, (operands[0], operands[1]), target, act=None if more_operands else act)
    for i, operand in enumerate(more_operands, 1):
        emit_binary(lowering, block, (target, operand), target, act=act if i == len(more_operands) else None)


@lowers("Where")
def _where(lowering: Lowering, node: Node) -> None:
    operands = tuple(lowering.tensor(i) for i in node.inputs)
    if operands[1].dtype != operands[2].dtype:
        raise NoKernelError(f"no kernel for {operands[1].dtype}")
    target = lowering.output(node.outputs[0], contiguous=False)
    if operands[1].dtype == F32:
        emit_binary(lowering, "binary:where", operands, target)
    else:
        emit_binary(lowering, "integers:where", operands, target, itemsize=operands[1].itemsize)
