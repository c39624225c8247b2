"""RandomNormalLike, RandomUniformLike, RandomNormal, RandomUniform, Multinomial: drawn per agent."""

from __future__ import annotations

import numpy as np

from cervello.codegen.bits import float_word
from cervello.native.graph.dims import Affine, Dim, product
from cervello.native.graph.graph import Node
from cervello.native.graph.tensors import Address, Tensor
from cervello.native.kernels.sizes import FEW_CLASSES, FEW_CLASSES_SCRATCH
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.registry import NoKernelError, lowers
from cervello.noise.words import FILL

F32 = np.dtype(np.float32)


def _rows(tensor: Tensor) -> tuple[Dim, Dim]:
    """(rows, elements per row) of a contiguous target whose rows lie in front."""
    shape = tensor.shape
    moving = [i for i, d in enumerate(shape) if isinstance(d, Affine)]
    if not moving:
        return 1, product(shape)
    if product(shape[:moving[0]]) != 1 or shape[moving[0]] != Affine(0, 1):
        raise NoKernelError("random numbers whose rows do not lie in front")
    return shape[moving[0]], product(shape[moving[0] + 1:])


def _normal(lowering: Lowering, node: Node) -> None:
    if lowering.dtype(node.outputs[0]) != F32:
        raise NoKernelError(f"no kernel draws {lowering.dtype(node.outputs[0])}")
    target = lowering.output(node.outputs[0])
    rows, width = _rows(target)
    lowering.emit("random:normal", (), (target,), (_block(lowering),), rows=rows, width=width,
                  mean=float_word(node.attributes.get("mean", 0.0)), scale=float_word(node.attributes.get("scale", 1.0)),
                  site=node.index, fill=Address("cervello.noise.kernels:fill_normal"))


def _uniform(lowering: Lowering, node: Node) -> None:
    if lowering.dtype(node.outputs[0]) != F32:
        raise NoKernelError(f"no kernel draws {lowering.dtype(node.outputs[0])}")
    target = lowering.output(node.outputs[0])
    rows, width = _rows(target)
    low, high = node.attributes.get("low", 0.0), node.attributes.get("high", 1.0)
    lowering.emit("random:uniform", (), (target,), (_block(lowering),), rows=rows, width=width, low=float_word(low),
                  span=float_word(high - low), site=node.index, fill=Address("cervello.noise.kernels:fill_uniform"))


def _block(lowering: Lowering) -> Tensor:
    """Room for the words of a noise kernel."""
    return lowering.scratch((FILL.n_words,), np.int64)


lowers("RandomNormalLike")(_normal)
lowers("RandomUniformLike")(_uniform)


@lowers("Multinomial")
def _multinomial(lowering: Lowering, node: Node) -> None:
    source = lowering.contiguous(lowering.tensor(node.inputs[0]))
    if source.dtype != F32:
        raise NoKernelError(f"no kernel for {source.dtype}")
    target = lowering.output(node.outputs[0])
    all_lines, classes = source.shape
    if isinstance(classes, Affine):
        raise NoKernelError("classes that grow with the batch")
    rows, lines = (all_lines, 1) if isinstance(all_lines, Affine) else (1, all_lines)  # for one agent, all lines are its own
    scratch = lowering.scratch((FEW_CLASSES_SCRATCH if classes <= FEW_CLASSES else classes,), F32)
    draws = lowering.scratch(target.shape, F32)
    lowering.emit("multinomial:multinomial", (source,), (target,), (scratch, draws, _block(lowering)), rows=rows, lines=lines,
                  classes=classes, samples=target.shape[1], itemsize=target.itemsize, site=node.index,
                  fill=Address("cervello.noise.kernels:fill_uniform"))
