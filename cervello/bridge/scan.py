"""Checks the bytes of a message before decoding: depth, lengths, types. Uses constant memory."""

from __future__ import annotations

from typing import Any

from cervello.bridge.codes import BadFrame

DEPTH = 8
_SHORT = 1024  # elements of an array that are checked together
# By first byte: bytes of a fixed-size scalar; for others, the encoding of their length.
_SCALAR, _BYTES, _ARRAY, _MAP, _BAD = range(5)
_KIND = [_SCALAR] * 128 + [_MAP] * 16 + [_ARRAY] * 16 + [_BYTES] * 32 + [_SCALAR] * 64
_SIZE = [1] * 128 + [0] * 64 + [1] * 64  # of a scalar with its first byte; of a stored length without it
for _first, _size in {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}.items():
    _SIZE[_first] = _size
for _first, _size in {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}.items():
    _KIND[_first], _SIZE[_first] = _BYTES, _size
_KIND[0xDC] = _KIND[0xDD] = _ARRAY
_KIND[0xDE] = _KIND[0xDF] = _MAP
_SIZE[0xDC] = _SIZE[0xDE] = 2
_SIZE[0xDD] = _SIZE[0xDF] = 4
for _first in (0xC1, 0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)):
    _KIND[_first] = _BAD


def scan(body: bytes | bytearray | memoryview, most_values: int = 1 << 62) -> bool:
    """Checks that a body is exactly one msgpack value of a legal form.

    Returns:
      whether it has at most `most_values` values, itself included; the rest of a longer one is not checked.
    Raises:
      BadFrame: truncated or trailing bytes, nesting beyond `DEPTH`, an ext type, the byte 0xc1, a map key that is no str.
    """
    data: Any = body
    end = len(data)
    kinds, sizes = _KIND, _SIZE
    at = n_values = 0
    # Values still expected at this level. A map counts each pair twice, so even counts are keys.
    missing, is_map = 1, False
    levels: list[tuple[int, bool]] = []
    while True:
        while not missing:
            if not levels:
                if at != end:
                    raise BadFrame(f"expected one value, got {end - at} bytes after it")
                return True
            missing, is_map = levels.pop()
        if at >= end:
            raise BadFrame("expected a whole value, got one that is cut off")
        first = data[at]
        kind, size = kinds[first], sizes[first]
        is_key = is_map and not missing & 1
        missing -= 1
        n_values += 1
        if n_values > most_values:
            return False
        if kind == _SCALAR:
            if is_key:
                raise BadFrame(f"expected a str as a map's key, got type byte {first:#04x}")
            at += size
            continue
        if kind == _BAD:
            raise BadFrame(f"expected nil, bool, int, float, str, bin, array or map, got type byte {first:#04x}")
        at += 1
        if size:
            length = int.from_bytes(data[at:at + size], "big")
            at += size
        else:
            length = first & (31 if kind == _BYTES else 15)
        if at > end:
            raise BadFrame("expected a whole value, got one that is cut off")
        if kind == _BYTES:
            if is_key and 0xC4 <= first <= 0xC6:
                raise BadFrame("expected a str as a map's key, got bin")
            at += length
            if at > end:
                raise BadFrame("expected a whole value, got one that is cut off")
            continue
        if is_key:
            raise BadFrame("expected a str as a map's key, got an array or a map")
        if len(levels) >= DEPTH:
            raise BadFrame(f"expected nesting of at most {DEPTH}, got more")
        if kind == _MAP:
            length *= 2
        if length > end - at:  # each takes a byte at least
            raise BadFrame("expected a whole value, got one that is cut off")
        if kind == _ARRAY and length <= _SHORT and bytes(data[at:at + length]).isascii():  # one-byte integers, checked together
            at += length
            n_values += length
            if n_values > most_values:
                return False
            continue
        levels.append((missing, is_map))
        missing, is_map = length, kind == _MAP


def skip_scalar(body: bytes | bytearray | memoryview, at: int) -> int:
    """The offset of the value after the scalar, str or bin at `at`.

    Raises:
      BadFrame: the value is a container.
    """
    first = body[at]
    kind, size = _KIND[first], _SIZE[first]
    if kind == _SCALAR:
        return at + size
    if kind != _BYTES:
        raise BadFrame("expected a scalar, got a container")
    return at + 1 + size + (int.from_bytes(body[at + 1:at + 1 + size], "big") if size else first & 31)


def enter_container(body: bytes | bytearray | memoryview, at: int) -> tuple[bool, int, int]:
    """Of the array or map at `at`: whether it is a map, its length, and the offset of its first element.

    Raises:
      BadFrame: the value is a scalar.
    """
    first = body[at]
    kind, size = _KIND[first], _SIZE[first]
    if kind not in (_ARRAY, _MAP):
        raise BadFrame("expected an array or a map, got a scalar")
    return kind == _MAP, int.from_bytes(body[at + 1:at + 1 + size], "big") if size else first & 15, at + 1 + size
