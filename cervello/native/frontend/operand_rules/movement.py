"""Ops that move, repeat or make elements."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, at_most, operands_of
from cervello.native.graph.dims import Affine, product, written


@operands_of("Reshape")
def _reshape(o: Operands) -> None:
    o.is_list(1, "a target shape")
    sizes = o.data(1).tolist()
    if min(sizes, default=0) < -1 or sizes.count(-1) > 1:
        o.fail("sizes of at least 0, and at most one of -1", sizes)
    if o.attribute("allowzero", 0):
        if 0 in sizes and -1 in sizes:
            o.fail("no size of -1 beside sizes of 0, which allowzero takes as they are", sizes)
    elif any(size == 0 for size in sizes[len(o.shape(0)):]):
        o.fail(f"sizes of 0 on the {len(o.shape(0))} axes that there are", sizes)


@operands_of("Flatten")
def _flatten(o: Operands) -> None:
    o.axis(len(o.shape(0)), 1, end=True)


@operands_of("Squeeze")
def _squeeze(o: Operands) -> None:
    if o.given(1):
        o.axes(o.data(1).reshape(-1).tolist(), len(o.shape(0)))


@operands_of("Split")
def _split(o: Operands) -> None:
    axis = o.axis(o.rank(0, "an operand", 1), 0)
    n = len(o.node.outputs)
    if o.given(1):
        o.is_list(1, "sizes of parts", n)
        if o.attribute("num_outputs") is not None:
            o.fail("sizes of parts or num_outputs", "both")
    elif o.attribute("num_outputs") is not None:
        if o.at_least("num_outputs", 1) != n:
            o.fail(f"num_outputs {n}, as there are results", o.attribute("num_outputs"))
    elif not isinstance(size := o.shape(0)[axis], Affine) and size % n:
        o.fail(f"a size that {n} results share evenly", size)


@operands_of("Slice")
def _slice(o: Operands) -> None:
    rank = o.rank(0, "an operand", 1)
    for index, name in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")):
        o.is_list(index, name, None if index == 1 else o.shape(1)[0])
    if o.known(3):
        o.axes(o.data(3).tolist(), rank)
    if o.known(4) and 0 in o.data(4).tolist():
        o.fail("steps other than 0", o.data(4).tolist())
    if not o.given(3) and not at_most(count := o.shape(1)[0], rank):
        o.fail(f"at most {rank} starts", count)


@operands_of("Expand", "ConstantOfShape")
def _sizes(o: Operands) -> None:
    index = 1 if o.node.op == "Expand" else 0
    o.is_list(index, "a shape")
    value = o.attribute("value")
    if value is not None and value.size != 1:
        o.fail("one number as value", written(value.shape))
    sizes = o.data(index).tolist()
    if min(sizes, default=0) < 0:
        o.fail("sizes of at least 0", sizes)


@operands_of("Tile")
def _tile(o: Operands) -> None:
    o.is_list(1, "counts", len(o.shape(0)))


@operands_of("Pad")
def _pad(o: Operands) -> None:
    mode = o.choice("mode", "constant", ("constant", "reflect", "edge", "wrap"))
    o.has_one(2, "a padding value")
    rank, shape = len(o.shape(0)), o.shape(0)
    axes = o.axes(o.data(3).reshape(-1).tolist(), rank) if o.given(3) else list(range(rank))
    pads = [int(amount) for amount in o.data(1).reshape(-1)]
    if len(pads) != 2 * len(axes):
        o.fail(f"two amounts for each of {len(axes)} axes", pads)
    for axis, before, behind in zip(axes, pads[:len(axes)], pads[len(axes):], strict=True):
        size = shape[axis]
        if isinstance(size, Affine):
            continue
        kept = size + min(before, 0) + min(behind, 0)
        if kept < 0:
            o.fail(f"to cut at most {size} on axis {axis}", pads)
        most = kept - 1 if mode == "reflect" else 0 if kept == 0 and mode != "constant" else None
        if most is not None and max(before, behind) > max(most, 0):
            o.fail(f"{mode} pads of at most {max(most, 0)} on axis {axis}", pads)


@operands_of("Range")
def _range(o: Operands) -> None:
    for index, name in enumerate(("start", "limit", "delta")):
        o.has_one(index, name)
    if (o.data(2) == 0).any():
        o.fail("operands that fit Range: a delta other than 0", 0)


@operands_of("OneHot")
def _one_hot(o: Operands) -> None:
    o.has_one(1, "a depth")
    o.is_list(2, "values", 2)
    o.axis(len(o.shape(0)) + 1, -1)
    if (o.data(1) < 0).any():
        o.fail("a depth of at least 0", o.data(1).tolist())


@operands_of("DepthToSpace", "SpaceToDepth")
def _blocks(o: Operands) -> None:
    o.rank(0, "an image", 4, 4)
    block = o.at_least("blocksize", 1)
    if o.node.op == "DepthToSpace":
        o.choice("mode", "DCR", ("DCR", "CRD"))
    for axis, divisor in ((1, block * block),) if o.node.op == "DepthToSpace" else ((2, block), (3, block)):
        size = o.shape(0)[axis]
        if not isinstance(size, Affine) and size % divisor:
            o.fail(f"a multiple of {divisor} on axis {axis}", size)


@operands_of("ReverseSequence")
def _reverse_sequence(o: Operands) -> None:
    o.rank(0, "sequences", 2)
    batch, time = o.choice("batch_axis", 1, (0, 1)), o.choice("time_axis", 0, (0, 1))
    if batch == time:
        o.fail("two axes for batch and time", batch)
    o.is_list(1, "lengths", o.shape(0)[batch])
    size = o.shape(0)[time]
    if o.known(1) and not isinstance(size, Affine) and any(not 0 <= length <= size for length in o.data(1).tolist()):
        o.fail(f"lengths from 0 to {size}", o.data(1).tolist())


@operands_of("Compress")
def _compress(o: Operands) -> None:
    o.is_list(1, "a condition")
    if o.attribute("axis") is not None:
        size = o.shape(0)[o.axis(len(o.shape(0)))]
    else:
        size = product(o.shape(0))
    length = o.shape(1)[0]
    if not isinstance(size, Affine) and not isinstance(length, Affine) and length > size:
        o.fail(f"a condition of at most {size} elements", length)
