"""Adds a policy's name to errors."""

from __future__ import annotations

from types import TracebackType

from cervello.errors import CervelloError


class PolicyErrorContext:
    """A context that adds a policy's name to errors of the library that name none."""

    __slots__ = ("_name",)

    def __init__(self, name: str):
        self._name = name

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, CervelloError):
            error.name_policy(self._name)
