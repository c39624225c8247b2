"""Losses, which exported training graphs hold."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of
from cervello.native.graph.dims import Affine


@operands_of("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def _loss(o: Operands) -> None:
    o.rank(0, "scores", 2)
    shape = o.shape(0)
    o.has_shape(1, "labels", (shape[0], *shape[2:]))
    o.has_shape(2, "weights", (shape[1],))
    o.choice("reduction", "mean", ("none", "sum", "mean"))
    if o.known(1) and not isinstance(shape[1], Affine):
        ignored, labels = o.attribute("ignore_index"), o.data(1)
        outside = (labels < 0) | (labels >= shape[1])
        wrong = labels[outside if ignored is None else outside & (labels != ignored)]
        if wrong.size:
            o.fail(f"labels from 0 to {shape[1] - 1}", int(wrong[0]))
