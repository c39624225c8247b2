"""Result shapes of ops that move, repeat or pick elements."""

from __future__ import annotations

import math

import numpy as np

from cervello.errors import GraphError
from cervello.native.fallback.movement import slices
from cervello.native.graph.dims import ROWS, Affine, Dim, NotAffine, depends_on_rows, product, written
from cervello.native.graph.dtypes import F32, I64
from cervello.native.graph.graph import Node
from cervello.native.graph.values import Value
from cervello.native.shapes.rules.basic import Result, Unknown, axis_of, broadcast, data_of, dtype_of, one_type, rule, shape_of


@rule("Transpose")
def _transpose(node: Node, x: Value) -> Result:
    shape = shape_of(x)
    order = node.attributes.get("perm") or tuple(reversed(range(len(shape))))
    if sorted(order) != list(range(len(shape))):
        raise GraphError(f"node {node}: expected an order of {len(shape)} axes, got {list(order)}")
    return [(tuple(shape[i] for i in order), dtype_of(x))]


@rule("Reshape")
def _reshape(node: Node, x: Value, target: Value) -> Result:
    source, wanted = shape_of(x), list(data_of(target).tolist())
    if not node.attributes.get("allowzero", 0):
        wanted = [source[i] if d == 0 and i < len(source) else d for i, d in enumerate(wanted)]
    total = product(source)
    if -1 in wanted:
        free = wanted.index(-1)
        rest = product(d for i, d in enumerate(wanted) if i != free)
        if not isinstance(total, Affine) and not isinstance(rest, Affine) and (rest == 0 or total % rest):
            raise GraphError(f"node {node}: expected {written(source)} to fit {written(wanted)}, got {total} elements")
        wanted[free] = total // rest
    if product(wanted) != total:
        if isinstance(total, Affine) or isinstance(product(wanted), Affine):
            raise GraphError(
                f"node {node}: expected {written(source)} to fit {written(wanted)}: the target has a batch size baked in; "
                "export the policy with a dynamic batch axis")
        raise GraphError(f"node {node}: expected {written(source)} to fit {written(wanted)}, got {total} elements")
    return [(tuple(wanted), dtype_of(x))]


@rule("Flatten")
def _flatten(node: Node, x: Value) -> Result:
    shape = shape_of(x)
    axis = node.attributes.get("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return [((product(shape[:axis]), product(shape[axis:])), dtype_of(x))]


@rule("Squeeze")
def _squeeze(node: Node, x: Value, axes: Value | None = None) -> Result:
    shape = shape_of(x)
    if axes is None:
        return [(tuple(d for d in shape if d != 1), dtype_of(x))]
    gone = {axis_of(node, int(a), len(shape)) for a in data_of(axes).reshape(-1)}
    for axis in gone:
        if shape[axis] != 1:
            if isinstance(shape[axis], Affine):
                raise GraphError(f"node {node}: expected size 1 on axis {axis}, got {shape[axis]}: a batch of 1 is baked in")
            raise GraphError(f"node {node}: expected size 1 on axis {axis}, got {written(shape)}")
    return [(tuple(d for i, d in enumerate(shape) if i not in gone), dtype_of(x))]


@rule("Unsqueeze")
def _unsqueeze(node: Node, x: Value, axes: Value) -> Result:
    shape, places = shape_of(x), [int(a) for a in data_of(axes).reshape(-1)]
    rank = len(shape) + len(places)
    new = {axis_of(node, a, rank) for a in places}
    if len(new) < len(places):
        raise GraphError(f"node {node}: expected each new axis once, got {places}")
    rest = iter(shape)
    return [(tuple(1 if i in new else next(rest) for i in range(rank)), dtype_of(x))]


@rule("Concat")
def _concat(node: Node, *xs: Value) -> Result:
    shapes = [shape_of(x) for x in xs]
    axis = axis_of(node, node.attributes["axis"], len(shapes[0]))
    before, behind, rank = shapes[0][:axis], shapes[0][axis + 1:], len(shapes[0])
    for shape in shapes:
        if len(shape) != rank or shape[:axis] != before or shape[axis + 1:] != behind:
            raise GraphError(f"node {node}: expected equal sizes off axis {axis}, got {' and '.join(map(written, shapes))}")
    sizes = [shape[axis] for shape in shapes]
    total: Dim = sum(size for size in sizes if type(size) is int)
    for size in sizes:
        if type(size) is not int:
            total = total + size
    return [((*before, total, *behind), one_type(node, *xs))]


@rule("Split")
def _split(node: Node, x: Value, split: Value | None = None) -> Result:
    shape = shape_of(x)
    axis = axis_of(node, node.attributes.get("axis", 0), len(shape))
    if split is None:
        size = shape[axis]
        if isinstance(size, Affine):
            raise NotAffine("split of the batch axis")
        each = -(-size // len(node.outputs))
        sizes = [min(each, size - each * i) for i in range(len(node.outputs))]
    else:
        sizes = [int(s) for s in data_of(split)]
        if sum(sizes) != shape[axis] or min(sizes, default=0) < 0:
            raise GraphError(f"node {node}: expected parts of {shape[axis]} on axis {axis}, got {sizes}")
    return [((*shape[:axis], size, *shape[axis + 1:]), dtype_of(x)) for size in sizes]


@rule("Slice")
def _slice(node: Node, x: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None) -> Result:
    shape = list(shape_of(x))
    operands = [data_of(v) for v in (starts, ends, axes, steps)]
    for i, cut in enumerate(slices(len(shape), *operands)):
        if cut == slice(None):
            continue
        size = shape[i]
        if isinstance(size, Affine):
            if cut.start in (0, None) and cut.step in (1, None) and ((isinstance(cut.stop, Affine) and cut.stop == size) or
                                                                     (isinstance(cut.stop, int) and cut.stop > 1 << 30)):
                continue
            raise NotAffine("slice of the batch axis")
        if depends_on_rows((cut.start, cut.stop, cut.step)):
            raise NotAffine("slice bounds")
        shape[i] = len(range(*cut.indices(size)))
    return [(tuple(shape), dtype_of(x))]


@rule("Expand")
def _expand(node: Node, x: Value, shape: Value) -> Result:
    return [(broadcast(node, shape_of(x), tuple(data_of(shape).tolist())), dtype_of(x))]


@rule("Gather")
def _gather(node: Node, x: Value, indices: Value) -> Result:
    shape, index = shape_of(x), shape_of(indices)
    axis = axis_of(node, node.attributes.get("axis", 0), len(shape))
    return [((*shape[:axis], *index, *shape[axis + 1:]), dtype_of(x))]


@rule("ConstantOfShape")
def _constant_of_shape(node: Node, shape: Value) -> Result:
    value = node.attributes.get("value")
    return [(tuple(data_of(shape).tolist()), F32 if value is None else value.dtype)]


@rule("Pad")
def _pad(node: Node, x: Value, pads: Value, value: Value | None = None, axes: Value | None = None) -> Result:
    shape, amounts = list(shape_of(x)), [int(p) for p in data_of(pads)]
    places = list(range(len(shape))) if axes is None else [axis_of(node, int(a), len(shape)) for a in data_of(axes)]
    half = len(amounts) // 2
    for i, axis in enumerate(places):
        if amounts[i] or amounts[half + i]:
            shape[axis] = shape[axis] + amounts[i] + amounts[half + i]
    return [(tuple(shape), dtype_of(x))]


@rule("Tile")
def _tile(node: Node, x: Value, repeats: Value) -> Result:
    shape, counts = shape_of(x), data_of(repeats).tolist()
    if len(counts) != len(shape) or any(not isinstance(count, Affine) and count < 0 for count in counts):
        raise GraphError(f"node {node}: expected a count of at least 0 for each of {len(shape)} axes, got {counts}")
    return [(tuple(size * count for size, count in zip(shape, counts, strict=True)), dtype_of(x))]


@rule("Range")
def _range(node: Node, start: Value, limit: Value, delta: Value) -> Result:
    first, end, step = (data_of(value).reshape(()).item() for value in (start, limit, delta))
    if (first, end, step) == (0, ROWS, 1):
        return [((ROWS,), dtype_of(start))]
    if depends_on_rows((first, end, step)):
        raise Unknown("a range over the batch")
    return [((max(math.ceil((end - first) / step), 0),), dtype_of(start))]


@rule("GatherElements")
def _gather_elements(node: Node, x: Value, indices: Value) -> Result:
    return [(shape_of(indices), dtype_of(x))]


@rule("Compress")
def _compress(node: Node, x: Value, condition: Value) -> Result:
    shape, axis = shape_of(x), node.attributes.get("axis")
    chosen = data_of(condition).reshape(-1)
    flat = product(shape) if axis is None else shape[axis_of(node, axis, len(shape))]
    if isinstance(flat, Affine):
        raise NotAffine("rows that are left out")
    count = int(np.count_nonzero(chosen))
    if axis is None:
        return [((count,), dtype_of(x))]
    axis %= len(shape)
    return [((*shape[:axis], count, *shape[axis + 1:]), dtype_of(x))]


@rule("OneHot")
def _one_hot(node: Node, indices: Value, depth: Value, values: Value) -> Result:
    shape, count = shape_of(indices), int(data_of(depth).reshape(()))
    axis = axis_of(node, node.attributes.get("axis", -1), len(shape) + 1)
    return [((*shape[:axis], count, *shape[axis:]), dtype_of(values))]


@rule("TopK")
def _top_k(node: Node, x: Value, k: Value) -> Result:
    shape = shape_of(x)
    axis, count = axis_of(node, node.attributes.get("axis", -1), len(shape)), int(data_of(k).reshape(()))
    size = shape[axis]
    if not isinstance(size, Affine) and not 0 <= count <= size:
        raise GraphError(f"node {node}: expected at most {size} on axis {axis}, got {count}")
    taken = (*shape[:axis], count, *shape[axis + 1:])
    return [(taken, dtype_of(x)), (taken, I64)]
