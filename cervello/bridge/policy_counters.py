"""Counters of a policy, for `stats` and the metrics."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_RECENT = 2048  # latencies that are kept for `stats`, and batches that wait for the histograms
BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)


class Histogram:
    """Counts by upper bound, as in Prometheus. Mutable."""

    def __init__(self, bounds: Sequence[float]):
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.total += value
        self.counts[bisect_left(self.bounds, value)] += 1


@dataclass(slots=True)
class PolicyCounters:
    """Counters of a policy. Mutable; written by one thread at a time, the one that runs the policy.

    Attributes:
      recent: batches not yet in the histograms: (rows, seconds of the batch, seconds that each request had waited); see `flush`.
    """

    requests: int = 0
    rows: int = 0
    skipped: int = 0
    errors: int = 0
    reloads: int = 0
    batches: int = 0
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    queue_s: Histogram = field(default_factory=lambda: Histogram(BUCKETS_S))
    inference_s: Histogram = field(default_factory=lambda: Histogram(BUCKETS_S))
    batch_rows: Histogram = field(default_factory=lambda: Histogram(SIZES))

    recent: deque[tuple[int, float, tuple[float, ...]]] = field(default_factory=deque)
    _lock: Any = field(default_factory=threading.Lock)

    def ran(self, n_rows: int, took_s: float, waited_s: tuple[float, ...]) -> None:
        """Counts a batch."""
        self.batches += 1
        self.rows += n_rows
        self.recent.append((n_rows, took_s, waited_s))
        if len(self.recent) > _RECENT:
            self.flush()

    def flush(self) -> None:
        """Updates the histograms; any thread."""
        with self._lock:
            while self.recent:
                n_rows, took_s, waited_s = self.recent.popleft()
                self.batch_rows.add(n_rows)
                self.inference_s.add(took_s)
                for each in waited_s:
                    self.queue_s.add(each)
