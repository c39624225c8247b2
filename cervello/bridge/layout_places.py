"""Where a request to infer has what changes from one to the next: its id, its tick and the bytes of its rows."""

from __future__ import annotations

from typing import NamedTuple

from cervello.bridge.codes import BadFrame
from cervello.bridge.envelope import unpack
from cervello.bridge.scan import enter_container, skip_scalar

_INTEGERS = {0xCC: 1, 0xCD: 2, 0xCE: 4}  # bytes of an integer by its first byte, beside those that are one byte


class Integer(NamedTuple):
    """Where an integer of at most 32 bits lies in a body, without the byte that says how long it is.

    Attributes:
      is_short: it has no such byte, and is below 128.
    """

    start: int
    stop: int
    is_short: bool

    def read(self, body: bytes) -> int:
        return int.from_bytes(body[self.start:self.stop], "big")


def places(body: bytes) -> tuple[Integer, Integer | None, dict[str, tuple[int, int]]] | None:
    """Where a request that was accepted has its id, its tick and the bytes of its inputs; None where the form is unusual."""
    _, _, at = enter_container(body, 0)
    at = skip_scalar(body, at)
    number = _integer(body, at)
    if number is None:
        return None
    _, _, at = enter_container(body, skip_scalar(body, number.stop))
    _, n_pairs, at = enter_container(body, at)
    tick: Integer | None = None
    inputs: dict[str, tuple[int, int]] = {}
    for _ in range(n_pairs):
        key, at = _text(body, at)
        if key == "inputs":
            _, n_inputs, at = enter_container(body, at)
            for _ in range(n_inputs):
                name, at = _text(body, at)
                stop = skip_scalar(body, at)
                if body[at] != 0xC0:
                    inputs[name] = _data(body, at), stop
                at = stop
        elif key == "tick" and body[at] != 0xC0:
            tick = _integer(body, at)
            if tick is None:
                return None
            at = tick.stop
        else:
            at = _skip(body, at)
    return number, tick, inputs


def _integer(body: bytes, at: int) -> Integer | None:
    if body[at] < 128:
        return Integer(at, at + 1, True)
    n_bytes = _INTEGERS.get(body[at])
    return None if n_bytes is None else Integer(at + 1, at + 1 + n_bytes, False)


def _text(body: bytes, at: int) -> tuple[str, int]:
    stop = skip_scalar(body, at)
    found: str = unpack(body[at:stop])
    return found, stop


def _data(body: bytes, at: int) -> int:
    """Where the bytes of the bin or str at `at` begin."""
    return at + 1 + {0xC4: 1, 0xD9: 1, 0xC5: 2, 0xDA: 2, 0xC6: 4, 0xDB: 4}.get(body[at], 0)


def _skip(body: bytes, at: int) -> int:
    """Where the value after the scalar, or list of scalars, at `at` begins."""
    try:
        return skip_scalar(body, at)
    except BadFrame:
        is_map, n, at = enter_container(body, at)
    if is_map:
        raise BadFrame("expected a list, got a map")
    for _ in range(n):
        at = skip_scalar(body, at)
    return at
