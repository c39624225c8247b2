"""Ops that move or rename elements: a view if strides can express it, else one copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise

import numpy as np

from cervello.native.fallback.movement import slices
from cervello.native.graph.dims import Affine, Dim, product
from cervello.native.graph.dtypes import I32, I64, Array
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Space, Tensor, reshaped
from cervello.native.lowering.loop_nests import broadcast_strides, fixed
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.native.lowering.rules.layouts import fold_transposed_reshape
from cervello.native.shapes.rules.basic import axis_of


def plan_concats(lowering: Lowering, nodes: list[Node], early: bool) -> None:
    """Requests that the operands of every Concat are written directly into its result.

    Args:
      early: place all operands, so that the result is live from its first operand on; else place only the operand that is produced last,
        unless the result is a caller's array.
    """
    makers = {name: node for node in nodes for name in node.outputs}
    for node in reversed(nodes):  # outer Concats first: an inner Concat is then placed inside them
        if node.op != "Concat" or node.domain or len(node.inputs) == 1 or lowering.values[node.outputs[0]].shape is None:
            continue
        name = node.outputs[0]
        if any(lowering.values[i].shape is None for i in node.inputs):
            continue
        whole = lowering.destinations.get(name)
        if whole is None:
            whole = lowering.scratch(lowering.shape(name), lowering.dtype(name), name)
            lowering.destinations[name] = whole
        times = Counter(node.inputs)
        made = [i for i in node.inputs
                if times[i] == 1 and i in makers and i not in lowering.destinations and lowering.values[i].data is None]
        lowering.early_matters |= whole.buffer.space is Space.ARENA and len(made) > 1
        if not early and whole.buffer.space is Space.ARENA:
            made = sorted(made, key=lambda operand: makers[operand].index)[-1:]
        chosen = set(made)
        for operand, part in zip(node.inputs, _parts(lowering, whole, _concat_axis(node, whole), node.inputs), strict=True):
            if operand in chosen:
                lowering.destinations[operand] = part


def _concat_axis(node: Node, whole: Tensor) -> int:
    return axis_of(node, node.attributes["axis"], len(whole.shape))


def _parts(lowering: Lowering, whole: Tensor, axis: int, names: Iterable[str]) -> Iterator[Tensor]:
    """Consecutive parts of a tensor along an axis, one for each of the values `names`, with its size."""
    at: Dim = 0
    for name in names:
        shape = lowering.shape(name)
        yield whole.viewed(name, shape, whole.strides, whole.offset + _scaled(at, whole.strides[axis]))
        at = at + shape[axis]


def _scaled(count: Dim, stride: Dim) -> Dim:
    return 0 if count == 0 else count * stride


@lowers("Concat")
def _concat(lowering: Lowering, node: Node) -> None:
    if len(node.inputs) == 1:
        _identity(lowering, node)
        return
    whole = lowering.output(node.outputs[0], contiguous=False)
    axis = _concat_axis(node, whole)
    pairs = zip(node.inputs, _parts(lowering, whole, axis, node.inputs), strict=True)
    for operand, group in groupby(pairs, lambda pair: pair[0]):
        source, parts = lowering.tensor(operand), [part for _, part in group]
        if len(parts) > 1 and len(whole.shape) < _MOST_AXES and 0 not in parts[0].shape:  # one operand, repeated: one copy
            lowering.copy(_repeated(source, axis, len(parts), 0), _repeated(
                parts[0], axis, len(parts), parts[0].shape[axis] * parts[0].strides[axis]))
            continue
        for part in parts:
            if source.buffer is part.buffer and source.offset == part.offset:
                continue  # its producer wrote it here
            if 0 not in part.shape:
                lowering.copy(source, part)


_MOST_AXES = 5  # of a strided copy


def _repeated(tensor: Tensor, axis: int, times: int, stride: Dim) -> Tensor:
    """A view with an additional axis before `axis`."""
    return tensor.viewed(tensor.name, (*tensor.shape[:axis], times, *tensor.shape[axis:]),
                         (*tensor.strides[:axis], stride, *tensor.strides[axis:]))


@lowers("Identity")
def _identity(lowering: Lowering, node: Node) -> None:
    lowering.alias(node.outputs[0], lowering.tensor(node.inputs[0]))


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(lowering: Lowering, node: Node) -> None:
    name = node.outputs[0]
    source, shape = lowering.tensor(node.inputs[0]), lowering.shape(name)
    view = reshaped(source, name, shape)
    if view is None and fold_transposed_reshape(lowering, node, source):
        return
    lowering.alias(name, view or lowering.materialised(source).dense_view(shape))


@lowers("Transpose")
def _transpose(lowering: Lowering, node: Node) -> None:
    source = lowering.tensor(node.inputs[0])
    lowering.alias(node.outputs[0], source.transposed(node.attributes.get("perm") or tuple(reversed(range(len(source.shape))))))


@lowers("Expand")
def _expand(lowering: Lowering, node: Node) -> None:
    source, shape = lowering.tensor(node.inputs[0]), lowering.shape(node.outputs[0])
    lowering.alias(node.outputs[0], source.viewed(node.outputs[0], shape, broadcast_strides(source, shape)))


@lowers("ConstantOfShape")
def _constant_of_shape(lowering: Lowering, node: Node) -> None:
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32))).reshape(-1)[:1]
    one, shape = lowering.stored(node.outputs[0], value), lowering.shape(node.outputs[0])
    lowering.alias(node.outputs[0], one.viewed(node.outputs[0], shape, (0,) * len(shape)))


@lowers("Slice")
def _slice(lowering: Lowering, node: Node) -> None:
    source, shape = lowering.tensor(node.inputs[0]), lowering.shape(node.outputs[0])
    operands = [lowering.values[name].data if name else None for name in map(node.input, range(1, 5))]
    cuts = slices(len(source.shape), *operands)  # type: ignore[arg-type]
    offset, strides = source.offset, list(source.strides)
    for axis, cut in enumerate(cuts):
        size = source.shape[axis]
        if cut == slice(None) or isinstance(size, Affine):
            continue
        start, _, step = cut.indices(size)
        if start:
            offset = offset + source.strides[axis] * start
        strides[axis] = source.strides[axis] * step
    lowering.alias(node.outputs[0], source.viewed(node.outputs[0], shape, tuple(strides), offset))


@lowers("Split")
def _split(lowering: Lowering, node: Node) -> None:
    source = lowering.tensor(node.inputs[0])
    axis = axis_of(node, node.attributes.get("axis", 0), len(source.shape))
    for name, part in zip(node.outputs, _parts(lowering, source, axis, node.outputs), strict=True):
        lowering.alias(name, part)


@lowers("Gather")
def _gather(lowering: Lowering, node: Node) -> None:
    source, name = lowering.tensor(node.inputs[0]), node.outputs[0]
    axis = axis_of(node, node.attributes.get("axis", 0), len(source.shape))
    indices = lowering.constant(node.inputs[1])
    size = source.shape[axis]
    if indices is not None and indices.ndim <= 1 and not isinstance(size, Affine):
        places = [int(i) + size if i < 0 else int(i) for i in indices.reshape(-1)]
        steps = {b - a for a, b in pairwise(places)} or {1}
        if places and all(0 <= p < size for p in places) and len(steps) == 1:  # evenly spaced: a view
            along = [source.strides[axis] * steps.pop()] if indices.ndim else []
            strides = (*source.strides[:axis], *along, *source.strides[axis + 1:])
            offset = source.offset + source.strides[axis] * places[0]
            lowering.alias(name, source.viewed(name, lowering.shape(name), strides, offset))
            return
    fixed(size, "rows picked across the batch")
    if lowering.dtype(node.inputs[1]) not in (I64, I32):
        raise NoKernelError("indices that are not int32 or int64")
    table, index = lowering.contiguous(source), lowering.contiguous(lowering.tensor(node.inputs[1]))
    _emit_gather(lowering, table, index, lowering.output(name), axis)


def _emit_gather(lowering: Lowering, table: Tensor, index: Tensor, target: Tensor, axis: int) -> None:
    """Picks elements of a contiguous tensor along an axis."""
    lowering.emit("copies:gather", (table, index), (target,), count=product(index.shape), size=table.shape[axis],
                  inner=product(table.shape[axis + 1:]) * table.itemsize, index_bytes=index.itemsize, outer=product(table.shape[:axis]))


def gather_along(lowering: Lowering, source: Tensor, axis: int, places: Array) -> Tensor:
    """A tensor of the elements at constant indices along an axis."""
    table = lowering.contiguous(source)
    target = lowering.scratch((*source.shape[:axis], places.size, *source.shape[axis + 1:]), source.dtype)
    index = lowering.stored(f"places {axis} of {target.name} {len(lowering.steps)}", np.asarray(places, np.int64))
    _emit_gather(lowering, table, index, target, axis)
    return target


def _pad_by_index(lowering: Lowering, name: str, source: Tensor, before: list[int], after: list[int], mode: str) -> None:
    """Padding with elements of the tensor itself: reflect, edge or wrap, axis after axis."""
    for axis, (first, last) in enumerate(zip(before, after, strict=True)):
        if first or last:
            size = fixed(source.shape[axis], "padding across the batch")
            inner = np.arange(size)[max(-first, 0):size - max(-last, 0)]
            if inner.size == 0:
                raise NoKernelError("nothing to take padding from")
            source = gather_along(lowering, source, axis, np.pad(inner, (max(first, 0), max(last, 0)), mode))  # type: ignore[call-overload]
    lowering.alias(name, source)


@lowers("Tile")
def _tile(lowering: Lowering, node: Node) -> None:
    counts = lowering.constant(node.inputs[1])
    if counts is None:
        raise NoKernelError("counts that are not constant")
    found = lowering.tensor(node.inputs[0])
    for axis, times in enumerate(counts.tolist()):
        if times != 1:
            size = fixed(found.shape[axis], "rows repeated across the batch")
            found = gather_along(lowering, found, axis, np.tile(np.arange(size), int(times)))
    lowering.alias(node.outputs[0], found)


@lowers("Pad")
def _pad(lowering: Lowering, node: Node) -> None:
    mode = node.attributes.get("mode", "constant")
    source, name = lowering.tensor(node.inputs[0]), node.outputs[0]
    if source.itemsize not in (1, 2, 4, 8):
        raise NoKernelError(f"no kernel fills {source.dtype}")
    pads, places = lowering.constant(node.inputs[1]), lowering.constant(node.input(3))
    if pads is None or (node.input(3) and places is None):
        raise NoKernelError("amounts that are not constant")
    amounts = [int(p) for p in pads]
    value = lowering.constant(node.input(2)) if node.input(2) else np.zeros(1, source.dtype)
    if value is None:
        raise NoKernelError("a padding value that is not constant")
    axes = list(range(len(source.shape))) if places is None else [axis_of(node, int(a), len(source.shape)) for a in places]
    before, after = [0] * len(source.shape), [0] * len(source.shape)
    half = len(amounts) // 2
    for i, axis in enumerate(axes):
        before[axis], after[axis] = amounts[i], amounts[half + i]
    if mode != "constant":
        _pad_by_index(lowering, name, source, before, after, mode)
        return
    target = lowering.output(name)
    bits = int(np.asarray(value, source.dtype).reshape(1).view(f"u{source.itemsize}")[0])
    if any(p > 0 for p in amounts):
        lowering.emit("copies:fill", (), (target,), op="Pad", itemsize=source.itemsize, count=product(target.shape), element=_signed(bits))
    offset, source_offset, shape = target.offset, source.offset, []
    for axis, size in enumerate(source.shape):
        offset = offset + _scaled(max(before[axis], 0), target.strides[axis])
        source_offset = source_offset + _scaled(max(-before[axis], 0), source.strides[axis])
        shape.append(size + min(before[axis], 0) + min(after[axis], 0) if before[axis] < 0 or after[axis] < 0 else size)
    inside = target.viewed(name, tuple(shape), target.strides, offset)
    lowering.copy(source.viewed(source.name, tuple(shape), source.strides, source_offset), inside)


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >= 1 << 63 else bits
