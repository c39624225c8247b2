"""`Lowering`: converts a graph with known shapes to steps over buffers.

Lowering rules request operands in the layout that their kernel reads, and a target to write. Views stay views. Producers write a Concat's
operands directly into its result where possible. An elementwise op runs in place on an operand without other consumers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from cervello.native.fallback.table import symbolic
from cervello.native.graph.budget import current
from cervello.native.graph.dims import NotAffine, Shape, product
from cervello.native.graph.dtypes import F32, Array
from cervello.native.graph.graph import Graph, Node
from cervello.native.graph.tensors import Buffer, Space, Step, Tensor, dense, dense_strides
from cervello.native.graph.values import Value
from cervello.native.kernels.schema import PREFIX, SCHEMAS
from cervello.native.kernels.schemas import COPY_LOOP
from cervello.native.lowering.loop_nests import broadcast_strides, collapse, padded
from cervello.native.lowering.registry import NoKernelError

_COPY_LOOPS = 5  # of `kernels.copies.copy_strided`


class Lowering:
    """The state of one lowering; mutable, used once.

    Attributes:
      steps: the steps emitted so far.
      tensors: the tensor of each value, by name.
      fallback_nodes: reasons by node, for ops outside the planned tier.
      row_repeats: repetitions of rows in values whose batch axis absorbed others, see `batch_independence.check_batch_independence`.
    """

    def __init__(self, graph: Graph, values: dict[str, Value], outputs: tuple[str, ...], row_repeats: Mapping[str, int] | None = None):
        self.graph, self.values = graph, values
        self.steps: list[Step] = []
        self.tensors: dict[str, Tensor] = {}
        self.fallback_nodes: dict[str, str] = {}
        self.row_repeats = row_repeats or {}
        self.uses = Counter(name for node in graph.nodes for name in node.inputs if name)
        self.uses.update(outputs)
        self.outputs = outputs
        self.destinations: dict[str, Tensor] = {}  # requested location of a value: in a Concat's result or a caller's array
        self.node: Node | None = None
        self.readers: dict[str, list[Node]] = {}
        self.fused_nodes: dict[int, None] = {}  # in the order in which they were
        self.early_matters = False  # whether `early` changes the placement of a Concat's operands
        self.open_markers: dict[str, Any] = {}  # state shared by the control markers of a branch or loop
        self.trip_counts: list[int] = []  # trip counts of the loops around the next step

    # Operands -----------------------------------------------------------------------------------------------------------

    def constant(self, name: str) -> Array | None:
        """The data of a constant value; None if it is not constant or absent."""
        return self.values[name].constant if name else None

    def shape(self, name: str) -> Shape:
        shape = self.values[name].shape
        if shape is None:
            raise NoKernelError(f"the shape of {name!r} depends on data")
        return shape

    def dtype(self, name: str) -> np.dtype[Any]:
        dtype = self.values[name].dtype
        if dtype is None:
            raise NoKernelError(f"the type of {name!r} depends on data")
        return dtype

    def tensor(self, name: str) -> Tensor:
        """The tensor of a value; a constant gets a buffer on first use."""
        found = self.tensors.get(name)
        if found is not None:
            return found
        value = self.values[name]
        if value.data is None:
            raise NoKernelError(f"{name!r} comes from a slower tier with a shape that depends on data")
        if symbolic(value.data):
            raise NoKernelError(f"{name!r} holds sizes that depend on the batch")
        return self.stored(name, value.data if value.data.dtype != object else value.data.astype(np.int64))

    def float_tensor(self, name: str) -> Tensor:
        """The tensor of a float32 value.

        Raises:
          NoKernelError: the value has another type.
        """
        tensor = self.tensor(name)
        if tensor.dtype != F32:
            raise NoKernelError(f"no kernel for {tensor.dtype}")
        return tensor

    def stored(self, name: str, data: Array) -> Tensor:
        """A constant as a tensor."""
        current().take(f"constant {name!r}", data.nbytes)
        data = np.ascontiguousarray(data).reshape(data.shape)  # a scalar stays one
        buffer = Buffer(name, Space.CONSTANT, data.nbytes, data=data)
        found = self.tensors[name] = Tensor(name, data.dtype, data.shape, buffer, 0, dense_strides(data.shape, data.itemsize))
        return found

    def contiguous(self, tensor: Tensor, axis: int = 0) -> Tensor:
        """The tensor with contiguous axes from `axis` on; copied if necessary."""
        return tensor if tensor.contiguous_from(axis) else self.materialised(tensor)

    def materialised(self, tensor: Tensor, shape: Shape | None = None) -> Tensor:
        """A contiguous copy in fresh arena memory, broadcast to `shape`."""
        target = self.scratch(tensor.shape if shape is None else shape, tensor.dtype)
        self.copy(tensor, target)
        return target

    # Results ------------------------------------------------------------------------------------------------------------

    def output(self, name: str, contiguous: bool = True, over: Tensor | None = None) -> Tensor:
        """The tensor to write a result to.

        Args:
          contiguous: the kernel needs a contiguous target; a strided location is then filled by a later copy.
          over: an operand to overwrite in place if it has no later consumer.
        """
        destination = self.destinations.get(name)
        if destination is not None and (destination.contiguous or not contiguous):
            self.tensors[name] = destination
            return destination
        shape, dtype = self.shape(name), self.dtype(name)
        if (destination is None and over is not None and over.buffer.space is Space.ARENA and over.contiguous and over.shape == shape
                and over.dtype == dtype and over.buffer.readers == 1):
            self.alias(name, over)
            return self.tensors[name]
        self.tensors[name] = tensor = self.scratch(shape, dtype, name)
        return tensor

    def alias(self, name: str, tensor: Tensor) -> None:
        """Makes a result a view of an operand."""
        self.tensors[name] = tensor.named(name)

    def scratch(self, shape: Shape, dtype: np.dtype[Any] | type[Any], name: str = "") -> Tensor:
        """Fresh arena memory."""
        dtype = np.dtype(dtype)
        try:
            n_bytes = product(shape) * dtype.itemsize
        except NotAffine as error:
            raise NoKernelError(f"a size grows faster than the batch: {error}") from error
        buffer = Buffer(name or f"scratch of {self.node}", Space.ARENA, n_bytes)
        return dense(name or buffer.name, dtype, shape, buffer)

    def only_reader(self, name: str) -> Node | None:
        """The only consumer of a value; None if there are several or if the value is an output."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and self.uses[name] == 1 else None

    def mark_fused(self, node: Node) -> None:
        """Marks a node as fused into the step being lowered."""
        self.fused_nodes[node.index] = None

    # Steps --------------------------------------------------------------------------------------------------------------

    def emit(self, kernel: str, reads: tuple[Tensor, ...], writes: tuple[Tensor, ...], scratch: tuple[Tensor, ...] = (), op: str = "",
             **words: Any) -> Step:
        """Adds a kernel call.

        Args:
          kernel: "module:name".
          words: by the names of the kernel's schema, see `kernels.schemas`; those of another schema are `parameters`, `loops` or `ops`.

        Raises:
          PlanError: the schema has other words.
        """
        node = self.node
        step = Step(PREFIX + kernel, reads, writes, SCHEMAS[PREFIX + kernel].arrange(words), op or (node.op if node else "copy"),
                    str(node) if node else "", scratch=scratch, times=prod(self.trip_counts))
        self.steps.append(step)
        return step

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Emits a copy between two tensors of one shape."""
        sizes, (from_, to) = collapse(target.shape, [broadcast_strides(source, target.shape), target.strides])
        if len(sizes) <= _COPY_LOOPS:
            self.emit("copies:copy", (source,), (target,), op="copy", **copy_words(source, target))
            return
        outer = len(sizes) - _COPY_LOOPS
        loops = [COPY_LOOP.arrange({"size": size, "source_by": s, "target_by": t})
                 for size, s, t in zip(sizes[:outer], from_, to, strict=False)]
        self.emit("copies:copy_deep", (source,), (target,), op="copy", itemsize=target.itemsize, sizes=sizes[outer:],
                  source_by=from_[outer:], target_by=to[outer:], outer=outer, loops=chain.from_iterable(loops))


def copy_words(source: Tensor, target: Tensor) -> dict[str, Any]:
    """The words of `kernels.copies.copy_strided`, by name."""
    sizes, steps = collapse(target.shape, [broadcast_strides(source, target.shape), target.strides])
    sizes, (from_, to) = padded(sizes, steps, _COPY_LOOPS)
    return {"itemsize": target.itemsize, "sizes": sizes, "source_by": from_, "target_by": to}
