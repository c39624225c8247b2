"""Messages: requests, replies and notifies as msgpack values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack

from cervello.bridge.codes import BadFrame, Code, Refusal
from cervello.bridge.limits import LARGEST
from cervello.bridge.scan import enter_container, scan, skip_scalar

ERROR_BYTES = 1024  # of an error reply, at most
REPORTED = 64  # agents that an error names, at most
_U32 = (1 << 32) - 1


class Message(NamedTuple):
    """A message of a client.

    Attributes:
      id: of a request; None for a notify.
      refusal: the error of a well-formed message that is refused; None when it is accepted.
    """

    id: int | None
    method: str
    params: dict[str, Any]
    refusal: Refusal | None = None


def as_integer(value: Any, most: int = LARGEST) -> int | None:
    """An integer 0 ≤ value ≤ most, also one encoded as a float; None for anything else."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= most else None


def kind_of(value: Any) -> str:
    """The kind of a decoded value, for messages."""
    kinds = {type(None): "nil", bool: "a bool", int: "an integer", float: "a float", str: "a str", bytes: "bin", list: "an array",
             dict: "a map"}
    return kinds.get(type(value), "something else")


def is_name(value: Any) -> bool:
    """Whether the value is a str of valid UTF-8."""
    if type(value) is not str:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_map(value: Any) -> dict[str, Any] | None:
    """A map; an empty array counts as one."""
    if type(value) is dict:
        return value
    return {} if type(value) is list and not value else None


def as_list(value: Any) -> list[Any] | None:
    """An array; an empty map counts as one."""
    if type(value) is list:
        return value
    return [] if type(value) is dict and not value else None


def _pairs(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadFrame("expected distinct keys in a map, got one twice")
    for key in found:
        if not key.isascii() and not is_name(key):
            raise BadFrame("expected keys of UTF-8, got other bytes")
    return found


def unpack(body: bytes | bytearray | memoryview, errors: str = "surrogateescape") -> Any:
    """Decodes a body that `scan` accepted.

    Args:
      errors: what becomes of a str that is not UTF-8: by default it keeps its bytes as surrogates; "strict" raises ValueError.
    """
    return msgpack.unpackb(body, raw=False, object_pairs_hook=_pairs, unicode_errors=errors, strict_map_key=False,
                           max_str_len=len(body), max_bin_len=len(body), max_array_len=len(body), max_map_len=len(body))


def decode(body: bytes | bytearray | memoryview, most_values: int) -> Message:
    """Decodes a client's message.

    Args:
      most_values: a message with more is refused before it is decoded.
    Raises:
      BadFrame: the body is no message.
    """
    if not len(body):
        raise BadFrame("expected a message, got an empty body")
    if not scan(body, most_values):
        return _head(body, most_values)
    return _message(unpack(body))


def _params(value: Any) -> dict[str, Any]:
    """Checks parameters. Names are UTF-8; other texts may stand for bins."""
    params = as_map(value) or {}
    outputs = params.get("outputs")
    for name in (params.get("policy"), params.get("client"), *(outputs if type(outputs) is list else ())):
        if type(name) is str and not name.isascii() and not is_name(name):
            raise BadFrame("expected names of UTF-8, got other bytes")
    return params


def _message(value: Any) -> Message:
    if type(value) is list:
        kind = as_integer(value[0]) if value else None
        if kind == 0 and len(value) == 4:
            number, method, params = as_integer(value[1], _U32), value[2], as_list(value[3])
            if number is not None and is_name(method) and params is not None and len(params) == 1 and as_map(params[0]) is not None:
                return Message(number, method, _params(params[0]))
        elif kind == 2 and len(value) == 3:
            method, params = value[1], as_list(value[2])
            if is_name(method) and params is not None and len(params) == 1 and as_map(params[0]) is not None:
                return Message(None, method, _params(params[0]))
    raise BadFrame("expected [0, id, method, [params]] or [2, method, [params]], got something else")


def _head(body: bytes | bytearray | memoryview, most: int) -> Message:
    """The head of a message with too many values, whose rest is not decoded."""
    wrong = BadFrame("expected [0, id, method, [params]] or [2, method, [params]], got something else")
    try:
        is_map, n, at = enter_container(body, 0)
        scalars: list[Any] = []
        for _ in range(n - 1):
            if len(scalars) == 3:
                raise wrong
            end = skip_scalar(body, at)
            scalars.append(unpack(body[at:end]))
            at = end
        many, n_params, at = enter_container(body, at)
        its_map, _, _ = enter_container(body, at)
    except (BadFrame, IndexError):
        raise wrong from None
    if is_map or many or n_params != 1 or not its_map or not scalars or as_integer(scalars[0]) != {3: 0, 2: 2}.get(len(scalars), -1):
        raise wrong
    number = None if len(scalars) == 2 else as_integer(scalars[1], _U32)
    if (len(scalars) == 3 and number is None) or not is_name(scalars[-1]):
        raise wrong
    return Message(number, scalars[-1], {}, Refusal(Code.BAD_REQUEST, f"params: expected at most {most} values, got more", field="params"))


# Replies ----------------------------------------------------------------------------------------------------------------


def answer(number: int, result: Mapping[str, Any]) -> bytes:
    """Encodes a reply."""
    packed: bytes = msgpack.packb([1, number, None, result], use_bin_type=True)
    return packed


def refuse(number: int | None, code: int, text: str, data: Mapping[str, Any] | None = None) -> bytes:
    """Encodes an error reply of at most `ERROR_BYTES`."""
    data = dict(data or {})
    if "agents" in data:
        data["agents"] = data["agents"][:REPORTED]
    text = text.encode("utf-8", "replace").decode()
    while True:
        packed: bytes = msgpack.packb([1, number, [int(code), text, data], None], use_bin_type=True)
        if len(packed) <= ERROR_BYTES:
            return packed
        if len(text) > 40:
            text = text[:max(40, len(text) - max(1, (len(packed) - ERROR_BYTES) // 4))]
        else:
            data = {name: value[:40] if isinstance(value, str) else value for name, value in data.items()}
            text = text[:20]
