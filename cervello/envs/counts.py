"""Counts that callers give."""

from __future__ import annotations

import numpy as np

from cervello.errors import ConfigurationError


def checked_count(where: str, number: object) -> int:
    """A whole number of at least 1, as a Python int. Raises ConfigurationError for anything else."""
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
        raise ConfigurationError(f"{where}: expected at least 1, got {number!r}")
    return int(number)
