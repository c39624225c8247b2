"""What one load may cost in memory and work, all its nodes and passes together.

Any node may be cheap alone; a file of a few hundred bytes can ask for any number of them. Counted are folded constants and the forms in
which kernels read constants: what is made while loading and grows faster than the file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from cervello.errors import UnsupportedError
from cervello.native.graph.dtypes import Array

MOST_ROW_BYTES = 1 << 29  # of values; no policy is near it; a few damaged bytes ask for any number
_MOST_BYTES = 1 << 28  # beside so many times the bytes of the file's own constants:
_TIMES_BYTES = 32
_MOST_WORK = 1 << 32  # multiply-adds and elements, some seconds, beside so many for each element of the file's own constants:
_TIMES_WORK = 64


class Budget:
    """What is left to a load; mutable.

    Args:
      constants: of the file.

    Attributes:
      left_bytes: of constants that are made.
      left_work: multiply-adds and elements of folding them.
      made: results of folding, with what their keys name by identity, so that it stays theirs; see `folding`.
    """

    def __init__(self, constants: Mapping[str, Array]):
        self.most_bytes = self.left_bytes = _MOST_BYTES + _TIMES_BYTES * sum(array.nbytes for array in constants.values())
        self.left_work = _MOST_WORK + _TIMES_WORK * sum(array.size for array in constants.values())
        self.made: dict[tuple[int, ...], tuple[Any, list[Array]]] = {}

    def check(self, where: str, n_bytes: int) -> None:
        """Raises UnsupportedError where constants would be more memory than is left."""
        if n_bytes > self.left_bytes:
            raise UnsupportedError(f"{where}: expected constants of at most {self.most_bytes >> 20} MiB in all, made of those in the file, "
                                   f"got {(self.most_bytes - self.left_bytes + n_bytes) >> 20} MiB or more; are its sizes right?")

    def take(self, where: str, n_bytes: int) -> None:
        """Counts a constant that is made.

        Raises:
          UnsupportedError: it is more than is left.
        """
        self.check(where, n_bytes)
        self.left_bytes -= n_bytes


_current: ContextVar[Budget | None] = ContextVar("cervello_load_budget", default=None)


@contextlib.contextmanager
def budget(constants: Mapping[str, Array]) -> Iterator[None]:
    """One load: what is made inside counts together."""
    token = _current.set(Budget(constants))
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Budget:
    """The budget of the load around this; outside of one, a new one."""
    return _current.get() or Budget({})
