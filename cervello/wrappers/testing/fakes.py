"""Fakes for tests: an inferer and a wrapper that fail on request, and a wrapper that records hooks and columns."""

from __future__ import annotations

from typing import Any

from cervello.spec import Array, Inferer, PolicySpec, View, Wrapper
from cervello.wrappers.base import Passive


class BreakdownError(Exception):
    """Raised by the failing inferer."""


class FailingInferer:
    """An inferer that fails on request: before it runs, or after it has filled every output."""

    def __init__(self, inner: Inferer):
        self.inner = inner
        self.fail = ""
        self.runs = 0

    raw_inputs = property(lambda self: self.inner.raw_inputs)
    raw_outputs = property(lambda self: self.inner.raw_outputs)
    inputs = property(lambda self: self.inner.inputs)
    outputs = property(lambda self: self.inner.outputs)

    def select_batch_size(self, max_rows: int) -> int:
        return max_rows  # one run per batch, which the tests count

    def begin_agent(self, slot: int) -> None:
        self.inner.begin_agent(slot)

    def end_agent(self, slot: int) -> None:
        self.inner.end_agent(slot)

    def infer_raw(self, view: View) -> None:
        self.runs += 1
        if self.fail == "before":
            raise BreakdownError
        self.inner.infer_raw(view)
        if self.fail == "after":
            raise BreakdownError


class FailingWrapper(Passive):
    """A wrapper that changes nothing and fails on request: in "inward" or "outward"."""

    reads_inputs = True

    def __init__(self) -> None:
        self.fail = ""

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        return self, spec

    def inward(self, view: View) -> None:
        if self.fail == "inward":
            raise BreakdownError

    def outward(self, view: View) -> None:
        if self.fail == "outward":
            raise BreakdownError


class RecordingWrapper:
    """Wraps another wrapper and records the called hooks and the columns.

    Attributes:
      calls: (hook, agents concerned), in order.
      seen: the specs on both sides and the arrays of the last batch on each of them.
    """

    reads_inputs = True

    def __init__(self, wrapper: Wrapper):
        self.wrapper = wrapper
        self.calls: list[tuple[str, int]] = []
        self.seen: dict[str, Any] = {}

    def attach(self, spec: PolicySpec) -> tuple[Wrapper, PolicySpec]:
        bound, outer = self.wrapper.attach(spec)
        watched = RecordingWrapper(bound)
        watched.calls, watched.seen = self.calls, self.seen
        self.seen.update(inner=spec, outer=outer)
        return watched, outer

    def reserve(self, capacity: int) -> None:
        self.wrapper.reserve(capacity)

    def begin(self, slots: Array) -> None:
        self.calls.append(("begin", len(slots)))
        self.wrapper.begin(slots)

    def end(self, slots: Array) -> None:
        self.calls.append(("end", len(slots)))
        self.wrapper.end(slots)

    def inward(self, view: View) -> None:
        self.calls.append(("inward", view.n_rows))
        self.seen["inputs before"] = dict(view.inputs)
        self.wrapper.inward(view)
        self.seen["inputs after"] = dict(view.inputs)

    def outward(self, view: View) -> None:
        self.calls.append(("outward", view.n_rows))
        self.seen["outputs before"] = dict(view.outputs)
        self.wrapper.outward(view)
        self.seen["outputs after"] = dict(view.outputs)

    def commit(self, view: View) -> None:
        self.calls.append(("commit", view.n_rows))
        self.wrapper.commit(view)
