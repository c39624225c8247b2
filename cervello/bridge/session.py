"""One connection as the event loop sees it, whatever carries its messages."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from cervello.bridge.codes import BadFrame, Code, Refusal, bad
from cervello.bridge.crowd import agent_list
from cervello.bridge.envelope import Message, answer, decode, is_name, refuse, whole
from cervello.bridge.job import Job
from cervello.bridge.limits import LEAST_FRAME
from cervello.bridge.link import Link
from cervello.bridge.tokens import role_of

if TYPE_CHECKING:
    from cervello.bridge.core import Core

_log = logging.getLogger("cervello.bridge")
_REFUSED_WHEN_DRAINING = frozenset({"hello", "begin", "infer", "restore", "swap"})
_WITH_AGENTS = frozenset({"begin", "end", "infer", "reward", "snapshot"})
_WITH_POLICY = _WITH_AGENTS | {"spec", "restore", "swap"}
_METHODS = _WITH_POLICY | {"hello", "stats", "ping"}
_NOTIFIES = frozenset({"reward", "end"})
VERSION = 1
_NAME_BYTES = 256


class Carrier(Protocol):
    """What carries a session's messages."""

    def send(self, body: bytes) -> None:
        """Puts a body into the send queue."""

    def finish(self, reason: int) -> None:
        """Closes after what is in the send queue has gone. Args: reason: a WebSocket close code."""

    def abort(self) -> None:
        """Closes at once."""


class Session:
    """One connection. Mutable; used on the event loop only.

    Attributes:
      link: what policies know of it; None before `hello`.
      opened_s, heard_s: when it began and when its last frame came, on `time.monotonic`.
      closed: nothing more is taken from it or sent to it.
    """

    def __init__(self, core: Core, carrier: Carrier):
        self.core, self._carrier = core, carrier
        self.link: Link | None = None
        self.opened_s = self.heard_s = time.monotonic()
        self.closed = False
        self._waiting: set[Job] = set()  # messages that policies have
        self._asked: list[tuple[int, set[Job]]] = []  # `stats`, each with the messages before it that are not done
        self._in_flight: set[int] = set()
        self._queued_bytes = 0
        self._roles: tuple[str, ...] = ()

    @property
    def n_waiting(self) -> int:
        """Messages that policies have."""
        return len(self._waiting)

    # What arrives -------------------------------------------------------------------------------------------------------

    def receive(self, body: bytes, received_s: float) -> None:
        """A body has come, its last byte at `received_s` on `time.perf_counter`."""
        if self.closed:
            return
        self.heard_s = time.monotonic()
        try:
            message = decode(body, self.core.limits.values)
            if message.id is None and self.link is None:
                raise BadFrame("expected hello first, got a notify")
            if message.id in self._in_flight:
                raise BadFrame(f"expected an id that is not in flight, got {message.id}")
        except (BadFrame, ValueError, RecursionError) as error:
            self.bad_frame(str(error) if isinstance(error, BadFrame) else "expected a message of msgpack, got something else")
            return
        if message.id is None:
            self._notify(message, len(body), received_s)
        else:
            self._request(message, message.id, len(body), received_s)

    def bad_frame(self, text: str) -> None:
        """Says what is wrong, and closes."""
        if self.closed:
            return
        _log.info("connection of %s: bad frame: %s", self.name, text)
        self.core.bad_frames += 1
        self._carrier.send(refuse(None, Code.BAD_FRAME, text))
        self.end(1002)

    def _request(self, message: Message, number: int, n_bytes: int, received_s: float) -> None:
        last = self.link is None or message.method == "hello"
        try:
            if self.link is None:
                if message.method != "hello":
                    raise Refusal(Code.NOT_AUTHORISED, f"method {message.method[:40]!r}: expected hello first")
                result: Mapping[str, Any] | None = self._hello(message)
                last = False
            else:
                result = self._accept(message, number, n_bytes, received_s)
        except Refusal as refusal:
            if self.link is not None:
                self.core.refused += 1
            self._carrier.send(refuse(number, refusal.code, refusal.text, refusal.data))
            if last:
                self.end(1008)
            return
        except Exception as error:
            name = self.core.internal_error(error, message.method)
            self._carrier.send(refuse(number, Code.INTERNAL, f"internal error {name}; the server's log has the rest"))
            if last:
                self.end(1011)
            return
        if result is not None:
            self._reply(number, result)

    def _accept(self, message: Message, number: int, n_bytes: int, received_s: float) -> Mapping[str, Any] | None:
        """The answer, or None when a policy gives it later.

        Raises:
          Refusal: the first code that fits.
        """
        core, link, method = self.core, self.link, message.method
        assert link is not None
        if core.draining and method in _REFUSED_WHEN_DRAINING:
            raise Refusal(Code.DRAINING, "expected a server that goes on, got one that is going away; nothing was done")
        self._check_room(n_bytes)
        if method not in _METHODS:
            raise Refusal(Code.UNKNOWN_METHOD, f"method: expected one of the protocol's, got {method[:60]!r}")
        self._check_role(method)
        if method == "hello":
            raise bad("hello", "expected one hello, got a second")
        if method not in _WITH_POLICY:
            if message.refusal is not None:
                raise message.refusal
            if method == "stats" and self._waiting:  # it tells what came of the messages before it
                self._in_flight.add(number)
                self._asked.append((number, set(self._waiting)))
                return None
            return {} if method == "ping" else core.stats(link)
        job = self._job(message, number, n_bytes, received_s)
        if method == "spec":
            return core.spec(str(message.params["policy"]))
        self._in_flight.add(number)
        self._put(job)
        return None

    def _notify(self, message: Message, n_bytes: int, received_s: float) -> None:
        link = self.link
        assert link is not None
        try:
            if message.method not in _NOTIFIES:
                raise Refusal(Code.UNKNOWN_METHOD, "notify: expected reward or end")
            self._check_room(n_bytes, request=False)
            self._check_role(message.method)
            self._put(self._job(message, None, n_bytes, received_s))
        except Refusal as refusal:
            link.refused_notifies += 1
            self.core.refused += 1
            _log.info("connection of %s: notify refused: %s", self.name, refusal.text)

    def _check_room(self, n_bytes: int, request: bool = True) -> None:
        limits = self.core.limits
        if (request and len(self._in_flight) >= limits.in_flight) or self._queued_bytes + n_bytes > limits.queued_bytes:
            raise Refusal(Code.TOO_BUSY, f"expected at most {limits.in_flight} requests and {limits.queued_bytes} bytes in flight, got "
                          "more; nothing was done, try again")

    def _check_role(self, method: str) -> None:
        if role_of(method) not in self._roles:
            raise Refusal(Code.NOT_AUTHORISED, f"method {method!r}: expected the role {role_of(method)!r}, got {','.join(self._roles)!r}")

    def _job(self, message: Message, number: int | None, n_bytes: int, received_s: float) -> Job:
        """A message whose policy is there and whose agents are ids."""
        if message.refusal is not None:
            raise message.refusal
        assert self.link is not None
        params, method = message.params, message.method
        policy: Any = params.get("policy")
        if not is_name(policy):
            raise bad("policy", "expected the name of a policy")
        if policy not in self.core.policies:
            raise Refusal(Code.UNKNOWN_POLICY, f"policy: expected one of {list(self.core.policies)}, got {policy[:100]!r}")
        agents = agent_list(params, optional=method == "snapshot") if method in _WITH_AGENTS else None
        return Job(self, self.link, number, method, params, agents, n_bytes, received_s)

    def _put(self, job: Job) -> None:
        self._queued_bytes += job.n_bytes
        self.wait_for(job)
        self.core.workers[job.params["policy"]].put(job)

    # Hello --------------------------------------------------------------------------------------------------------------

    def _hello(self, message: Message) -> Mapping[str, Any]:
        core, params = self.core, message.params
        if core.draining:
            raise Refusal(Code.DRAINING, "expected a server that goes on, got one that is going away")
        if core.n_connections >= core.limits.connections:
            raise Refusal(Code.TOO_BUSY, f"expected at most {core.limits.connections} connections, got more; try again")
        roles = core.tokens.roles(params.get("token"))
        if roles is None:
            raise Refusal(Code.NOT_AUTHORISED, "token: expected a token that is known")
        if message.refusal is not None:
            raise message.refusal
        version = whole(params.get("version"))
        if version is None:
            raise bad("version", "expected an integer")
        if version != VERSION:
            raise Refusal(Code.UNKNOWN_VERSION, f"version: expected {VERSION}, got {version}", versions=[VERSION])
        client: Any = params.get("client")
        if not is_name(client) or not 1 <= len(client.encode()) <= _NAME_BYTES:
            raise bad("client", f"expected a name of 1 to {_NAME_BYTES} bytes")
        if params.get("token") is not None and type(params["token"]) is not str:
            raise bad("token", "expected a str")
        frame_bytes = params.get("frame_bytes")
        longest = core.limits.frame_bytes
        if frame_bytes is not None:
            given = whole(frame_bytes)
            if given is None or given < LEAST_FRAME:
                raise bad("frame_bytes", f"expected an integer of at least {LEAST_FRAME}")
            longest = min(longest, given)
        result = {"version": VERSION, "server": core.server, "server_id": core.server_id, "limits": core.limits.told(),
                  "roles": list(roles), "policies": list(core.policies)}
        if len(answer(message.id or 0, result)) > longest:
            raise bad("frame_bytes", f"expected an answer to hello of at most {longest} bytes, got a longer one")
        self._roles = roles
        self.link = core.welcome(client, longest, "record" in roles)
        return result

    # What goes out ------------------------------------------------------------------------------------------------------

    def wait_for(self, job: Job) -> None:
        """A message is on its way to a policy."""
        self._waiting.add(job)

    def done(self, job: Job) -> None:
        """A policy is done with a message."""
        self._waiting.discard(job)
        self.heard_s = time.monotonic()  # a client that was waiting for this was not idle
        self._queued_bytes -= job.n_bytes
        if job.id is not None:
            self._in_flight.discard(job.id)
        if job.reply is not None and not self.closed:
            self._carrier.send(job.reply)
        if self._asked:
            self._tell_stats(job)

    def _tell_stats(self, job: Job) -> None:
        for number, before in list(self._asked):
            before.discard(job)
            if not before and self.link is not None:
                self._asked.remove((number, before))
                self._in_flight.discard(number)
                if not self.closed:
                    self._reply(number, self.core.stats(self.link))

    def _reply(self, number: int, result: Mapping[str, Any]) -> bool:
        """Sends an answer, or why it cannot be sent; whether it was the answer."""
        body = answer(number, result)
        most = self.link.frame_bytes if self.link is not None else self.core.limits.frame_bytes
        fits = len(body) <= most
        if not fits:
            body = refuse(number, Code.BAD_REQUEST, f"frame_bytes: expected a reply of at most {most} bytes, got {len(body)}",
                          {"field": "frame_bytes"})
        self._carrier.send(body)
        return fits

    @property
    def name(self) -> str:
        """The client's, for people."""
        return "a stranger" if self.link is None else repr(self.link.client)

    def drain(self, force: bool) -> bool:
        """Closes, as a server that goes away, when there is nothing left to do; whether it is closed."""
        if not self.closed and (force or (not self.n_waiting and (self.link is None or not self.link.n_agents))):
            self._carrier.send(refuse(None, Code.DRAINING, "the server is going away"))
            self.end(1001)
        return self.closed

    def end(self, reason: int) -> None:
        """Takes nothing more, and closes when all is sent."""
        if not self.closed:
            self.closed = True
            self._carrier.finish(reason)

    def abort(self, why: str) -> None:
        """Closes at once."""
        if not self.closed:
            self.closed = True
            _log.info("connection of %s: closed: %s", self.name, why)
        self._carrier.abort()

    def lost(self) -> None:
        """The connection is gone."""
        self.closed = True
        self.core.farewell(self)
