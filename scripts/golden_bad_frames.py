"""Bad frames, each for one reason: what a server answers with code 1 before it closes."""

from __future__ import annotations

import struct
from typing import Any

from frame_codec import Spelled, encode, frame


def request(params: bytes, request_id: Any = 7) -> bytes:
    """A ping whose params are these bytes."""
    return frame(encode([0, request_id, "ping", [Spelled(params)]]))


def nested(levels: int) -> bytes:
    """Arrays in arrays, the innermost empty."""
    return b"\x91" * (levels - 1) + b"\x90"


# name, what is wrong, the bytes; a ping's params are on level 3
BAD_FRAMES: list[tuple[str, str, bytes]] = [
    ("length_0", "a body of no bytes", struct.pack("<I", 0)),
    ("length_over", "a length over limits.frame_bytes", struct.pack("<I", (1 << 32) - 1)),
    ("trailing", "a byte after the value", frame(encode([0, 7, "ping", [{}]]) + b"\xc0")),
    ("cut_off", "a value that goes on after the body's end", frame(encode([0, 7, "ping", [{}]])[:-1])),
    ("depth_9", "an empty array on level 9", request(b"\x81\xa1x" + nested(6))),
    ("array_too_long", "an array of 2**32 - 1 values in a few bytes", request(b"\x81\xa1x\xdd\xff\xff\xff\xff")),
    ("bin_too_long", "a bin of 2**32 - 1 bytes in a few bytes", request(b"\x81\xa1x\xc6\xff\xff\xff\xff")),
    ("ext", "an ext type", request(b"\x81\xa1x\xd4\x01\x00")),
    ("timestamp", "a timestamp is an ext type too", request(b"\x81\xa1x\xd6\xff\x00\x00\x00\x00")),
    ("key_int", "a map key that is no str", request(b"\x81\x01\xc0")),
    ("key_bin", "a map key that is bin", request(b"\x81\xc4\x01x\xc0")),
    ("key_twice", "a map key twice", request(b"\x82\xa1x\xc0\xa1x\xc0")),
    ("key_utf8", "a map key that is not UTF-8", request(b"\x81\xa1\xff\xc0")),
    ("byte_c1", "0xc1 begins no value", request(b"\x81\xa1x\xc1")),
    ("method_utf8", "a method that is not UTF-8", frame(b"\x94\x00\x07\xa4pin\xff\x91\x80")),
    ("method_bin", "a method that is bin", frame(encode([0, 7, b"ping", [{}]]))),
    ("no_array", "a body that is no array", frame(encode({"method": "ping"}))),
    ("three_parts", "a request without params", frame(encode([0, 7, "ping"]))),
    ("params_two", "params of two maps", frame(encode([0, 7, "ping", [{}, {}]]))),
    ("params_none", "params of no map", frame(encode([0, 7, "ping", []]))),
    ("params_int", "params of no map but an integer", frame(encode([0, 7, "ping", [1]]))),
    ("response", "a response from a client", frame(encode([1, 7, None, {}]))),
    ("type_3", "a type of message that is unknown", frame(encode([3, 7, "ping", [{}]]))),
    ("id_33_bits", "an id over 32 bits", request(b"\x80", 1 << 32)),
    ("id_negative", "an id below 0", request(b"\x80", -1)),
    ("id_nil", "no id", request(b"\x80", None)),
    ("notify_first", "a notify before hello", frame(encode([2, "end", [{"policy": "cartpole", "agents": []}]]))),
]
