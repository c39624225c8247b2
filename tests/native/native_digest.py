"""Runs a set of small graphs on fixed inputs and prints a hash of all bits. A script: `python native_digest.py [kernel to disassemble]`."""

from __future__ import annotations

import hashlib
import sys

from native_cases import named
from native_rows import bits, columns, execute

from cervello.native import Model

NAMES = (
    "Gemm-9-terms", "Gemm-wide", "Gemm-tanh", "Gemm-softplus", "attention", "Conv-pads", "AveragePool",
    "LSTM-bidirectional-state", "GRU-linear",
    "Softmax-last", "LogSoftmax-middle", "LayerNormalization", "ReduceSum-last", "ReduceMean-middle", "ReduceProd-last", "ReduceL2-last",
    "ReduceLogSumExp-last", "ReduceMax-last", "Add-column-right", "Pow-same", "Div-row-left", "Where-column", "Mish", "Erf", "Sin",
    "Sigmoid", "Selu", "Round", "Cast-float32-int64", "Cast-float32-int32", "RandomNormalLike", "Multinomial", "RandomUniformLike")


def digest() -> str:
    """A hash of every output of every graph, at widths with whole vectors and with remainders."""
    found = hashlib.sha256()
    for name in NAMES:
        case = named(name)
        for width in (5, 33):
            model = Model.load(case.build(width))
            given = columns(model, 29, positive=case.positive, integers=case.integers)
            for rows in (range(29), [7]):
                for array in execute(model, given, rows).values():
                    found.update(bits(array).tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    print(digest())
    if len(sys.argv) > 1:
        from cervello.codegen import compiler

        print(compiler.assembly(sys.argv[1]))
