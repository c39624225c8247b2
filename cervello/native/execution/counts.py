"""Whole numbers that a user gives: rows, plans, threads."""

from __future__ import annotations

import operator
from typing import Any

from cervello.errors import ConfigurationError

MOST_ROWS = 1_000_000_000  # a plan's bytes stay far below 2⁶³
_MOST_THREADS = 1024


def count(what: str, value: Any, most: int = MOST_ROWS) -> int:
    """An int of at least 1; numpy's will do.

    Raises:
      ConfigurationError: anything else.
    """
    try:
        found = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = 0
    if not 1 <= found <= most:
        raise ConfigurationError(f"{what} at {'least 1' if found < 1 else f'most {most:,}'}, got {value!r}")
    return found


def counts(what: str, values: Any) -> list[int]:
    """Several of them.

    Raises:
      ConfigurationError: one of them is none, or this is nothing to be gone through.
    """
    try:
        given = list(values)
    except TypeError as error:
        raise ConfigurationError(f"{what} at least 1, got {values!r}; give a list") from error
    return [count(what, value) for value in given]


def thread_count(where: str, value: Any) -> int:
    """How many threads may share a batch, the caller's among them.

    Raises:
      ConfigurationError: a number that makes no sense.
    """
    return count(f"{where}: expected", value, _MOST_THREADS)
