"""The four ways to choose how many rows run at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress

from cervello.inferers.base import ModelInferer
from cervello.inferers.choice import Choice
from cervello.inferers.counts import count, counts
from cervello.native import Model
from cervello.native.program import Plan

DEFAULT_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class _BasicInferer(ModelInferer):
    def __init__(self, model: Model, threads: int = 1):
        super().__init__(model, threads)
        self._one = model.resolve(1)

    def select_batch_size(self, max_rows: int) -> int:
        """One row."""
        return 1

    def plan(self, n_rows: int) -> Plan:
        return self._one

    def chunks(self, n_rows: int) -> Sequence[int] | None:
        return None if n_rows == 1 else [1] * n_rows


class _FixedInferer(ModelInferer):
    def __init__(self, model: Model, sizes: tuple[int, ...], threads: int = 1):
        super().__init__(model, threads)
        self.sizes = sizes
        self._plans = {size: model.resolve(size) for size in (sizes if model.batched else (1,))}

    def select_batch_size(self, max_rows: int) -> int:
        """The largest listed size that is not more than max_rows."""
        return next(size for size in self.sizes if size <= max_rows)

    def plan(self, n_rows: int) -> Plan:
        return self._plans[n_rows]

    def chunks(self, n_rows: int) -> Sequence[int] | None:
        if n_rows in self._plans:
            return None
        found = []
        for size in self.sizes:
            count, n_rows = divmod(n_rows, size)
            found += [size] * count
        return found


class _MemoizingInferer(ModelInferer):
    def __init__(self, model: Model, capacity: int, preload: tuple[int, ...], threads: int = 1):
        super().__init__(model, threads)
        self.capacity = capacity
        self._plans: OrderedDict[int, Plan] = OrderedDict()
        for size in preload:
            self.plan(size)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes whose plans are kept, least recently used first."""
        return tuple(self._plans)

    def plan(self, n_rows: int) -> Plan:
        """The kept plan, or a new one: microseconds, and no other thread waits for it."""
        plans = self._plans
        found = plans.get(n_rows)
        if found is None:
            found = plans[n_rows] = self.model.resolve(n_rows)
            while len(plans) > self.capacity:
                try:
                    plans.popitem(last=False)
                except KeyError:  # another thread was faster
                    break
        else:
            with suppress(KeyError):  # another thread has just let it go; this run still holds it
                plans.move_to_end(n_rows)
        return found


class _DynamicInferer(ModelInferer):
    def __init__(self, model: Model, threads: int = 1):
        super().__init__(model, threads)
        self._own = threading.local()

    def plan(self, n_rows: int) -> Plan:
        """One plan per thread, resolved again whenever the size changes."""
        plan: Plan | None = getattr(self._own, "plan", None)
        if plan is None or plan.n_rows != n_rows:
            plan = self._own.plan = self.model.program.resolve(n_rows, plan)
        return plan

    def swift_plan(self, n_rows: int, last: Plan | None) -> Plan | None:
        return self.model.program.resolve(n_rows, last)

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "_own": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._own = threading.local()


class Basic(Choice):
    """One row per run."""

    def open(self, model: Model, threads: int = 1) -> ModelInferer:
        return _BasicInferer(model, threads)


class Fixed(Choice):
    """Rows in listed sizes, greedy, largest first; 1 is always among them.

    Args:
      sizes: positive batch sizes.
    """

    def __init__(self, sizes: Iterable[int] = DEFAULT_SIZES):
        self.sizes = tuple(sorted({1, *counts("inferers.Fixed: expected sizes of", sizes)}, reverse=True))

    def __repr__(self) -> str:
        return f"Fixed(sizes={list(self.sizes)})"

    def open(self, model: Model, threads: int = 1) -> ModelInferer:
        return _FixedInferer(model, self.sizes, threads)


class Memoizing(Choice):
    """All rows at once, with a bounded cache of plans: least recently used goes first.

    Args:
      capacity: plans kept.
      preload: sizes to resolve now.
    """

    def __init__(self, capacity: int = 128, preload: Iterable[int] = ()):
        self.capacity = count("inferers.Memoizing: expected a capacity of", capacity)
        self.preload = tuple(counts("inferers.Memoizing: expected sizes to preload of", preload))

    def __repr__(self) -> str:
        return f"Memoizing(capacity={self.capacity})"

    def open(self, model: Model, threads: int = 1) -> ModelInferer:
        return _MemoizingInferer(model, self.capacity, self.preload if model.batched else (), threads)


class Dynamic(Choice):
    """All rows at once; the plan is resolved again whenever the size changes."""

    def open(self, model: Model, threads: int = 1) -> ModelInferer:
        return _DynamicInferer(model, threads)
