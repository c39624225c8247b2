"""The decisions of a policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from cervello.native.execution.row_copies import row_copies, split_rows
from cervello.spec import AgentId, Array

_SMALL = 1024  # bytes of a row up to which a copy takes about as long as a view


class Actions(dict[Any, Any]):
    """Results by agent (`infer`) or columns by output name (`infer_batch`), with metadata.

    Attributes:
      version: of the policy that decided; grows by 1 at each swap.
      skipped: agents that were not run.
      errors: by agent, for agents whose policy failed.
      attributes: the names of these three.
    """

    # Class attributes until set: this object is created on every call, and a plain dict is created in C.
    version: int = 1
    skipped: tuple[AgentId, ...] = ()
    errors: Mapping[AgentId, Exception] = MappingProxyType({})

    attributes: ClassVar[tuple[str, ...]] = ("version", "skipped", "errors")

    @staticmethod
    def rows(column: Array) -> Iterable[Any]:
        """The rows of a column: numbers, copies of small rows, views of large ones."""
        return row_copies(column) if column.ndim > 1 and column.nbytes <= _SMALL * len(column) else column

    def split(self, ids: tuple[AgentId, ...], columns: Mapping[str, Array | list[Any]]) -> Actions | None:
        """{agent: {output: row}} with the same attributes, of rows as `rows` returns them; None if compiled code cannot make it.

        Args:
          ids: [N] of at least two distinct agents. columns: by output, arrays [N, …] or lists of N rows.
        """
        found = self.like()
        return found if split_rows(ids, found, columns, _SMALL) else None

    def like(self, results: Mapping[Any, Any] | None = None) -> Actions:
        """Other results with the same attributes; None for empty results."""
        other = type(self)() if results is None else type(self)(results)
        if self.__dict__:
            other.__dict__.update(self.__dict__)
        return other
