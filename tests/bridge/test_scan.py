"""Bytes are looked through before anything is made of them."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import msgpack
import pytest

from cervello.bridge.codes import BadFrame
from cervello.bridge.envelope import ERROR_BYTES, decode, refuse
from cervello.bridge.scan import scan


def request(params: bytes) -> bytes:
    return b"\x94\x00\x07\xa4ping\x91" + params


@pytest.mark.parametrize("bomb", [b"\xdc\xff\xff" * 24_576,
                                  b"\xdd\xff\xff\xff\xff" * 14_745, b"\x91" * 73_728, b"\xdf\x0f\xff\xff\xff" * 14_745,
                                  b"\x81\xa1x" * 24_576], ids=["array16", "array32", "fixarray", "map32", "fixmap"])
def test_seventy_two_kilobytes_of_nested_headers_cost_under_one_megabyte(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadFrame):
            decode(bomb, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_many_empty_maps_are_refused_before_they_are_made() -> None:
    body = request(b"\x81\xa1x\xdd" + (4_000_000).to_bytes(4, "big") + b"\x80" * 4_000_000)
    tracemalloc.start()
    try:
        message = decode(body, 135_168)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert message.id == 7
    assert message.method == "ping"
    assert message.refusal is not None
    assert message.refusal.code == 2


@pytest.mark.parametrize(("levels", "legal"), [(8, True), (9, False)])
def test_nesting_counts_empty_containers_and_no_scalars(levels: int, legal: bool) -> None:
    body = b"\x91" * (levels - 1) + b"\x90"
    if legal:
        assert scan(body)
        assert scan(b"\x91" * levels + b"\x07")
    else:
        with pytest.raises(BadFrame, match="nesting"):
            scan(body)


def _value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(9 if depth < 5 else 7)
    if kind == 7:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind == 8:
        return {"".join(rng.choices("abé😀", k=rng.randrange(20))): _value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [None, True, rng.randrange(-(1 << 63), 1 << 64), rng.random(), "x" * rng.choice([0, 31, 32, 255, 256, 70_000]),
            bytes(rng.choice([0, 255, 256, 70_000])), rng.randrange(-40, 200)][kind]


def test_legal_values_pass_and_every_cut_of_them_is_refused() -> None:
    rng = random.Random(5)
    for _ in range(150):
        body = msgpack.packb(_value(rng, 1))
        assert scan(body)
        for cut in {0, len(body) - 1, rng.randrange(len(body))}:
            if cut < len(body):
                with pytest.raises(BadFrame):
                    scan(body[:cut])
        with pytest.raises(BadFrame):
            scan(body + b"\xc0")


def test_damaged_bytes_are_a_message_or_a_bad_frame_and_nothing_else() -> None:
    rng = random.Random(11)
    good = msgpack.packb([0, 5, "infer", [{"policy": "a", "agents": [1, 2, 3], "inputs": {"obs": bytes(40)}, "tick": 7}]])
    for _ in range(20_000):
        body = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        try:
            message = decode(bytes(body), 1000)
        except (BadFrame, ValueError):
            continue
        assert isinstance(message.params, dict)


def test_integers_come_in_any_width_and_as_whole_floats() -> None:
    body = b"\x94" + msgpack.packb(0.0) + b"\xcf" + (9).to_bytes(8, "big") + b"\xa4ping\x91\x90"
    message = decode(body, 100)
    assert (message.id, message.method, message.params) == (9, "ping", {})


def test_an_error_reply_is_short_whatever_it_says() -> None:
    for text in ("x" * 5000, "é" * 3000, "\ud800" * 900, "😀" * 2000):
        body = refuse((1 << 32) - 1, 5, text, {"agents": [(1 << 53) - 1] * 500})
        assert len(body) <= ERROR_BYTES
        assert len(msgpack.unpackb(body)[2][2]["agents"]) == 64
    assert len(refuse(1, 2, "y" * 5000, {"field": "z" * 3000})) <= ERROR_BYTES


@pytest.mark.parametrize("params", [b"\x81\xa6policy\xa2p\xff", b"\x81\xa6client\xa1\xff", b"\x81\xa7outputs\x92\xa1a\xa1\xff"])
def test_names_that_are_no_utf8_are_bad_frames_and_texts_in_place_of_bins_are_not(params: bytes) -> None:
    with pytest.raises(BadFrame, match="UTF-8"):
        decode(request(params), 100)
    assert decode(request(b"\x81\xa6reward\xa4\x00\x00\x80\xff"), 100).params["reward"]
