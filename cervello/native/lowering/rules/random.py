"""RandomNormalLike, RandomUniformLike and Multinomial, drawn per agent."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.codegen.bits import float_word
from cervello.native.graph.dims import Affine, Dim, product
from cervello.native.graph.dtypes import F32
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Address, Tensor
from cervello.native.kernels.sizes import FEW_CLASSES, FEW_CLASSES_SCRATCH
from cervello.native.lowering.loop_nests import fixed
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.noise.words import FILL


def _rows(tensor: Tensor) -> tuple[Dim, Dim]:
    """(rows, elements per row) of a contiguous target with a leading batch axis."""
    shape = tensor.shape
    batch_axes = [i for i, d in enumerate(shape) if isinstance(d, Affine)]
    if not batch_axes:
        return 1, product(shape)
    if product(shape[:batch_axes[0]]) != 1 or shape[batch_axes[0]] != Affine(0, 1):
        raise NoKernelError("random numbers whose rows do not lie in front")
    return shape[batch_axes[0]], product(shape[batch_axes[0] + 1:])


@lowers("RandomNormalLike", "RandomUniformLike")
def _draw(lowering: Lowering, node: Node) -> None:
    if lowering.dtype(node.outputs[0]) != F32:
        raise NoKernelError(f"no kernel draws {lowering.dtype(node.outputs[0])}")
    target = lowering.output(node.outputs[0])
    rows, width = _rows(target)
    number = node.attributes.get
    if node.op == "RandomNormalLike":
        kind, parameters = "normal", {"mean": number("mean", 0.0), "scale": number("scale", 1.0)}
    else:
        low = number("low", 0.0)
        kind, parameters = "uniform", {"low": low, "span": number("high", 1.0) - low}
    words: dict[str, Any] = {name: float_word(value) for name, value in parameters.items()}
    lowering.emit(f"random:{kind}", (), (target,), (_block(lowering),), rows=rows, width=width, site=node.index,
                  fill=Address(f"cervello.noise.kernels:fill_{kind}"), **words)


def _block(lowering: Lowering) -> Tensor:
    """Scratch for the words of a noise kernel."""
    return lowering.scratch((FILL.n_words,), np.int64)


@lowers("Multinomial")
def _multinomial(lowering: Lowering, node: Node) -> None:
    source = lowering.contiguous(lowering.float_tensor(node.inputs[0]))
    target = lowering.output(node.outputs[0])
    n_lines, classes = source.shape[0], fixed(source.shape[1], "classes that grow with the batch")
    rows, lines = (n_lines, 1) if isinstance(n_lines, Affine) else (1, n_lines)  # for one agent, all lines are its own
    scratch = lowering.scratch((FEW_CLASSES_SCRATCH if classes <= FEW_CLASSES else classes,), F32)
    draws = lowering.scratch(target.shape, F32)
    lowering.emit("multinomial:multinomial", (source,), (target,), (scratch, draws, _block(lowering)), rows=rows, lines=lines,
                  classes=classes, samples=target.shape[1], itemsize=target.itemsize, site=node.index,
                  fill=Address("cervello.noise.kernels:fill_uniform"))
