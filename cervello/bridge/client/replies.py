"""Encodes requests, decodes replies, and maps their errors to exceptions."""

from __future__ import annotations

from typing import Any

import msgpack

from cervello.bridge.codes import BadFrame, Code
from cervello.bridge.envelope import unpack
from cervello.bridge.scan import scan
from cervello.errors import BridgeError, DrainingError, RefusedError, ServerGoneError

MOST_VALUES = 1 << 20  # of one reply; decoding more would take much memory


def request(number: int, method: str, params: dict[str, Any]) -> bytes:
    """Encodes the body of a request."""
    packed: bytes = msgpack.packb([0, number, method, [params]])
    return packed


def notify(method: str, params: dict[str, Any]) -> bytes:
    """Encodes the body of a notify."""
    packed: bytes = msgpack.packb([2, method, [params]])
    return packed


def reply(where: str, body: bytes) -> tuple[int | None, Any, Any]:
    """Decodes id, error and result of a reply.

    Raises:
      ServerGoneError: the body is no reply; the connection has to be closed.
    """
    try:
        if not scan(body, MOST_VALUES):
            raise BadFrame(f"expected at most {MOST_VALUES} values, got more")
        value = unpack(body, "strict")
    except (BadFrame, ValueError) as wrong:
        raise ServerGoneError(f"{where}, receive: expected a reply, got something else ({wrong}); is it a Cervello server?") from None
    known = type(value) is list and len(value) == 4 and value[0] == 1 and (value[1] is None or type(value[1]) is int)
    error = value[2] if known else None
    if not known or not (error is None or (type(error) is list and len(error) == 3 and type(error[0]) is int)):
        raise ServerGoneError(f"{where}, receive: expected a reply, got something else; is it a Cervello server?")
    return value[1], error, value[3]


def error_of(where: str, step: str, error: Any) -> BridgeError:
    """The exception for an error of a reply."""
    code, text, data = error
    text = str(text).encode("utf-8", "replace").decode()
    if code == Code.DRAINING:
        return DrainingError(f"{where}, {step}: expected a server that goes on, got one that is going away ({text}); connect to another")
    return RefusedError(f"{where}, {step}: refused with code {code}: {text}", int(code), dict(data) if isinstance(data, dict) else {})
