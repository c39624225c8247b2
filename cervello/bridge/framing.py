"""Bodies in a stream of bytes: u32 little-endian length, then the body."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cervello.bridge.codes import BadFrame

_LENGTH = struct.Struct("<I")


def framed(body: bytes) -> bytes:
    """A body with its length before it."""
    return _LENGTH.pack(len(body)) + body


class Deframer:
    """Cuts a stream into bodies. Keeps what has come of a body, never more than the limit.

    Args:
      most: bytes of a body.
    """

    def __init__(self, most: int):
        self.most = most
        self._parts = bytearray()

    @property
    def n_partial(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._parts)

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """Bodies that are complete with these bytes.

        Raises:
          BadFrame: a length of 0 or over the limit; bodies before it have been given.
        """
        parts = self._parts
        parts += data
        at, end = 0, len(parts)
        try:
            while end - at >= 4:
                length = _LENGTH.unpack_from(parts, at)[0]
                if not 0 < length <= self.most:
                    raise BadFrame(f"expected a length of 1 to {self.most} bytes, got {length}")
                if end - at - 4 < length:
                    return
                body = bytes(memoryview(parts)[at + 4:at + 4 + length])
                at += 4 + length
                yield body
        finally:
            del parts[:at]
