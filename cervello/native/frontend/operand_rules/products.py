"""Products of matrices and their like."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of


@operands_of("Gemm")
def _gemm(o: Operands) -> None:
    o.rank(0, "a matrix", 2, 2)
    o.rank(1, "a matrix", 2, 2)


@operands_of("MatMul")
def _matmul(o: Operands) -> None:
    o.rank(0, "a vector or matrices", 1)
    o.rank(1, "a vector or matrices", 1)


@operands_of("Det")
def _determinant(o: Operands) -> None:
    rank = o.rank(0, "matrices", 2)
    shape = o.shape(0)
    if shape[rank - 1] != shape[rank - 2]:
        o.fail("square matrices", shape)
