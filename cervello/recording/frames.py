"""The file of a recording: a header, then framed records, each with its length and checksums. See docs/recording-format.md.

    file    "CRVL"  u16 version  u16 0
    frame   u32 length of the body  u32 CRC-32 of the body  u32 CRC-32 of these 8 bytes  body
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cervello.errors import FormatError

MAGIC, VERSION = b"CRVL", 1
FILE_HEADER = struct.pack("<4sHH", MAGIC, VERSION, 0)
MAX_BODY_BYTES = 2**32 - 1  # the length is a u32
_LENGTHS = struct.Struct("<II")
_HEADER = struct.Struct("<III")


def frame(body: bytes) -> bytes:
    """Puts the header of a frame before a body."""
    lengths = _LENGTHS.pack(len(body), zlib.crc32(body))
    return b"".join((lengths, struct.pack("<I", zlib.crc32(lengths)), body))


class DamageError(FormatError):
    """Raised for bytes inside a file that are no frame; the frames before them are valid."""


def check_file_header(file: BinaryIO, path: Path) -> bool:
    """Reads the header of a file. Returns False when the file ends in it: nothing was recorded.

    Raises:
      FormatError: the file is no recording, or one of another version.
    """
    found = file.read(len(FILE_HEADER))
    if found == FILE_HEADER:
        return True
    if FILE_HEADER.startswith(found):
        return False
    if len(found) == len(FILE_HEADER) and found[:4] == MAGIC and found[6:] == b"\0\0":
        version = int.from_bytes(found[4:6], "little")
        raise FormatError(f"recording {str(path)!r}: expected version {VERSION}, got {version}; read it with the Cervello that wrote it")
    raise FormatError(f"recording {str(path)!r}: expected bytes that begin with {FILE_HEADER!r}, got {found!r}; is it a recording?")


def read_bodies(file: BinaryIO, path: Path, n_bytes: int, skip: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yields the bodies of a file's frames after its header, each with the end offset of its frame.

    Stops before a torn tail: an incomplete last frame, or zeros up to the end of the file.

    Args:
      n_bytes: of the file; later frames are not read.
      skip: read only the headers and the last body; the other bodies are b"".
    Raises:
      Damage: a frame before the end is damaged.
    """
    at = file.tell()
    while at < n_bytes:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size or at + _HEADER.size > n_bytes:
            return
        length, expected, check = _HEADER.unpack(header)
        if zlib.crc32(header[:_LENGTHS.size]) != check:
            if _only_zeros(file, header):
                return
            raise DamageError(f"recording {str(path)!r}, byte {at}: expected the head of a record, got one whose checksum does not fit; "
                         "read what is before it with until_damage=True (cervello evaluate --until-damage)")
        end = at + _HEADER.size + length
        if end > n_bytes:
            return
        if skip and end < n_bytes:
            file.seek(end)
            body = b""
        else:
            body = file.read(length)
            if len(body) < length:
                return
            if zlib.crc32(body) != expected:
                if end == n_bytes:
                    return
                raise DamageError(f"recording {str(path)!r}, byte {at}: expected a record with the checksum {expected:#010x}, got "
                             f"{zlib.crc32(body):#010x}; read what is before it with until_damage=True (cervello evaluate --until-damage)")
        yield end, body
        at = end


def _only_zeros(file: BinaryIO, header: bytes) -> bool:
    """Whether the rest of the file is zeros: blocks that the file system had allocated when the power failed."""
    chunk = header
    while chunk:
        if chunk.count(0) != len(chunk):
            return False
        chunk = file.read(1 << 20)
    return True
