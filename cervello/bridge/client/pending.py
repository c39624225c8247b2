"""Answers that may still be on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cervello.bridge.client.columns import Answer, Columns
from cervello.errors import BridgeError

if TYPE_CHECKING:
    from cervello.bridge.client.blocking import Client


class Pending:
    """An answer that may still be on its way. Mutable. Made by the methods of `RemotePolicy`."""

    def __init__(self, client: Client, step: str, columns: Columns | None):
        self._client, self._step, self._columns = client, step, columns
        self._found: Any = None
        self._error: BridgeError | None = None
        self._is_done = False

    def done(self) -> bool:
        """Whether the answer is there; never waits."""
        if not self._is_done:
            self._client.poll()
        return self._is_done

    def result(self, timeout_s: float | None = None) -> Any:
        """The answer.

        Args:
          timeout_s: how long to wait; None for as long as the client was told to.
        Raises:
          LateAnswerError: it has not come; this may be called again. RefusedError, DrainingError, ServerGoneError: there is none.
        """
        self._client._wait(self, timeout_s)
        if self._error is not None:
            raise self._error
        return self._found

    def _settle(self, error: BridgeError | None, result: Any) -> None:
        self._error, self._is_done = error, True
        if error is None:
            self._found = result if self._columns is None else Answer(self._columns, result)
