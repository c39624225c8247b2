"""Bodies in a stream of bytes: u32 little-endian length, then the body."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cervello.bridge.codes import BadFrame

LENGTH = struct.Struct("<I")


def framed(body: bytes) -> bytes:
    """Puts the length before a body."""
    return LENGTH.pack(len(body)) + body


class Deframer:
    """Splits a stream into bodies. Buffers the received part of a body, never more than the limit.

    Args:
      most: bytes of a body, at most.
    """

    def __init__(self, most: int):
        self.most = most
        self._parts = bytearray()

    @property
    def n_partial(self) -> int:
        """Buffered bytes of an incomplete frame."""
        return len(self._parts)

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """Yields the bodies that these bytes complete.

        Raises:
          BadFrame: a length of 0 or over the limit; the bodies before it have been yielded.
        """
        parts = self._parts
        parts += data
        at, end = 0, len(parts)
        try:
            while end - at >= 4:
                length = LENGTH.unpack_from(parts, at)[0]
                if not 0 < length <= self.most:
                    raise BadFrame(f"expected a length of 1 to {self.most} bytes, got {length}")
                if end - at - 4 < length:
                    return
                body = bytes(memoryview(parts)[at + 4:at + 4 + length])
                at += 4 + length
                yield body
        finally:
            del parts[:at]
