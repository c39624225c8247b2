"""Checks integers given by a user: rows, plans, threads."""

from __future__ import annotations

import operator
from typing import Any

from cervello.errors import ConfigurationError

MOST_ROWS = 1_000_000_000  # a plan's bytes stay far below 2⁶³
_MOST_THREADS = 1024


def count(what: str, value: Any, most: int = MOST_ROWS) -> int:
    """An int from 1 to `most`; numpy integers are accepted.

    Raises:
      ConfigurationError: any other value.
    """
    try:
        found = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = 0
    if not 1 <= found <= most:
        raise ConfigurationError(f"{what} at {'least 1' if found < 1 else f'most {most:,}'}, got {value!r}")
    return found


def counts(what: str, values: Any) -> list[int]:
    """A list of counts.

    Raises:
      ConfigurationError: a value is not a count, or `values` is not iterable.
    """
    try:
        given = list(values)
    except TypeError as error:
        raise ConfigurationError(f"{what} at least 1, got {values!r}; give a list") from error
    return [count(what, value) for value in given]


def thread_count(where: str, value: Any) -> int:
    """The most threads that share a batch, including the caller's.

    Raises:
      ConfigurationError: not an int from 1 to 1024.
    """
    return count(f"{where}: expected", value, _MOST_THREADS)
