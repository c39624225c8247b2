"""`hello`: checks a client and makes the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cervello.bridge.codes import Code, Refusal, bad_request
from cervello.bridge.envelope import Message, answer, as_integer, is_name, kind_of
from cervello.bridge.limits import LEAST_FRAME

if TYPE_CHECKING:
    from cervello.bridge.server_state import ServerState

VERSION = 1
_NAME_BYTES = 256


class AcceptedHello(NamedTuple):
    """An accepted client.

    Attributes:
      name: the client's. frame_bytes: the longest body that it accepts. roles: its permissions.
      reply: the answer.
    """

    name: str
    frame_bytes: int
    roles: tuple[str, ...]
    reply: Mapping[str, Any]


def check_hello(server: ServerState, message: Message) -> AcceptedHello:
    """Checks a `hello`; nothing changes.

    Raises:
      Refusal: the first code that fits.
    """
    params = message.params
    if server.draining:
        raise Refusal(Code.DRAINING, "expected a server that goes on, got one that is going away; connect to another")
    if server.n_connections >= server.limits.connections:
        raise Refusal(Code.TOO_BUSY, f"expected at most {server.limits.connections} connections, got more; try again")
    roles = server.tokens.roles(params.get("token"))
    if roles is None:
        raise Refusal(Code.NOT_AUTHORISED, "token: expected one of the server's token file, got another or none; ask its operator for one")
    if message.refusal is not None:
        raise message.refusal
    version = as_integer(params.get("version"))
    if version is None:
        raise bad_request("version", f"expected an integer, got {kind_of(params.get('version'))}")
    if version != VERSION:
        raise Refusal(Code.UNKNOWN_VERSION, f"version: expected {VERSION}, got {version}", versions=[VERSION])
    client: Any = params.get("client")
    n_bytes = len(client.encode()) if is_name(client) else None
    if n_bytes is None or not 1 <= n_bytes <= _NAME_BYTES:
        got = kind_of(client) if n_bytes is None else f"{n_bytes} bytes"
        raise bad_request("client", f"expected a name of 1 to {_NAME_BYTES} bytes, got {got}")
    if params.get("token") is not None and type(params["token"]) is not str:
        raise bad_request("token", f"expected a str, got {kind_of(params['token'])}")
    frame_bytes = params.get("frame_bytes")
    longest = server.limits.frame_bytes
    if frame_bytes is not None:
        given = as_integer(frame_bytes)
        if given is None or given < LEAST_FRAME:
            raise bad_request("frame_bytes", f"expected an integer of at least {LEAST_FRAME}, got another value")
        longest = min(longest, given)
    reply = {"version": VERSION, "server": server.name, "server_id": server.server_id, "limits": server.limits.as_map(),
             "roles": list(roles), "policies": list(server.policies)}
    if len(answer(message.id or 0, reply)) > longest:
        raise bad_request("frame_bytes", f"expected an answer to hello of at most {longest} bytes, got a longer one")
    return AcceptedHello(client, longest, roles, reply)
