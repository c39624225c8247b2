"""Layouts that avoid copies: Reshape, Transpose, Reshape as one view, and results in the memory order of an operand."""

from __future__ import annotations

from collections.abc import Sequence

from cervello.native.graph.dims import Dim, NotAffine, Shape, at, product
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Tensor, reshaped
from cervello.native.lowering.lowering import Lowering

_MANY = 1 << 20  # N for which strides are compared
_RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten"})


def fold_transposed_reshape(lowering: Lowering, node: Node, source: Tensor) -> bool:
    """Lowers a Reshape, its only consumer Transpose, and that one's only consumer Reshape as one view of `source`, if one exists.

    Exported attention merges heads with the batch, moves them and splits them again; the first Reshape alone would copy.
    """
    transpose = lowering.only_reader(node.outputs[0])
    if transpose is None or transpose.op != "Transpose" or transpose.domain:
        return False
    last_reshape = lowering.only_reader(transpose.outputs[0])
    if last_reshape is None or last_reshape.op not in _RESHAPES or last_reshape.domain or last_reshape.inputs[0] != transpose.outputs[0]:
        return False
    refined = common_refinement(source.shape, lowering.shape(node.outputs[0]))
    if refined is None:
        return False
    sizes, groups = refined
    split_view = reshaped(source, source.name, sizes)
    if split_view is None:
        return False
    order = [axis for group in transpose.attributes.get("perm") or reversed(range(len(groups))) for axis in groups[group]]
    moved = split_view.viewed(source.name, tuple(sizes[axis] for axis in order), tuple(split_view.strides[axis] for axis in order))
    name = last_reshape.outputs[0]
    view = reshaped(moved, name, lowering.shape(name))
    if view is None:
        return False
    lowering.mark_fused(transpose)
    lowering.mark_fused(last_reshape)
    view.buffer.readers += lowering.uses[name]  # counted now, so that no step overwrites the view; `last_reshape` counts them again
    lowering.alias(name, view)
    return True


def common_refinement(before: Shape, after: Shape) -> tuple[Shape, list[list[int]]] | None:
    """Sizes that refine both shapes, without 1, and the indices of those that form each axis of `after`; None if there are none."""
    if 0 in before or 0 in after:
        return None
    sizes: list[Dim] = []
    groups: list[list[int]] = []
    rest = [size for size in reversed(before) if size != 1]
    for wanted in after:
        group: list[int] = []
        while wanted != 1:
            if not rest:
                return None
            have = rest.pop()
            part = have
            if (inner := _divided(wanted, have)) is not None:  # `have` is the outer part of `wanted`
                wanted = inner
            elif (inner := _divided(have, wanted)) is not None:  # `wanted` is the outer part of `have`; the rest comes next
                part, wanted = wanted, 1
                rest.append(inner)
            else:
                return None
            group.append(len(sizes))
            sizes.append(part)
        groups.append(group)
    return None if rest else (tuple(sizes), groups)


def _divided(size: Dim, by: Dim) -> Dim | None:
    """The quotient of sizes if it is exact for every N, else None."""
    if isinstance(size, int) and isinstance(by, int):
        return size // by if size % by == 0 else None
    try:
        return size // by
    except NotAffine:
        return None


def in_order_of_operand(lowering: Lowering, name: str, operands: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor] | None:
    """Operands of an elementwise op and a target in the memory order of its first full operand; None if row-major order is kept.

    Only for results that attention alone reads: it takes queries and keys in any order, and its result has the order of the queries.
    """
    shape, reader = lowering.shape(name), lowering.only_reader(name)
    whole = next((operand for operand in operands if operand.shape == shape), None)
    if whole is None or reader is None or reader.op != "Attend" or name in lowering.destinations:
        return None
    if any(operand is not whole and product(operand.shape) != 1 for operand in operands):
        return None
    order = sorted(range(len(shape)), key=lambda axis: (-at(whole.strides[axis], _MANY), axis))
    if order == list(range(len(shape))) or whole.strides[order[-1]] != whole.itemsize:
        return None
    target = lowering.scratch(tuple(shape[axis] for axis in order), lowering.dtype(name), name)
    lowering.tensors[name] = target.viewed(name, shape, tuple(target.strides[order.index(axis)] for axis in range(len(shape))))
    moved = whole.viewed(whole.name, target.shape, tuple(whole.strides[axis] for axis in order))
    return tuple(moved if operand is whole else operand.viewed(operand.name, (), ()) for operand in operands), target
