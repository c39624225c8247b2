"""Error codes of the protocol, and the exception that carries one."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Code(IntEnum):
    """Error codes of the protocol, version 1."""

    BAD_FRAME = 1
    BAD_REQUEST = 2
    UNKNOWN_METHOD = 3
    UNKNOWN_POLICY = 4
    UNKNOWN_AGENT = 5
    NOT_AUTHORISED = 6
    TOO_BUSY = 7
    INTERNAL = 8
    AGENT_BEGUN = 9
    UNKNOWN_VERSION = 10
    DRAINING = 11


class Refusal(Exception):
    """A request that is answered with an error; nothing has changed.

    Attributes:
      code: one of `Code`.
      data: `field`, `agents` or `versions`, by the protocol.
    """

    def __init__(self, code: Code, text: str, **data: Any):
        super().__init__(text)
        self.code, self.text, self.data = code, text, data


class BadFrame(Exception):
    """Bytes after which a connection cannot go on."""


def bad(field: str, text: str) -> Refusal:
    """A bad request: the key, or key and name, and what is wrong with it."""
    return Refusal(Code.BAD_REQUEST, f"{field}: {text}", field=field)
