"""The container of cervo: eight bytes in front of a policy file.

    bytes 0 to 3   "CRVO"
    bytes 4 to 6   0
    byte 7         1 for ONNX, 2 for NNEF
    bytes 8 …      the file as it is

Source: EmbarkStudios/cervo 0.9.2, crates/cervo-asset/src/lib.rs.
"""

from __future__ import annotations

from cervello.errors import FormatError, UnsupportedError

MAGIC = b"CRVO"
_HEADER_BYTES = 8
_KINDS = {1: "onnx", 2: "nnef"}


def is_crvo(data: bytes) -> bool:
    """Whether bytes begin as a container does."""
    return data[:len(MAGIC)] == MAGIC


def packed(data: bytes) -> bytes:
    """An ONNX file in a container."""
    return MAGIC + bytes([0, 0, 0, 1]) + data


def kind(name: str, data: bytes) -> str:
    """What a container holds: "onnx" or "nnef".

    Raises:
      FormatError: these bytes are no container, are truncated, or hold something else.
    """
    if not is_crvo(data):
        raise FormatError(f"model {name!r}: expected a container of cervo, which begins with {MAGIC!r}, got {data[:len(MAGIC)]!r}; "
                          "name a .crvo file")
    if len(data) < _HEADER_BYTES:
        raise FormatError(f"model {name!r}: expected at least {_HEADER_BYTES} bytes, got {len(data)}; the container is truncated, "
                          "copy it again")
    number = data[_HEADER_BYTES - 1]
    if number not in _KINDS:
        raise FormatError(f"model {name!r}: expected a container with ONNX (1) or NNEF (2), got kind {number}; package it "
                          "again")
    return _KINDS[number]


def unpacked(name: str, data: bytes) -> bytes:
    """The ONNX file in a container, byte for byte.

    Raises:
      FormatError: as `kind`. UnsupportedError: it holds NNEF.
    """
    if kind(name, data) != "onnx":
        raise UnsupportedError(f"model {name!r}: expected a container with ONNX, got one with NNEF, which Cervello does not read; package "
                               "the ONNX file that it was made of, without cervo's option -O")
    return data[_HEADER_BYTES:]
