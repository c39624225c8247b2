"""Normalisations."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of
from cervello.native.graph.dims import Affine, Shape, written

_NEWER_GROUPS = 21  # since this opset, GroupNormalization scales each channel, before that each group


@operands_of("BatchNormalization")
def _batch(o: Operands) -> None:
    rank = o.rank(0, "data", 1)
    shape: Shape = (o.shape(0)[1] if rank > 1 else 1,)
    if o.node.opset < 9 and not o.node.attributes.get("spatial", 1):
        shape = o.shape(0)[1:]  # once, each element could have statistics of its own
    for index, name in enumerate(("a scale", "a bias", "a mean", "a variance"), 1):
        o.has_shape(index, name, shape)


@operands_of("InstanceNormalization")
def _instance(o: Operands) -> None:
    o.rank(0, "an image", 2)
    for index, name in ((1, "a scale"), (2, "a bias")):
        o.has_shape(index, name, (o.shape(0)[1],))


@operands_of("GroupNormalization")
def _groups(o: Operands) -> None:
    o.rank(0, "an image", 2)
    channels, groups = o.shape(0)[1], o.at_least("num_groups", 1)
    if isinstance(channels, Affine) or channels % groups:
        o.fail(f"channels that {groups} groups share evenly", written(o.shape(0)))
    for index, name in ((1, "a scale"), (2, "a bias")):
        o.has_shape(index, name, (channels if o.node.opset >= _NEWER_GROUPS else groups,))


@operands_of("LayerNormalization", "RMSNormalization")
def _layer(o: Operands) -> None:
    axis = o.axis(o.rank(0, "data", 1), -1)
    normalised = o.shape(0)[axis:] if o.node.op == "LayerNormalization" else o.shape(0)
    for index, name in ((1, "a scale"), (2, "a bias")):
        o.broadcasts(index, name, normalised)
    o.choice("stash_type", 1, (1, 10, 11, 16))


@operands_of("MeanVarianceNormalization")
def _mean_variance(o: Operands) -> None:
    o.axes(o.attribute("axes", (0, 2, 3)), len(o.shape(0)))
