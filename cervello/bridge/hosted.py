"""One policy of a server."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.bridge.crowd import Crowd
from cervello.bridge.recorder import Recorder
from cervello.bridge.wire import Ports
from cervello.errors import ConfigurationError
from cervello.native import Model

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
class Counts:
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


class Hosted:
    """A policy, and the keys of its agents. Each agent of each connection has a unique key in the policy; its noise depends on its id.

    Attributes:
      name: its name for clients. path: its file. folder: swaps may load files of this folder only.
      ports: its inputs and outputs. recorder: writes its episodes; None when nothing is recorded.
      n_agents: agents of all connections. crowds: the crowds that have agents of this policy.
    Raises:
      ConfigurationError: a policy that cannot be served.
    """

    def __init__(self, name: str, policy: Policy, path: Path, folder: Path, record: Path | None, server_id: int):
        self.name, self.policy, self.path, self.folder = name, policy, path, folder
        self.ports = Ports(name, policy)
        self.counts = Counts()
        self.n_agents = 0
        self.crowds: set[Crowd] = set()
        self._numbers: dict[Any, int] = {}
        self._next_key = 0
        core_of(policy).number_by(self._numbering)
        self.recorder = None if record is None else Recorder(record / f"{name}.log", name, policy, server_id)

    def count(self, crowd: Crowd, n: int) -> None:
        """Updates the number of agents after a change of one connection."""
        self.n_agents += n
        (self.crowds.add if crowd.members else self.crowds.discard)(crowd)

    def new_keys(self, ids: Sequence[int]) -> list[int]:
        """Makes keys for agents that begin."""
        keys = list(range(self._next_key, self._next_key + len(ids)))
        self._next_key += len(ids)
        self._numbers.update(zip(keys, ids, strict=True))
        return keys

    def forget_keys(self, keys: Sequence[int]) -> None:
        """Ends agents."""
        for key in keys:
            self._numbers.pop(key, None)

    def _numbering(self, keys: Sequence[Any]) -> Any:
        return np.array([self._numbers[key] for key in keys], np.uint64)

    def check_successor(self, model: Model) -> None:
        """Raises ConfigurationError when another model would change `spec`; shapes and types `Policy.replace` checks."""
        old = self.policy.model
        for what, now, was in (("constants", model.constants, old.constants),
                               ("defaults", _defaults(model), _defaults(old))):
            if now.keys() != was.keys() or any(np.asarray(now[name]).tobytes() != np.asarray(was[name]).tobytes() for name in now):
                raise ConfigurationError(f"policy {self.name!r}, {what}: expected those of the policy that is served, got others, which "
                                         "clients have not seen; serve it under a name of its own")

    def stats(self) -> dict[str, Any]:
        """Its part of the answer to `stats`, without the queue length."""
        counts = self.counts
        recent = np.array(list(counts.latencies_s)) * 1e6
        p50, p90, p99 = np.percentile(recent, (50, 90, 99)).round(1).tolist() if len(recent) else (0.0, 0.0, 0.0)
        return {"version": self.policy.version, "agents": self.n_agents, "requests": counts.requests, "rows": counts.rows,
                "skipped": counts.skipped, "errors": counts.errors, "reloads": counts.reloads, "batches": counts.batches,
                "latency_us": {"p50": p50, "p90": p90, "p99": p99}}


def _defaults(model: Model) -> dict[str, Any]:
    return {name: spec.default for name, spec in model.inputs.items() if spec.default is not None}
