"""Futures of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cervello.bridge.client.columns import Answer, Columns
from cervello.errors import BridgeError

if TYPE_CHECKING:
    from cervello.bridge.client.blocking import Client


class Pending:
    """The future of an answer. Mutable. Made by the methods of `RemotePolicy`."""

    def __init__(self, client: Client, step: str, columns: Columns | None):
        self._client, self._step, self._columns = client, step, columns
        self._found: Any = None
        self._error: BridgeError | None = None
        self._is_done = False

    def done(self) -> bool:
        """Whether the answer has arrived; never waits."""
        if not self._is_done:
            self._client.poll()
        return self._is_done

    def result(self, timeout_s: float | None = None) -> Any:
        """The answer.

        Args:
          timeout_s: how long to wait; None for the client's time.
        Raises:
          LateAnswerError: no answer yet; this may be called again. RefusedError, DrainingError, ServerGoneError: there will be no answer.
        """
        self._client._wait(self, timeout_s)
        if self._error is not None:
            raise self._error
        return self._found

    def _finish(self, error: BridgeError | None, result: Any) -> None:
        self._error, self._is_done = error, True
        if error is None:
            self._found = result if self._columns is None else Answer(self._columns, result)
