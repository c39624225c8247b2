"""The four ways to choose how many rows run at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress

from cervello.inferers.base import ModelInferer
from cervello.inferers.config import InfererConfig
from cervello.native import Model
from cervello.native.execution.counts import count, counts
from cervello.native.program.encode import Plan

_DEFAULT_CAPACITY = 128  # default number of plans that an inferer caches
DEFAULT_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class _CachingInferer(ModelInferer):
    """Caches the plans of the most recently used sizes.

    Args:
      capacity: plans kept.
    """

    def __init__(self, model: Model, capacity: int, threads: int = 1):
        super().__init__(model, threads)
        self.capacity, self.fast_path_sizes = capacity, min(self.fast_path_sizes, capacity)
        self._plans: OrderedDict[int, Plan] = OrderedDict()

    def plan(self, n_rows: int) -> Plan:
        """The cached plan, or a new one, which takes microseconds; no other thread waits for it."""
        plans = self._plans
        found = plans.get(n_rows)
        if found is None:
            found = plans[n_rows] = self._resolve(n_rows)
            while len(plans) > self.capacity:
                try:
                    plans.popitem(last=False)
                except KeyError:  # another thread was faster
                    break
        else:
            with suppress(KeyError):  # another thread has just removed it; this run still holds it
                plans.move_to_end(n_rows)
        return found

    def _resolve(self, n_rows: int) -> Plan:
        """A new plan."""
        raise NotImplementedError


class _ListedInferer(_CachingInferer):
    """Runs listed sizes only.

    Args:
      sizes: numbers of rows, from the largest to 1.
    """

    def __init__(self, model: Model, sizes: tuple[int, ...], threads: int = 1):
        super().__init__(model, _DEFAULT_CAPACITY, threads)
        self.kind = "basic" if sizes == (1,) else "fixed"
        self.sizes = sizes
        self._plan_of_size = {size: model.resolve(size, threads) for size in sizes if size == 1 or model.batched}

    @property
    def rows_per_run(self) -> str:
        return "one row at a time" if self.sizes == (1,) else f"runs of {list(self.sizes)} rows"

    def select_batch_size(self, max_rows: int) -> int:
        """The largest listed size that is not more than max_rows."""
        return next(size for size in self.sizes if size <= max_rows)

    def _resolve(self, n_rows: int) -> Plan:
        """A plan of runs of listed sizes, largest first."""
        parts, n_left = [], n_rows
        for size, plan in self._plan_of_size.items():
            times, n_left = divmod(n_left, size)
            if times:
                parts.append((plan, times))
        return self.model.combine(parts, self.threads)


class _MemoizingInferer(_CachingInferer):
    kind = "memoizing"

    def __init__(self, model: Model, capacity: int, preload: tuple[int, ...], threads: int = 1):
        super().__init__(model, capacity, threads)
        for size in preload:
            self.plan(size)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes whose plans are cached, least recently used first."""
        return tuple(self._plans)

    def _resolve(self, n_rows: int) -> Plan:
        return self.model.resolve(n_rows, self.threads)


class _DynamicInferer(ModelInferer):
    fast_path_sizes = 1
    kind = "dynamic"

    def __init__(self, model: Model, threads: int = 1):
        super().__init__(model, threads)
        self._local = threading.local()

    def plan(self, n_rows: int) -> Plan:
        """One plan per thread, resolved again whenever the size changes."""
        plan: Plan | None = getattr(self._local, "plan", None)
        if plan is None or plan.n_rows != n_rows:
            plan = self._local.plan = self.fast_path_plan(n_rows, plan)
        return plan

    def fast_path_plan(self, n_rows: int, last: Plan | None) -> Plan:
        return self.model.resolve(n_rows, self.threads, into=last)

    def fresh_plan(self, n_rows: int) -> Plan:
        return self.model.resolve(n_rows)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_local": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()


class Basic(InfererConfig):
    """One row per run."""

    def open(self, model: Model, threads: int = 1) -> ModelInferer:
        return _ListedInferer(model, (1,), threads)


class Fixed(InfererConfig):
    """Rows in listed sizes, greedy, largest first; 1 is always among them.

    Args:
      sizes: positive batch sizes.
    """

    def __init__(self, sizes: Iterable[int] = DEFAULT_SIZES):
        self.sizes = tuple(sorted({1, *counts("inferers.Fixed: expected sizes of", sizes)}, reverse=True))

    def __repr__(self) -> str:
        return f"Fixed(sizes={list(self.sizes)})"

    def open(self, model: Model, threads: int = 1) -> ModelInferer:
        return _ListedInferer(model, self.sizes, threads)


class Memoizing(InfererConfig):
    """All rows at once, with a bounded LRU cache of plans.

    Args:
      capacity: plans kept.
      preload: sizes to resolve now.
    """

    def __init__(self, capacity: int = _DEFAULT_CAPACITY, preload: Iterable[int] = ()):
        self.capacity = count("inferers.Memoizing: expected a capacity of", capacity)
        self.preload = tuple(counts("inferers.Memoizing: expected sizes to preload of", preload))

    def __repr__(self) -> str:
        return f"Memoizing(capacity={self.capacity})"

    def open(self, model: Model, threads: int = 1) -> ModelInferer:
        return _MemoizingInferer(model, self.capacity, self.preload if model.batched else (), threads)


class Dynamic(InfererConfig):
    """All rows at once; the plan is resolved again whenever the size changes."""

    def open(self, model: Model, threads: int = 1) -> ModelInferer:
        return _DynamicInferer(model, threads)
