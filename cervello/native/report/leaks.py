"""Detects memory leaks of a call: compares allocations before and after many calls."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_PASSES = 2
_WARM = 200  # calls that fill caches and free lists
_SLACK_BLOCKS = 50
_SLACK_ARRAY_BYTES = 1 << 12
_SLACK_RESIDENT_BYTES = 1 << 20  # allocators keep pages for later


@dataclass(frozen=True, slots=True)
class Growth:
    """Growth of memory over `calls` calls: bytes and blocks after minus before.

    Attributes:
      array_bytes: held by arrays (tracemalloc, numpy's domain).
      blocks: allocated by Python's own allocator.
      resident_bytes: of the process, which also sees what compiled code allocates; None where the system does not tell.
    """

    calls: int
    array_bytes: int
    blocks: int
    resident_bytes: int | None

    @property
    def leaks(self) -> bool:
        """Whether any of the three grew by more than caches and allocators may."""
        return (self.array_bytes > _SLACK_ARRAY_BYTES or self.blocks > _SLACK_BLOCKS
                or (self.resident_bytes or 0) > _SLACK_RESIDENT_BYTES)

    def per_1000_calls(self, build_forest: float) -> float:
        return build_forest * 1000 / self.calls


def growth(call: Callable[[], object], calls: int) -> Growth:
    """Calls `call` many times after a warm-up and measures how much memory stays allocated.

    Allocations of other threads count too, so none should run.

    Args:
      calls: per pass. One pass measures arrays; several measure blocks and the process, and the smallest growth counts, because a leak
        grows in all of them. With 100 or more, a leak in every call is found.
    """
    for _ in range(min(calls, _WARM)):
        call()
    array_bytes = _array_bytes(call, calls)
    _repeat(call, calls)  # the process without tracemalloc's own memory
    passes = [_pass(call, calls) for _ in range(_PASSES)]
    resident = [build_forest for _, build_forest in passes if build_forest is not None]
    return Growth(calls, array_bytes, min(blocks for blocks, _ in passes), min(resident, default=None))


def _pass(call: Callable[[], object], calls: int) -> tuple[int, int | None]:
    """Growth of the process in blocks and resident bytes."""
    gc.collect()
    resident, blocks = resident_bytes(), sys.getallocatedblocks()
    _repeat(call, calls)
    gc.collect()
    blocks, after = sys.getallocatedblocks() - blocks, resident_bytes()
    return blocks, None if resident is None or after is None else after - resident


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM; None where the system does not tell."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()
    except (ImportError, OSError):
        return None


def _array_bytes(call: Callable[[], object], calls: int) -> int:
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        _repeat(call, 10)  # memory that one call passes to the next exists before and after
        before = _held()
        _repeat(call, calls)
        return _held() - before
    finally:
        if not tracing:
            tracemalloc.stop()


def _held() -> int:
    gc.collect()
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)])
    return sum(trace.size for trace in snapshot.traces)


def _repeat(call: Callable[[], object], calls: int) -> None:
    for _ in range(calls):
        call()
