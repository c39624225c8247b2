"""Converts shapes and strides to the loop nests of kernels."""

from __future__ import annotations

from collections.abc import Sequence

from cervello.errors import GraphError
from cervello.native.graph.dims import Affine, Dim, NotAffine, Shape, written
from cervello.native.graph.tensors import Tensor
from cervello.native.lowering.registry import NoKernelError


def broadcast_strides(tensor: Tensor, shape: Shape) -> Shape:
    """Strides of a tensor broadcast to `shape`; 0 on broadcast axes."""
    missing = len(shape) - len(tensor.shape)
    own = (1,) * missing + tensor.shape
    if missing < 0 or any(have not in (1, size) for have, size in zip(own, shape, strict=True)):
        raise GraphError(f"{tensor.name!r}: expected a shape that broadcasts to {written(shape)}, got {written(tensor.shape)}")
    strides = (0,) * missing + tensor.strides
    return tuple(0 if have == 1 else stride for have, stride in zip(own, strides, strict=True))


def collapse(shape: Shape, strides: Sequence[Shape]) -> tuple[list[Dim], list[list[Dim]]]:
    """Drops axes of size 1 and merges adjacent axes that are contiguous for every operand."""
    sizes: list[Dim] = []
    steps: list[list[Dim]] = [[] for _ in strides]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        here = [operand[axis] for operand in strides]
        if sizes and all(step[-1] == stride * size for step, stride in zip(steps, here, strict=True)):
            try:
                sizes[-1] = sizes[-1] * size
            except NotAffine as error:
                raise NoKernelError(f"a size grows faster than the batch: {error}") from error
            for step, stride in zip(steps, here, strict=True):
                step[-1] = stride
        else:
            sizes.append(size)
            for step, stride in zip(steps, here, strict=True):
                step.append(stride)
    return sizes, steps


def padded(sizes: Sequence[Dim], steps: Sequence[Sequence[Dim]], depth: int) -> tuple[list[Dim], list[list[Dim]]]:
    """Pads to exactly `depth` loops with outer loops of one iteration."""
    missing = depth - len(sizes)
    if missing < 0:
        raise NoKernelError(f"{len(sizes)} nested loops, the kernel has {depth}")
    return [*[1] * missing, *sizes], [[*[0] * missing, *step] for step in steps]


def leading_strides(tensor: Tensor, lead: Shape) -> Shape:
    """Strides of all axes but the last two, broadcast to the sizes `lead`."""
    part = tensor.viewed(tensor.name, tensor.shape[:-2], tensor.strides[:-2])
    if len(part.shape) > len(lead):
        raise NoKernelError("more leading axes than the result has")
    return broadcast_strides(part, lead)


def fixed(size: Dim, reason: str) -> int:
    """A size that does not depend on N.

    Raises:
      NoKernelError: it does; the message is `reason`.
    """
    if isinstance(size, Affine):
        raise NoKernelError(reason)
    return size
