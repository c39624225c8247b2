"""Profiles a run: the time of every step of a program alone, with its operations and bytes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.errors import ConfigurationError
from cervello.native.execution.arguments import check_names
from cervello.native.execution.noise_keys import RowNoise
from cervello.native.graph.dims import at
from cervello.native.graph.tensors import PackedWeight, Space, Step, Tensor
from cervello.native.model import Model
from cervello.native.program.cost import elements, multiply_adds
from cervello.native.program.memory_plan import MemoryPlan
from cervello.native.report import roofline
from cervello.native.report.step_timer import Progress, StepTimer
from cervello.pictures import notebook
from cervello.pictures.bars import Bar, bar_chart
from cervello.pictures.text import duration, share

ROUNDS = 9
_STEPS_DRAWN = 20  # the longest; the others are one bar
_RESOLVED_S = 2e-8  # shorter steps cannot be resolved beside the call around them


@dataclass(frozen=True, slots=True)
class StepTime:
    """The time of one step.

    Attributes:
      node: the node it stands for; op: the node's type, the kind by which steps are summed.
      runs: kernel ("gemm:gemm") or slower tier ("numpy", "reference"); tier: "planned" or that tier.
      times: how often it runs in loops of a known trip count, else 1; all that follows is of all times together.
      seconds: median of `rounds_s`, [rounds] seconds; share: of the sum over all steps.
      multiply_adds: of products, else 0; elements: written to its first result.
      read_bytes: distinct bytes of operands and weights; weight_bytes of them are weights and other constants.
      written_bytes: bytes of results.
    """

    node: str
    op: str
    runs: str
    tier: str
    times: int
    seconds: float
    share: float
    multiply_adds: int
    elements: int
    read_bytes: int
    weight_bytes: int
    written_bytes: int
    rounds_s: tuple[float, ...]

    @property
    def limit_s(self) -> float:
        """The least time the machine needs: multiply-adds at the register-only rate, or the larger of bytes read and written."""
        return roofline.least_s(self.multiply_adds, max(self.read_bytes, self.written_bytes))

    @property
    def limit_share(self) -> float | None:
        """limit_s / seconds; None for a step too short to tell."""
        return self.limit_s / self.seconds if self.seconds >= _RESOLVED_S else None


@dataclass(frozen=True, slots=True)
class KindTime:
    """All steps of one op, or of one tier."""

    kind: str
    steps: int
    seconds: float
    share: float
    multiply_adds: int
    elements: int
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time of a run of n_rows rows goes.

    Attributes:
      whole_s: seconds of one run as `Model.run` makes it, without Python's part; less than the steps' sum where they overlap in the
        CPU, more where weights do not stay in its caches from one run to the next.
      steps: in the program's order; where the batch runs in chunks, of one chunk and multiplied.
      plan: managed bytes (arena, peak, weights) and steps by tier.
    """

    name: str
    n_rows: int
    rounds: int
    whole_s: float
    steps: tuple[StepTime, ...]
    plan: MemoryPlan

    @property
    def steps_s(self) -> float:
        """Sum over the steps, seconds."""
        return sum(step.seconds for step in self.steps)

    @property
    def kinds(self) -> tuple[KindTime, ...]:
        """Totals by op, longest time first."""
        return _totals(self.steps, lambda step: step.op)

    @property
    def tiers(self) -> tuple[KindTime, ...]:
        """Totals by tier, longest time first."""
        return _totals(self.steps, lambda step: step.tier)

    @property
    def limit_s(self) -> float:
        """The least time the machine needs for the run: all multiply-adds, or all weights read once."""
        return roofline.least_s(sum(step.multiply_adds for step in self.steps), self.plan.weight_bytes)

    @property
    def limit_share(self) -> float:
        """limit_s / whole_s."""
        return self.limit_s / self.whole_s

    def to_svg(self) -> str:
        """A bar per step, longest first, and the least time that the machine allows for it."""
        by_time = sorted(enumerate(self.steps), key=lambda numbered: -numbered[1].seconds)
        bars = [Bar(f"{i} {step.node or step.op}", step.seconds, f"{duration(step.seconds)}, {share(step.share)}", step.tier,
                    f"step {i}: {step.node or step.op}\n{step.runs}, {duration(step.seconds)}, at least {duration(step.limit_s)}",
                    None if step.limit_share is None else step.limit_s) for i, step in by_time[:_STEPS_DRAWN]]
        rest = [step for _, step in by_time[_STEPS_DRAWN:]]
        if rest:
            seconds = sum(step.seconds for step in rest)
            part = sum(step.share for step in rest)
            bars.append(Bar(f"{len(rest)} other steps", seconds, f"{duration(seconds)}, {share(part)}", "planned"))
        note = (f"one run {duration(self.whole_s)}, its steps one by one {duration(self.steps_s)}; at least {duration(self.limit_s)} on "
                f"one core, {self.limit_share:.0%} of it reached; median of {self.rounds} round{'s' * (self.rounds != 1)}")
        return bar_chart(f"{self.name}, {self.n_rows:,} row{'s' * (self.n_rows != 1)}: time of each step", note, bars,
                         {"planned": "#4e79a7", "numpy": "#d9771e", "reference": "#d1605e"}, "least time the machine allows")

    def _repr_html_(self) -> str:
        rows = [(i, step.runs, duration(step.seconds), f"{step.share:.1%}", step.node or step.op)
                for i, step in enumerate(self.steps)]
        return notebook.figure(self.to_svg(), f"profile of {self.name}") + notebook.folded(
            "steps", notebook.table(("step", "runs", "time", "share", "node"), rows))

    def to_trace(self) -> dict[str, Any]:
        """Trace events for chrome://tracing or Perfetto: one complete event per step and round, laid end to end; µs.

        Source: "Trace Event Format" of the catapult project, JSON object form.
        """
        title = f"{self.name}, {self.n_rows} rows"
        events: list[dict[str, Any]] = [
            {"name": name, "ph": "M", "pid": 1, "tid": 1, "args": {"name": title}} for name in ("process_name", "thread_name")]
        now_us = 0.0
        for number in range(self.rounds):
            for step in self.steps:
                lasts_us = step.rounds_s[number] * 1e6
                events.append({"name": step.node or step.op, "cat": step.tier, "ph": "X", "pid": 1, "tid": 1, "ts": now_us, "dur": lasts_us,
                               "args": {"round": number, "op": step.op, "runs": step.runs, "multiply_adds": step.multiply_adds,
                                        "read_bytes": step.read_bytes, "written_bytes": step.written_bytes}})
                now_us += lasts_us
        return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": {"model": self.name, "n_rows": self.n_rows}}


def profile(model: Model, inputs: Mapping[str, Any], n_rows: int = 1, rounds: int = ROUNDS, *, seed: int = 0,
            progress: Progress | None = None) -> Profile:
    """Times every step of a model alone, and the whole.

    Args:
      inputs: an array [n_rows, ...] per input, as `Model.run` takes them.
      n_rows: rows of the run (≥ 1); 1 where the model runs rows one after another.
      rounds: measurements per step, of which the median counts (≥ 1).
      seed: for random ops.
      progress: called after every round.
    Raises:
      ConfigurationError: rows or rounds that cannot be; InputError: arrays that do not fit; ExecutionError: a step fails.
    Source: per-node metrics of PyTorch's Static Runtime (time, share, tier coverage, managed bytes).
    """
    if rounds < 1:
        raise ConfigurationError(f"model {model.name!r}, profile: expected at least 1 round, got {rounds}")
    if n_rows < 1 or (n_rows > 1 and not model.batched):
        raise ConfigurationError(f"model {model.name!r}, profile: expected {'at least 1 row' if model.batched else '1 row'}, got {n_rows}"
                                 + ("" if model.batched else "; rows run one after another"))
    check_names(model.name, model.inputs, inputs, "model")
    results = [np.empty(spec.batched(n_rows), spec.dtype) for spec in model.outputs.values()]
    columns, targets = model.fitted([inputs[name] for name in model.inputs], results, n_rows)
    run = model.acquire()
    try:
        if model.random_nodes:
            RowNoise.of(run, n_rows).set_noise(run, seed)
        timer = StepTimer(model, run, model.resolve(n_rows), [*columns, *targets], len(columns))
        whole_s, measured = timer.measure(rounds, progress)
    finally:
        run.set_noise(0, 0, 0)
        model.release(run)
    chunks = n_rows / timer.chunk_rows
    measured = [[one * chunks * step.times for one in own] for step, own in zip(model.program.steps, measured, strict=True)]
    seconds = [statistics.median(own) for own in measured]
    total = sum(seconds)
    steps = tuple(_step_time(model, step, n_rows, one, one / total, tuple(own))
                  for step, one, own in zip(model.program.steps, seconds, measured, strict=True))
    return Profile(model.name, n_rows, rounds, whole_s, steps, model.plan(n_rows))


def _step_time(model: Model, step: Step, n_rows: int, seconds: float, share: float, rounds_s: tuple[float, ...]) -> StepTime:
    weight = sum(word.array.nbytes for word in step.words if isinstance(word, PackedWeight))
    weight += sum(_bytes(tensor, n_rows) for tensor in step.reads if tensor.buffer.space is Space.CONSTANT)
    reads = {(id(t.buffer), t.offset, t.shape, t.strides): t for t in step.reads if t.buffer.space is not Space.CONSTANT}
    tier = "planned" if step.fallback is None else step.fallback.tier
    read, written = sum(_bytes(tensor, n_rows) for tensor in reads.values()) + weight, sum(_bytes(tensor, n_rows) for tensor in step.writes)
    n = step.times
    return StepTime(
        step.node, step.op, step.kernel.rpartition(".")[2] or tier, tier, n, seconds, share, at(multiply_adds(step), n_rows) * n,
        at(elements(step), n_rows) * n, read * n, weight * n, written * n, rounds_s)


def _bytes(tensor: Tensor, n_rows: int) -> int:
    """Distinct bytes: an axis of stride 0 counts as one element."""
    counts = [at(size, n_rows) for size in tensor.shape]
    return tensor.itemsize * int(np.prod([
        min(count, 1) if at(stride, n_rows) == 0 else count for count, stride in zip(counts, tensor.strides, strict=True)], dtype=np.int64))


def _totals(steps: Sequence[StepTime], kind: Callable[[StepTime], str]) -> tuple[KindTime, ...]:
    groups: dict[str, list[StepTime]] = {}
    for step in steps:
        groups.setdefault(kind(step), []).append(step)
    found = [KindTime(name, len(own), sum(s.seconds for s in own), sum(s.share for s in own), sum(s.multiply_adds for s in own),
                      sum(s.elements for s in own), sum(s.read_bytes for s in own), sum(s.written_bytes for s in own))
             for name, own in groups.items()]
    return tuple(sorted(found, key=lambda total: -total.seconds))
