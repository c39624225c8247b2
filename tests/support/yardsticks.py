"""What a memory plan is held against: lifetimes found anew, and what other planners make of the same buffers.

Nothing here asks the planner anything. Lifetimes come from what the steps read, write and use as scratch; a view is another tensor on
the same buffer and so keeps it alive. Sizes are rounded up to 64 bytes everywhere, and callers' arrays (inputs and outputs) count
nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cervello.native.frontend.importer import Source, read
from cervello.native.graph.dims import Dim, at, product
from cervello.native.graph.tensors import Space, Step
from cervello.native.memory.weights import Weights
from cervello.native.model import Model
from cervello.native.program.build import build
from cervello.native.shapes.infer_shapes import infer_shapes

ALIGNMENT = 64


class Life(NamedTuple):
    """A buffer's half-open stretch of steps, and its size."""

    first: int
    end: int
    n_bytes: Dim


class Sized(NamedTuple):
    """The same with the bytes it takes for one N."""

    first: int
    end: int
    size: int


Sizer = Callable[[Sequence[Sized]], int]


def rounded(n_bytes: int) -> int:
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def sized(lives: Iterable[Life], n_rows: int) -> list[Sized]:
    """Lives for one N, in the order in which they begin."""
    return [Sized(first, end, rounded(at(n_bytes, n_rows))) for first, end, n_bytes in sorted(lives, key=lambda life: life[:2])]


def executed(steps: Sequence[Step]) -> list[Life]:
    """The lives of all arena buffers of a program, from its steps alone."""
    touched: dict[int, list[int]] = {}
    n_bytes: dict[int, Dim] = {}
    for index, step in enumerate(steps):
        for tensor in (*step.reads, *step.writes, *step.scratch):
            if tensor.buffer.space is Space.ARENA:
                touched.setdefault(id(tensor.buffer), []).append(index)
                n_bytes[id(tensor.buffer)] = tensor.buffer.n_bytes
    return [Life(min(when), max(when) + 1, n_bytes[key]) for key, when in touched.items()]


def peak(lives: Sequence[Sized]) -> int:
    """The largest sum of sizes alive at one step: no layout of these buffers can be smaller."""
    return max((sum(life.size for life in lives if life.first <= step < life.end) for step in {life.first for life in lives}), default=0)


def tract(lives: Sequence[Sized]) -> int:
    """Bytes of tract's memory schema, with the hint at the very N that runs.

    Largest first; each buffer joins the partition that holds no buffer alive at the same time and the most bytes in all, or opens one.

    Source: sonos/tract, transformers memory schema (`eval` of partitions).
    """
    partitions: list[list[Sized]] = []
    for life in sorted(lives, key=lambda life: -life.size):
        fitting = [members for members in partitions if not any(life.first < o.end and o.first < life.end for o in members)]
        if fitting:
            max(fitting, key=lambda members: sum(o.size for o in members)).append(life)
        else:
            partitions.append([life])
    return sum(max(o.size for o in members) for members in partitions)


def static_runtime(lives: Sequence[Sized]) -> int:
    """Bytes of PyTorch Static Runtime's storage groups.

    Step by step, each new tensor takes the group freed last, of whatever size, or opens one; a group is as large as its largest tensor.

    Source: pytorch, static runtime memory planner (`assignStorageToManagedTensors`).
    """
    groups: list[int] = []
    of: dict[int, int] = {}
    free: list[int] = []
    order = sorted(range(len(lives)), key=lambda i: lives[i].first)
    for step in range(max((life.end for life in lives), default=0)):
        for i in order:
            if lives[i].first == step:
                if free:
                    of[i] = free.pop()
                else:
                    of[i] = len(groups)
                    groups.append(0)
                groups[of[i]] = max(groups[of[i]], lives[i].size)
        free += [of[i] for i in order if lives[i].end == step + 1]
    return sum(groups)


class Unfused(NamedTuple):
    """A graph run node by node: each result in a buffer of its own, freed after its last reader; no views, nothing in place.

    Attributes:
      lives: results, by node in the order of the file.
      scratch: for each node, what each of the kernels that a program runs for it needs beside results.
      complete: whether every result's size is known before the graph runs.
    """

    lives: list[Life]
    scratch: list[list[tuple[Dim, ...]]]
    complete: bool

    def peak(self, n_rows: int, scratch: bool = True) -> int:
        """The largest sum of sizes alive at one node, with the scratch of that node's hungriest kernel or without any."""
        results = sized(self.lives, n_rows)
        most = 0
        for index, kernels in enumerate(self.scratch):
            needed = max((sum(rounded(at(n_bytes, n_rows)) for n_bytes in kernel) for kernel in kernels), default=0) if scratch else 0
            most = max(most, needed + sum(life.size for life in results if life.first <= index < life.end))
        return most


def unfused(model: Model, source: Source) -> Unfused:
    """The lives of a graph's results after constant folding and without dead nodes; graph outputs are the caller's, as in a program."""
    built = build(read(source), Weights())
    graph = built.graph
    assert graph is not None
    values = infer_shapes(graph, built.batching.shapes)
    wanted = {port.name for port in graph.outputs}
    outputs, live = set(wanted), []
    for node in reversed(graph.nodes):
        if any(name in wanted and values[name].data is None for name in node.outputs):
            live.append(node)
            wanted.update(node.inputs)
    live.reverse()
    kernels: dict[str, list[tuple[Dim, ...]]] = {}
    for step in model.program.steps:
        kernels.setdefault(step.node, []).append(tuple(tensor.buffer.n_bytes for tensor in step.scratch))
    made: dict[str, tuple[int, int, Dim]] = {}
    complete = True
    for index, node in enumerate(live):
        for name in node.inputs:
            if name in made:
                first, _, n_bytes = made[name]
                made[name] = first, index + 1, n_bytes
        for name in node.outputs:
            value = values[name]
            if not name or name in outputs or value.data is not None:
                continue
            if value.shape is None or value.dtype is None:
                complete = False
                continue
            made[name] = index, index + 1, product(value.shape) * value.dtype.itemsize
    return Unfused([Life(*life) for life in made.values()], [kernels.get(str(node), []) for node in live], complete)
