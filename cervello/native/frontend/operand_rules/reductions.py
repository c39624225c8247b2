"""Reductions, and ops along one axis."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of


@operands_of("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
             "ReduceLogSum", "ReduceLogSumExp")
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
