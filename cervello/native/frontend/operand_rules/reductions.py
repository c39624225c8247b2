"""Reductions, losses (which exported training graphs have), and ops along one axis."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of
from cervello.native.graph.dims import Affine
from cervello.native.graph.op_table import REDUCTIONS


@operands_of(*REDUCTIONS)
def _reduce(o: Operands) -> None:
    rank = len(o.shape(0))
    if o.given(1):
        o.rank(1, "axes", 0, 1)
        o.axes(o.data(1).reshape(-1).tolist(), rank)


@operands_of("ArgMax", "ArgMin")
def _arg(o: Operands) -> None:
    axis = o.axis(len(o.shape(0)), 0)
    if o.shape(0)[axis:axis + 1] == (0,):
        o.fail(f"elements to choose from on axis {axis}", 0)


@operands_of("Softmax", "LogSoftmax", "Hardmax")
def _softmax(o: Operands) -> None:
    rank = len(o.shape(0))
    o.axis(max(rank, 1), -1)


@operands_of("CumSum", "CumProd")
def _cum_sum(o: Operands) -> None:
    o.has_one(1, "an axis")
    o.axes([int(o.data(1).reshape(()))], o.rank(0, "data", 1), "an axis")


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
