"""Buffers, and tensors as strided views of them.

A view (Reshape, Slice, Transpose, Expand, …) is another tensor on the same buffer; data are copied only if a kernel needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from cervello.native.graph.budget import current
from cervello.native.graph.dims import Dim, NotAffine, Shape, parts, product
from cervello.native.graph.dtypes import Array


class Space(Enum):
    """What a buffer is backed by."""

    ARENA = "arena"
    INPUT = "input"
    OUTPUT = "output"
    CONSTANT = "constant"


@dataclass(eq=False, slots=True)
class Buffer:
    """A contiguous block of memory. Mutable only in `readers`, the number of remaining reads during lowering.

    Attributes:
      n_bytes: size at N rows.
      index: which input or output.
      data: the array, for constants.
    """

    name: str
    space: Space
    n_bytes: Dim
    index: int = 0
    data: Array | None = None
    readers: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """A strided view of a buffer; offset and strides in bytes."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    buffer: Buffer
    offset: Dim
    strides: Shape

    @property
    def itemsize(self) -> int:
        return int(self.dtype.itemsize)

    @property
    def n_bytes(self) -> Dim:
        return product(self.shape) * self.itemsize

    @property
    def contiguous(self) -> bool:
        return self.contiguous_from(0)

    def contiguous_from(self, axis: int) -> bool:
        """Whether the axes from `axis` on are contiguous; true for an empty tensor."""
        if 0 in self.shape[axis:]:
            return True
        expected: Dim = self.itemsize
        for size, stride in zip(reversed(self.shape[axis:]), reversed(self.strides[axis:]), strict=True):
            if size == 1:
                continue
            if stride != expected:
                return False
            expected = expected * size
        return True

    def viewed(self, name: str, shape: Shape, strides: Shape, offset: Dim | None = None) -> Tensor:
        return Tensor(name, self.dtype, shape, self.buffer, self.offset if offset is None else offset, strides)

    def named(self, name: str) -> Tensor:
        return self.viewed(name, self.shape, self.strides)

    def dense_view(self, shape: Shape, name: str | None = None) -> Tensor:
        """The elements of a contiguous tensor in another shape."""
        return self.viewed(self.name if name is None else name, shape, dense_strides(shape, self.itemsize))

    def transposed(self, order: Sequence[int], name: str | None = None) -> Tensor:
        shape, strides = (tuple(of[axis] for axis in order) for of in (self.shape, self.strides))
        return self.viewed(self.name if name is None else name, shape, strides)

    def select(self, axis: int, index: int = 0) -> Tensor:
        """The elements at `index` along an axis, without the axis."""
        shape, strides = ((*of[:axis], *of[axis + 1:]) for of in (self.shape, self.strides))
        return self.viewed(self.name, shape, strides, self.offset + self.strides[axis] * index if index else self.offset)


def dense_strides(shape: Shape, itemsize: int) -> Shape:
    """Row-major strides in bytes."""
    strides: list[Dim] = []
    step: Dim = itemsize
    for size in reversed(shape):
        strides.append(step)
        step = step * (1 if size == 0 else size)
    return tuple(reversed(strides))


def dense(name: str, dtype: np.dtype[Any], shape: Shape, buffer: Buffer) -> Tensor:
    return Tensor(name, dtype, shape, buffer, 0, dense_strides(shape, int(dtype.itemsize)))


def reshaped(tensor: Tensor, name: str, shape: Shape) -> Tensor | None:
    """A view of the same elements with another shape; None if a copy is necessary."""
    if tensor.contiguous:
        return tensor.viewed(name, shape, dense_strides(shape, tensor.itemsize))
    # Group axes of both shapes that cover the same elements; each group must be regular on its own.
    old = [(d, s) for d, s in zip(tensor.shape, tensor.strides, strict=True) if d != 1]
    strides: list[Dim] = []
    at = 0
    index = 0
    while index < len(shape):
        if shape[index] == 1:
            strides.append(tensor.itemsize)
            index += 1
            continue
        if at >= len(old):
            return None
        left, last = old[at][0], at
        group, right = [shape[index]], shape[index]
        index += 1
        while left != right:
            try:
                grow_left = _less(left, right)
            except NotAffine:
                return None
            if grow_left:
                last += 1
                if last >= len(old) or old[last - 1][1] != old[last][1] * old[last][0]:
                    return None
                left = left * old[last][0]
            else:
                if index >= len(shape):
                    return None
                group.append(shape[index])
                right = right * shape[index]
                index += 1
        inner: list[Dim] = []
        step = old[last][1]
        for size in reversed(group):
            inner.append(step)
            step = step * size
        strides += reversed(inner)
        at = last + 1
    return tensor.viewed(name, shape, tuple(strides)) if at == len(old) else None


def _less(a: Dim, b: Dim) -> bool:
    """a < b for all N ≥ 1, or b < a for all N ≥ 1; else refuses."""
    (ac, as_), (bc, bs) = parts(a), parts(b)
    if ac + as_ < bc + bs and as_ <= bs:
        return True
    if ac + as_ > bc + bs and as_ >= bs:
        return False
    raise NotAffine("undecided")


@dataclass(frozen=True, slots=True)
class Address:
    """A word that becomes the address of a compiled function ("module:name") when the program is linked."""

    reference: str


@dataclass(frozen=True, slots=True)
class Weight:
    """A word that becomes the address of a stored constant."""

    data: Array = field(hash=False, compare=False)
    kind: str = "plain"

    def __post_init__(self) -> None:
        current().take("a kernel's constants", self.data.nbytes)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """A stored `Weight`: the array in the form its kernel reads, and its original shape."""

    array: Array = field(hash=False, compare=False)
    shape: tuple[int, ...]
    kind: str


LABEL = "cervello.native.kernels.control_flow:label"  # the kernel of a step that does nothing: a jump target


@dataclass(frozen=True, slots=True)
class Jump:
    """A word that becomes the distance in words from its step to another."""

    step: Step


@dataclass(eq=False, slots=True)
class Step:
    """One kernel call.

    Attributes:
      kernel: "module:name".
      reads, writes: operands in the order of the kernel's words, writes last.
      words: attributes after the operands.
      node: name of its node, for the report.
      keeps: tensors that are not operands but must stay live until this step, because a loop may run earlier steps again.
      times: iterations of the loops around it with a known trip count; else 1.
    """

    kernel: str
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]
    words: list[Any]
    op: str
    node: str
    fallback: Any = None  # a function of the slower tiers instead of a kernel
    scratch: tuple[Tensor, ...] = ()
    keeps: tuple[Tensor, ...] = ()
    times: int = 1

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """In the order of the kernel's words."""
        return (*self.reads, *self.writes, *self.scratch)

    @property
    def touched(self) -> tuple[Tensor, ...]:
        """All tensors that must be live during the step."""
        return (*self.operands, *self.keeps)
