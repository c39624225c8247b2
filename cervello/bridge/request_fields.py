"""Finds the variable bytes of an infer request: its id, its tick and its rows."""

from __future__ import annotations

from typing import NamedTuple

from cervello.bridge.codes import BadFrame
from cervello.bridge.envelope import unpack
from cervello.bridge.scan import enter_container, skip_scalar

_INTEGERS = {0xCC: 1, 0xCD: 2, 0xCE: 4}  # bytes of an integer by its first byte, except one-byte integers


class IntegerField(NamedTuple):
    """The place of an integer of at most 32 bits in a body, without its type byte.

    Attributes:
      is_short: the integer has no type byte and is below 128.
    """

    start: int
    stop: int
    is_short: bool

    def read(self, body: bytes) -> int:
        return int.from_bytes(body[self.start:self.stop], "big")


def find_fields(body: bytes) -> tuple[IntegerField, IntegerField | None, dict[str, tuple[int, int]]] | None:
    """The fields of id, tick and inputs in an accepted request; None for an unusual encoding."""
    _, _, at = enter_container(body, 0)
    at = skip_scalar(body, at)
    number = _integer(body, at)
    if number is None:
        return None
    _, _, at = enter_container(body, skip_scalar(body, number.stop))
    _, n_pairs, at = enter_container(body, at)
    tick: IntegerField | None = None
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


def _integer(body: bytes, at: int) -> IntegerField | None:
    if body[at] < 128:
        return IntegerField(at, at + 1, True)
    n_bytes = _INTEGERS.get(body[at])
    return None if n_bytes is None else IntegerField(at + 1, at + 1 + n_bytes, False)


def _text(body: bytes, at: int) -> tuple[str, int]:
    stop = skip_scalar(body, at)
    found: str = unpack(body[at:stop])
    return found, stop


def _data(body: bytes, at: int) -> int:
    """The offset of the bytes of the bin or str at `at`."""
    return at + 1 + {0xC4: 1, 0xD9: 1, 0xC5: 2, 0xDA: 2, 0xC6: 4, 0xDB: 4}.get(body[at], 0)


def _skip(body: bytes, at: int) -> int:
    """The offset of the value after the scalar, or list of scalars, at `at`."""
    try:
        return skip_scalar(body, at)
    except BadFrame:
        is_map, n, at = enter_container(body, at)
    if is_map:
        raise BadFrame("expected a list, got a map")
    for _ in range(n):
        at = skip_scalar(body, at)
    return at
