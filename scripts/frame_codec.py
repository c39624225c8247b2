"""The bridge's msgpack subset in plain Python, independent of the server and of every client: what golden frames are made and read with."""

from __future__ import annotations

import struct
from typing import Any

DEEPEST = 8
Spelled = bytearray  # bytes that go into a frame as they are: other widths of an integer, an ext type


def encode(value: Any) -> bytes:
    """One msgpack value in its shortest form; floats are float64; a `bytearray` is taken as it is, `bytes` are bin.

    Raises:
      TypeError: the value has no msgpack form.
    """
    if isinstance(value, Spelled):
        return bytes(value)
    if value is None or value is True or value is False:
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return (bytes([0xA0 + len(data)]) if len(data) < 32 else _head(len(data), 0xD9, 0xDA, 0xDB)) + data
    if isinstance(value, bytes):
        return _head(len(value), 0xC4, 0xC5, 0xC6) + value
    if isinstance(value, (list, tuple)):
        return (bytes([0x90 + len(value)]) if len(value) < 16 else _head(len(value), None, 0xDC, 0xDD)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        head = bytes([0x80 + len(value)]) if len(value) < 16 else _head(len(value), None, 0xDE, 0xDF)
        return head + b"".join(encode(key) + encode(item) for key, item in value.items())
    raise TypeError(f"{type(value).__name__} has no msgpack form")


def _integer(value: int) -> bytes:
    if value >= 0:
        widths = ((7, None, "B"), (8, 0xCC, "B"), (16, 0xCD, ">H"), (32, 0xCE, ">I"), (64, 0xCF, ">Q"))
        for bits, code, form in widths:
            if value < 1 << bits:
                return (b"" if code is None else bytes([code])) + struct.pack(form, value)
    else:
        widths = ((5, None, "b"), (7, 0xD0, "b"), (15, 0xD1, ">h"), (31, 0xD2, ">i"), (63, 0xD3, ">q"))
        for bits, code, form in widths:
            if value >= -(1 << bits):
                return (b"" if code is None else bytes([code])) + struct.pack(form, value)
    raise TypeError(f"{value} has more than 64 bits")


def _head(count: int, code_8: int | None, code_16: int, code_32: int) -> bytes:
    if code_8 is not None and count < 1 << 8:
        return bytes([code_8, count])
    return struct.pack(">BH", code_16, count) if count < 1 << 16 else struct.pack(">BI", code_32, count)


def frame(body: bytes) -> bytes:
    """A body with its length in front."""
    return struct.pack("<I", len(body)) + body


def decode(body: bytes) -> Any:
    """The one value of a body; str is `str`, bin is `bytes`.

    Raises:
      ValueError: the body is a bad frame.
    """
    value, after = _decode(memoryview(body), 0, 1)
    if after != len(body):
        raise ValueError(f"{len(body) - after} bytes after the value")
    return value


_NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
_COUNTED = {0xC4: (bytes, ">B"), 0xC5: (bytes, ">H"), 0xC6: (bytes, ">I"), 0xD9: (str, ">B"), 0xDA: (str, ">H"), 0xDB: (str, ">I"),
            0xDC: (list, ">H"), 0xDD: (list, ">I"), 0xDE: (dict, ">H"), 0xDF: (dict, ">I")}


def _decode(body: memoryview, at: int, level: int) -> tuple[Any, int]:
    if at >= len(body):
        raise ValueError("the value is cut off")
    code = body[at]
    at += 1
    kind: type
    if code < 0x80 or code >= 0xE0:
        return (code if code < 0x80 else code - 256), at
    if code in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[code], at
    if code in _NUMBERS:
        size = struct.calcsize(_NUMBERS[code])
        if at + size > len(body):
            raise ValueError("the value is cut off")
        return struct.unpack_from(_NUMBERS[code], body, at)[0], at + size
    if code < 0xC0:
        kind, count = (dict, code & 15) if code < 0x90 else (list, code & 15) if code < 0xA0 else (str, code & 31)
    elif code in _COUNTED:
        kind, form = _COUNTED[code]
        size = struct.calcsize(form)
        if at + size > len(body):
            raise ValueError("the value is cut off")
        count, at = struct.unpack_from(form, body, at)[0], at + size
    else:
        raise ValueError(f"byte 0x{code:02x} begins no value of the protocol")
    if count * (2 if kind is dict else 1) > len(body) - at:
        raise ValueError("the value is cut off")
    if kind in (str, bytes):
        data = bytes(body[at:at + count])
        return (data if kind is bytes else data.decode()), at + count
    if level > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST}")
    items: list[Any] = []
    for place in range(count * (2 if kind is dict else 1)):
        item, at = _decode(body, at, level + 1)
        if kind is dict and place % 2 == 0 and (not isinstance(item, str) or item in items[::2]):
            raise ValueError(f"map key {item!r} is not a str or comes twice")
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if kind is dict else items), at
