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
    """Raised for a request that is answered with an error; it changes nothing.

    Attributes:
      code: one of `Code`.
      data: `field`, `agents` or `versions`, as the protocol defines them.
    """

    def __init__(self, code: Code, text: str, **data: Any):
        super().__init__(text)
        self.code, self.text, self.data = code, text, data


class BadFrame(Exception):
    """Raised for bytes after which a connection is closed."""


def bad_request(field: str, text: str) -> Refusal:
    """The refusal of a bad request: the key, or key and name, and the reason."""
    return Refusal(Code.BAD_REQUEST, f"{field}: {text}", field=field)
