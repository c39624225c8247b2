"""Gather and scatter ops. Kernels check each index at run time."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, at_most, operands_of
from cervello.native.graph.dims import Affine, Shape, written

_REDUCTIONS = ("none", "add", "mul", "max", "min")


@operands_of("GatherElements")
def _within(o: Operands) -> None:
    """Indices of the rank of the data, and off the axis of no larger sizes."""
    rank = o.rank(0, "data", 1)
    axis, data, indices = o.axis(rank, 0), o.shape(0), o.shape(1)
    if len(indices) != rank:
        o.fail(f"indices of rank {rank}", written(indices))
    if any(not at_most(size, most) for i, (size, most) in enumerate(zip(indices, data, strict=True)) if i != axis):
        o.fail(f"indices of sizes within {written(data)} off axis {axis}", written(indices))


@operands_of("ScatterElements", "Scatter")
def _scatter_elements(o: Operands) -> None:
    _within(o)
    o.has_shape(2, "updates", o.shape(1))
    o.choice("reduction", "none", _REDUCTIONS)


def _tuples(o: Operands, batch_dims: int) -> Shape:
    """The shape of the block that a tuple of indices names."""
    data, indices = o.shape(0), o.shape(1)
    if not indices:
        o.fail("tuples of indices", written(indices))
    depth = indices[-1]
    if isinstance(depth, Affine) or not 0 < depth <= len(data) - batch_dims:
        o.fail(f"tuples of 1 to {len(data) - batch_dims} indices", written(indices))
    return data[batch_dims + depth:]


@operands_of("GatherND")
def _gather_nd(o: Operands) -> None:
    batch_dims = o.at_least("batch_dims", 0, 0)
    ranks = o.rank(0, "data", 1), o.rank(1, "indices", 1)
    if batch_dims >= min(ranks):
        o.fail(f"batch_dims below {min(ranks)}", batch_dims)
    if o.shape(0)[:batch_dims] != o.shape(1)[:batch_dims]:
        o.fail(f"indices that begin with {written(o.shape(0)[:batch_dims])}", written(o.shape(1)))
    _tuples(o, batch_dims)


@operands_of("ScatterND")
def _scatter_nd(o: Operands) -> None:
    o.rank(0, "data", 1)
    o.has_shape(2, "updates", (*o.shape(1)[:-1], *_tuples(o, 0)))
    o.choice("reduction", "none", _REDUCTIONS)
