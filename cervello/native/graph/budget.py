"""The limits of one load in memory and work, all its nodes and passes together.

A single node may be cheap, but a small file can request any number of them. The budget counts folded constants and the packed forms of
constants, which can grow faster than the file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from cervello.errors import UnsupportedError
from cervello.native.graph.dtypes import Array

MOST_ROW_BYTES = 1 << 29  # of values of one row; no policy is near it, but damaged bytes can request any number
_MOST_BYTES = 1 << 28  # plus so many times the bytes of the file's own constants:
_TIMES_BYTES = 32
_MOST_WORK = 1 << 32  # multiply-adds and elements, some seconds, plus so many for each element of the file's own constants:
_TIMES_WORK = 64


class Budget:
    """The remaining budget of a load; mutable.

    Args:
      constants: of the file.

    Attributes:
      left_bytes: for new constants.
      left_work: multiply-adds and elements for folding.
      folded: cached results of folding, with the objects whose ids are in the keys; see `folding`.
    """

    def __init__(self, constants: Mapping[str, Array]):
        self.most_bytes = self.left_bytes = _MOST_BYTES + _TIMES_BYTES * sum(array.nbytes for array in constants.values())
        self.left_work = _MOST_WORK + _TIMES_WORK * sum(array.size for array in constants.values())
        self.folded: dict[tuple[int, ...], tuple[Any, list[Array]]] = {}

    def check(self, where: str, n_bytes: int) -> None:
        """Raises UnsupportedError if constants of n_bytes exceed the remaining bytes."""
        if n_bytes > self.left_bytes:
            raise UnsupportedError(f"{where}: expected constants of at most {self.most_bytes >> 20} MiB in all, made of those in the file, "
                                   f"got {(self.most_bytes - self.left_bytes + n_bytes) >> 20} MiB or more; are its sizes right?")

    def take(self, where: str, n_bytes: int) -> None:
        """Deducts a new constant.

        Raises:
          UnsupportedError: it exceeds the remaining bytes.
        """
        self.check(where, n_bytes)
        self.left_bytes -= n_bytes


_current: ContextVar[Budget | None] = ContextVar("cervello_load_budget", default=None)


@contextlib.contextmanager
def budget(constants: Mapping[str, Array]) -> Iterator[None]:
    """A context in which all new constants count as one load."""
    token = _current.set(Budget(constants))
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Budget:
    """The budget of the current load; a new one outside of a load."""
    return _current.get() or Budget({})
