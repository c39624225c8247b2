"""Policies to draw from, by weight; entries may be added while training."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.errors import ConfigurationError

Entry = Policy | str | Path


class Pool:
    """Entries and their weights, in the order in which they were added. Mutable; an added entry changes later draws only.

    Args:
      entries: a policy or a path, or {policy or path: weight}.
      where: what messages begin with.
    Raises:
      ConfigurationError: no entries, or a weight that is no number ≥ 0.
    """

    def __init__(self, entries: Any, where: str = "pool"):
        self._where = where
        self._entries: list[Entry] = []
        self._weights: list[float] = []
        for entry, weight in (entries.items() if isinstance(entries, Mapping) else [(entries, 1.0)]):
            self.add(entry, weight)
        if not self._entries:
            raise ConfigurationError(f"{where}: expected at least one policy, got none")

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[Entry, float]]:
        return iter(list(zip(self._entries, self._weights, strict=True)))

    def __repr__(self) -> str:
        return f"Pool({dict(zip(map(str, self._entries), self._weights, strict=True))})"

    def add(self, entry: Entry, weight: float = 1.0) -> None:
        """Adds a policy or a path; one that is there already gets the new weight.

        Raises:
          ConfigurationError: no policy and no path, or a weight that is not a finite number of at least 0.
        """
        if not isinstance(entry, (Policy, str, os.PathLike)):
            raise ConfigurationError(f"{self._where}: expected a cervello.Policy or a path, got {entry!r:.100}")
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or weight < 0:
            raise ConfigurationError(f"{self._where}, weight of {entry!r:.100}: expected a finite number of at least 0, got {weight!r}")
        known = entry if isinstance(entry, Policy) else os.fspath(entry)
        for i, there in enumerate(self._entries):
            if there is known or (isinstance(there, str) and there == known):
                self._weights[i] = float(weight)
                return
        self._entries.append(known)
        self._weights.append(float(weight))

    def draw(self, rng: np.random.Generator) -> Entry:
        """One entry, drawn with `rng`. Raises ConfigurationError when all weights are 0."""
        total = sum(self._weights)
        if total == 0:
            raise ConfigurationError(f"{self._where}: expected a weight above 0, got {self._weights}")
        threshold, sum_ = rng.random() * total, 0.0
        for entry, weight in zip(self._entries, self._weights, strict=True):
            sum_ += weight
            if threshold < sum_:
                return entry
        return self._entries[max(i for i, w in enumerate(self._weights) if w > 0)]  # rounding left nothing over
