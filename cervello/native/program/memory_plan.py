"""The memory plan in readable form: sizes, lifetimes, offsets, tiers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cervello.native.graph.dims import at
from cervello.native.graph.tensors import Space, Step, Tensor
from cervello.native.memory.weights import Weights

if TYPE_CHECKING:
    from cervello.native.program.build import BuildResult


@dataclass(frozen=True, slots=True)
class PlannedBuffer:
    """One buffer of the arena: half-open lifetime in steps, bytes at N, size as a formula, offset at N.

    Attributes:
      name: the tensor's name; made_by: the node that writes it first. `label` combines both.
    """

    name: str
    made_by: str
    first: int
    end: int
    n_bytes: int
    size: str
    offset: int

    @property
    def label(self) -> str:
        """The tensor and its producer."""
        return self.name if self.made_by in self.name else f"{self.name} · {self.made_by}"


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step: its node, the kernel or tier that runs it, and the bytes live while it runs.

    Attributes:
      after: indices of the steps whose results it reads. inputs, outputs: model inputs it reads and model outputs it writes.
      written_bytes: bytes of its results.
    """

    node: str
    op: str
    runs: str
    live_bytes: int
    after: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    written_bytes: int


@dataclass(frozen=True, init=False)
class MemoryPlan:
    """The memory of a run of N rows. `str(plan)` is a table; `plan.to_svg()` and `plan.to_graph_svg()` are pictures. Made by
    `Model.plan`.

    Attributes:
      name: of the model.
      fused: number of nodes fused into the step of another node.
      chunk_rows: rows per chunk; fewer than n_rows if the batch is split to fit the cache. All bytes are for one chunk.
      arena_bytes: arena size; peak_bytes: the largest sum of live sizes at one step, a lower bound of every plan.
      usage: peak / arena (1.0 for an empty arena).
      weight_bytes: constants in packed form; shared_bytes of them belong to a model given as `share`.
      partitions: buffers grouped by their offset.
      tiers: number of steps by tier.
      slow: nodes outside the planned tier, with the reason; those that round floats run one row at a time.
      one_row: why rows run one at a time; empty if the batch is dynamic.
    """

    name: str
    n_rows: int
    chunk_rows: int
    arena_bytes: int
    peak_bytes: int
    weight_bytes: int
    shared_bytes: int
    buffers: tuple[PlannedBuffer, ...]
    steps: tuple[PlannedStep, ...]
    tiers: dict[str, int]
    slow: dict[str, str]
    one_row: str
    fused: int

    def __init__(self, name: str, built: BuildResult, weights: Weights, n_rows: int, chunk_rows: int):
        program, layout = built.program, built.program.layout
        offsets, arena_bytes = layout.offsets(chunk_rows)
        makers: dict[int, str] = {}
        for step in program.steps:
            for tensor in step.writes:
                makers.setdefault(id(tensor.buffer), step.node or step.op)
        buffers = [PlannedBuffer(life.buffer.name, makers.get(id(life.buffer), ""), life.first, life.end,
                                 at(life.buffer.n_bytes, chunk_rows), str(life.buffer.n_bytes), offset)
                   for life, offset in zip(layout.lifetimes, offsets, strict=True)]
        live = [sum(b.n_bytes for b in buffers if b.first <= i < b.end) for i in range(len(program.steps))]
        steps = []
        tiers = {"planned": 0, "numpy": 0, "reference": 0}
        for i, (step, after) in enumerate(zip(program.steps, _producers(program.steps), strict=True)):
            tier = "planned" if step.fallback is None else step.fallback.tier
            tiers[tier] += 1
            steps.append(PlannedStep(step.node, step.op, step.kernel.rpartition(".")[2] if step.fallback is None else tier, live[i], after,
                                     _ports(step.reads, Space.INPUT), _ports(step.writes, Space.OUTPUT),
                                     sum(int(at(tensor.n_bytes, chunk_rows)) for tensor in step.writes)))
        values = {"name": name, "n_rows": n_rows, "chunk_rows": chunk_rows, "arena_bytes": arena_bytes, "peak_bytes": max(live, default=0),
                  "weight_bytes": weights.n_bytes, "shared_bytes": weights.shared_bytes, "buffers": tuple(buffers),
                  "steps": tuple(steps), "tiers": tiers, "slow": dict(built.fallback_nodes),
                  "one_row": "" if built.batching.dynamic else built.batching.reason, "fused": built.fused}
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def title(self) -> str:
        """The model's name, the rows, and the rows per chunk."""
        return f"{self.name}, N = {self.n_rows}" + (f" in chunks of {self.chunk_rows}" if self.chunk_rows < self.n_rows else "")

    @property
    def usage(self) -> float:
        """Peak over arena, 0 to 1; 1.0 for an empty arena."""
        return self.peak_bytes / self.arena_bytes if self.arena_bytes else 1.0

    @property
    def partitions(self) -> dict[int, tuple[PlannedBuffer, ...]]:
        """Buffers by offset."""
        found: dict[int, list[PlannedBuffer]] = {}
        for buffer in sorted(self.buffers, key=lambda b: (b.offset, b.first)):
            found.setdefault(buffer.offset, []).append(buffer)
        return {offset: tuple(members) for offset, members in found.items()}

    def __str__(self) -> str:
        lines = [f"{self.title}: arena {self.arena_bytes} bytes, peak {self.peak_bytes} ({self.usage:.0%} used), "
                 f"weights {self.weight_bytes} ({self.shared_bytes} shared)",
                 "steps: " + ", ".join(f"{count} {tier}" for tier, count in self.tiers.items() if count) +
                 f"; {self.fused} nodes fused"]
        if self.one_row:
            lines.append(f"one row at a time: {self.one_row}")
        lines += [f"slow: {node}: {reason}" for node, reason in self.slow.items()]
        lines.append("")
        lines.append(f"{'step':>4}  {'runs':<22} {'live bytes':>11}  node")
        for i, step in enumerate(self.steps):
            lines.append(f"{i:>4}  {step.runs:<22} {step.live_bytes:>11}  {step.node}")
        if self.buffers:
            lines.append("")
            lines.append(f"{'offset':>9} {'bytes':>9}  {'size':<14} {'steps':<9} buffer")
            for members in self.partitions.values():
                for b in members:
                    lines.append(f"{b.offset:>9} {b.n_bytes:>9}  {b.size:<14} {f'{b.first}-{b.end}':<9} {b.label}")
        return "\n".join(lines)

    def to_svg(self) -> str:
        """The arena over time: steps to the right, bytes upward, one box per buffer."""
        from cervello.pictures.svg import arena_chart

        boxes = [(b.first, b.end, b.offset, b.n_bytes, b.label) for b in self.buffers]
        return arena_chart(self.title, boxes, len(self.steps), self.arena_bytes)

    def to_graph_svg(self) -> str:
        """The steps from top to bottom, the values between them, and the tier of each."""
        from cervello.pictures.graph import GraphNode, graph_chart
        from cervello.pictures.text import size_text

        inputs = list(dict.fromkeys(name for step in self.steps for name in step.inputs))
        nodes = [GraphNode(name, "input", "input", ()) for name in inputs]
        for step in self.steps:
            kind = step.runs if step.runs in self.tiers else "planned"
            reason = self.slow.get(step.node, "")
            after = (*map(inputs.index, step.inputs), *(len(inputs) + i for i in step.after))
            tip = f"{step.node or step.op}\n{step.runs}{f': {reason}' if reason else ''}\n{step.written_bytes:,} bytes written"
            nodes.append(GraphNode(step.node or step.op, f"{step.runs}, {size_text(step.written_bytes)}", kind, after, tip))
        outputs: dict[str, list[int]] = {}
        for i, step in enumerate(self.steps):
            for name in step.outputs:
                outputs.setdefault(name, []).append(len(inputs) + i)
        nodes += [GraphNode(name, "output", "output", tuple(after)) for name, after in outputs.items()]
        counts = ", ".join(f"{count} {tier}" for tier, count in self.tiers.items() if count) or "none"
        note = f"steps: {counts}; {self.fused} nodes fused into others" + (f"; one row at a time: {self.one_row}" if self.one_row else "")
        return graph_chart(self.title, note, nodes)

    def _repr_html_(self) -> str:
        from cervello.pictures import notebook

        rows = [(f"{b.offset:,}", f"{b.n_bytes:,}", b.size, f"{b.first}-{b.end}", b.name, b.made_by) for b in self.buffers]
        facts = notebook.facts({
            "arena": f"{self.arena_bytes:,} bytes", "peak": f"{self.peak_bytes:,} bytes, {self.usage:.0%} of the arena",
            "weights": f"{self.weight_bytes:,} bytes, {self.shared_bytes:,} of them shared",
            "steps": ", ".join(f"{count} {tier}" for tier, count in self.tiers.items() if count),
            "one row at a time": self.one_row, "slow": "; ".join(f"{node}: {reason}" for node, reason in self.slow.items())})
        return "".join([notebook.heading(self.title), facts, notebook.figure(self.to_svg(), f"memory plan of {self.title}"),
                        notebook.folded("graph", notebook.figure(self.to_graph_svg(), f"steps of {self.title}")),
                        notebook.folded("buffers", notebook.table(("offset", "bytes", "size", "steps", "buffer", "made by"), rows))])


def _ports(tensors: Sequence[Tensor], space: Space) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tensor.buffer.name for tensor in tensors if tensor.buffer.space is space))


def _producers(steps: Sequence[Step]) -> Iterator[tuple[int, ...]]:
    """For each step, the indices of its producers: the last steps that wrote the bytes it reads."""
    writers: dict[int, dict[tuple[object, ...], int]] = {}  # by buffer, then by (offset, bytes) written
    for i, step in enumerate(steps):
        found: dict[int, None] = {}
        for tensor in step.reads:
            written = writers.get(id(tensor.buffer), {})
            same = written.get((tensor.offset, tensor.n_bytes))
            found.update(dict.fromkeys(sorted(written.values()) if same is None else [same]))
        yield tuple(found)
        for tensor in step.writes:
            writers.setdefault(id(tensor.buffer), {})[tensor.offset, tensor.n_bytes] = i
