"""Small graphs that run after a program, on its outputs, in the same compiled call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cervello.codegen import linker
from cervello.codegen.bits import float64_word
from cervello.native.execution.context import ExecutionContext
from cervello.native.kernels import abi
from cervello.native.program.encode import Plan
from cervello.noise.words import FILL
from cervello.spec import TensorSpec

if TYPE_CHECKING:
    from cervello.native.model import Model

Array = np.ndarray[Any, Any]
_SOURCE = abi.LINK.index.source
_RUN_LINKS = "cervello.native.kernels.links:run_links"


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """The source of a stage's input.

    Attributes:
      kind: "output": a column after the program, by name; "shared": an output without a batch axis; "row": an array repeated for every
        row; "result": of an earlier stage, by name; "noise"; "flags": the deterministic flag by row; "allowed": where a mask is not 0.
      name: of the output or result; for a mask, of the input or output.
      row: the array of kind "row".
      words: for noise: the kernel's address and the noise site.
      is_input: whether a mask is an input.
      dtype: of a mask.
      sizes: sizes of a mask's choices; every row must allow at least one element of each. () disables the check.
    """

    kind: str
    name: str = ""
    row: Array | None = None
    words: tuple[int, int] = (0, 0)
    is_input: bool = False
    dtype: np.dtype[Any] | None = None
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A graph, or a copy, that runs after the program.

    Attributes:
      model: a model without fallback steps; None copies the only feed to the only result.
      feeds: by input name of the graph; other names are ignored.
      results: output names by the graph's output name. Later stages read the other outputs under the graph's name.
      int8: results that are float32 in the graph and int8 in the output.
      row_bytes: bytes per row of a copy.
    """

    model: Model | None
    feeds: Mapping[str, Feed]
    results: Mapping[str, str]
    int8: frozenset[str] = frozenset()
    row_bytes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Chained:
    """The stages that run after a program.

    Attributes:
      stages: in order.
      inputs, outputs: their inputs and outputs in addition to the program's.
      hidden: outputs of the program or of a stage that are not returned to the caller.
    """

    stages: tuple[Stage, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    hidden: frozenset[str] = field(default_factory=frozenset)


class _Graph:
    """A stage's graph with its own execution context."""

    def __init__(self, model: Model):
        self.model = model
        self.run = ExecutionContext((*model.inputs.values(), *model.outputs.values()), len(model.inputs))
        self.own: dict[int, Array | None] = {}  # port → initial row, or None; these ports have memory here
        self.memory: Array = np.empty(0, np.uint8)
        self.allocated_rows = 0  # capacity in rows

    def resolve(self, n_rows: int, into: Plan | None) -> Plan | None:
        """The plan for n_rows; None if it needs more than one compiled call or releases the GIL."""
        plan = self.model.resolve(n_rows, into=into)
        if plan.releases_gil or not self.model.compiled(plan):
            return None
        if n_rows > self.allocated_rows:
            self._allocate(n_rows)
        return plan

    def _allocate(self, n_rows: int) -> None:
        """Allocates this graph's own ports for n_rows rows."""
        self.allocated_rows = 0
        specs = (*self.model.inputs.values(), *self.model.outputs.values())
        sizes = [-(-int(np.prod(specs[port].batched(n_rows))) * specs[port].dtype.itemsize // 64) * 64 for port in self.own]
        memory = self.memory = np.empty(sum(sizes) + 64, np.uint8)
        base = memory.ctypes.data
        at = -base % 64
        for (port, row), size in zip(self.own.items(), sizes, strict=True):
            self.run.set_address(port, base + at)
            if row is not None:
                np.ndarray(specs[port].batched(n_rows), specs[port].dtype, memory, at)[...] = row.reshape(specs[port].shape)
            at += size
        self.allocated_rows = n_rows


class Chain:
    """Stages linked to the execution context of the program before them. Mutable, like the context.

    Args:
      run: the program's context, created with the chain's inputs and outputs as `more`.
    """

    def __init__(self, run: ExecutionContext, chained: Chained):
        self._run = run
        self._graphs: list[tuple[_Graph, int]] = []  # (graph, its row in the link table)
        self._rows: list[list[int]] = []
        self._keepalive: list[Any] = []
        self._results: dict[str, int] = {}
        self._zero_flags: Array = np.zeros(0, np.uint8)
        self._flag_rows: list[int] = []
        for stage in chained.stages:
            if stage.model is None:
                self._copy(stage)
            else:
                self._add(stage, stage.model)
        self._table: Array = np.zeros((max(1, len(self._rows)), abi.LINK_WORDS), np.int64)
        for row, words in zip(self._table, self._rows, strict=False):
            row[:len(words)] = words
        run.context[abi.CTX.links], run.context[abi.CTX.n_links] = self._table.ctypes.data, len(self._rows)
        run.context[abi.CTX.run_links] = linker.address(_RUN_LINKS)

    def resolve(self, n_rows: int, into: Sequence[Plan] | None) -> tuple[Plan, ...] | None:
        """The graphs' plans for n_rows; None if they cannot run in the same compiled call.

        Args:
          into: plans whose memory is reused; they must no longer be in use.
        """
        if len(self._zero_flags) < n_rows:
            self._zero_flags = np.zeros(n_rows, np.uint8)
            self._table[self._flag_rows, _SOURCE] = self._zero_flags.ctypes.data
        found = []
        for i, (graph, _) in enumerate(self._graphs):
            plan = graph.resolve(n_rows, into[i] if into else None)
            if plan is None:
                return None
            found.append(plan)
        return tuple(found)

    def bind_plans(self, plans: Sequence[Plan]) -> None:
        """Prepares the arenas and the link table for plans from `resolve`."""
        for (graph, row), plan in zip(self._graphs, plans, strict=True):
            graph.run.reserve(plan.arena_bytes)
            self._table[row, _SOURCE] = plan.address

    def _link(self, kind: int, target: int, source: int, row_bytes: int = 0, more: Sequence[int] = ()) -> int:
        """Appends a row to the link table; returns its index."""
        self._rows.append(abi.LINK.filled(kind=kind, target=target, source=source, row_bytes=row_bytes, settings=more))
        return len(self._rows) - 1

    def _column(self, name: str, output: bool = True) -> int:
        return self._run.cell(self._run.port(name, output))

    def _copy(self, stage: Stage) -> None:
        (feed,), (name,) = stage.feeds.values(), stage.results.values()
        if feed.kind == "flags":
            cell = np.zeros(1, np.int64)
            self._keepalive.append(cell)
            source = cell.ctypes.data
            self._flag_rows.append(self._link(abi.LINK_FLAGS, source, 0))
        else:
            source = self._column(feed.name)
        self._link(abi.LINK_COPY, self._column(name), source, stage.row_bytes)

    def _add(self, stage: Stage, model: Model) -> None:
        graph = _Graph(model)
        for port, (name, spec) in enumerate(model.inputs.items()):
            self._feed(graph, port, spec, stage.feeds[name])
        casts = []
        for port, (name, spec) in enumerate(model.outputs.items(), len(model.inputs)):
            cell, target = graph.run.cell(port), stage.results.get(name)
            if target is not None and name not in stage.int8:
                self._link(abi.LINK_ALIAS, cell, self._column(target))
                continue
            graph.own[port] = None
            self._results[name] = cell
            if target is not None:
                casts.append((self._column(target), cell, int(np.prod(spec.shape, dtype=np.int64))))
        self._graphs.append((graph, self._link(abi.LINK_GRAPH, graph.run.address, 0)))
        for to, source, width in casts:
            self._link(abi.LINK_INT8, to, source, width)

    def _feed(self, graph: _Graph, port: int, spec: TensorSpec, feed: Feed) -> None:
        """The links that fill one input of a graph."""
        cell, width = graph.run.cell(port), int(np.prod(spec.shape, dtype=np.int64))
        if feed.kind == "output":
            self._link(abi.LINK_ALIAS, cell, self._column(feed.name))
        elif feed.kind == "result":
            self._link(abi.LINK_ALIAS, cell, self._results[feed.name])
        elif feed.kind == "flags":
            self._flag_rows.append(self._link(abi.LINK_FLAGS, cell, 0))
        else:
            graph.own[port] = feed.row if feed.kind == "row" else None
            if feed.kind == "shared":
                self._link(abi.LINK_REPEAT, cell, self._column(feed.name), width * spec.dtype.itemsize)
            elif feed.kind == "noise":
                kernel, site = feed.words
                self._link(abi.LINK_NOISE_FILL, cell, kernel, 0,
                           FILL.filled(row_stride=4 * width, width=width, site=site, scale=float64_word(1.0)))
            elif feed.kind == "allowed":
                assert feed.dtype is not None
                sizes = np.array(feed.sizes, np.int64)
                self._keepalive.append(sizes)
                self._link(abi.LINK_MASK, cell, self._column(feed.name, not feed.is_input), width,
                           abi.MASK.filled(element=feed.dtype.itemsize, is_float=int(feed.dtype.kind == "f"), sizes=sizes.ctypes.data,
                                           n_sizes=len(sizes)))


def noise_kernel(kind: str) -> int:
    """The address of the kernel that fills rows with "uniform" or "normal" numbers."""
    return linker.address(f"cervello.noise.kernels:fill_{kind}")
