"""The state of one connection on the event loop, for every transport."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cervello.bridge.client_state import ClientState
from cervello.bridge.codes import BadFrame, Code, Refusal, bad_request
from cervello.bridge.compiled_answer import WORTH_IT, CompiledAnswer
from cervello.bridge.envelope import Message, answer, decode, refuse
from cervello.bridge.handshake import check_hello
from cervello.bridge.job import WITH_AGENTS, Job
from cervello.bridge.layout_cache import LayoutCache
from cervello.bridge.message_transport import MessageTransport
from cervello.bridge.request_layout import RequestLayout
from cervello.bridge.tokens import role_of
from cervello.spec import Array

if TYPE_CHECKING:
    from cervello.bridge.server_state import ServerState
    from cervello.bridge.worker import Worker

_log = logging.getLogger("cervello.bridge")
_REFUSED_WHEN_DRAINING = frozenset({"hello", "begin", "infer", "restore", "swap"})
_WITH_POLICY = WITH_AGENTS | {"spec", "restore", "swap"}
_METHODS = _WITH_POLICY | {"hello", "stats", "ping"}
_MOST_COMPILED = 8
_NOTIFIES = frozenset({"reward", "end"})


class Session:
    """One connection. Mutable; used on the event loop only.

    Attributes:
      client: the state that policies use; None before `hello`.
      opened_s, heard_s: when it began and when its last frame came, on `time.monotonic`.
      closed: nothing more is received or sent.
      waiting: messages that policies process.
      compiled: compiled calls by the length of the frames that they may answer.
    """

    def __init__(self, server: ServerState, transport: MessageTransport):
        self.server, self._transport = server, transport
        self.client: ClientState | None = None
        self.opened_s = self.heard_s = time.monotonic()
        self.closed = False
        self.waiting: set[Job] = set()
        self.compiled: dict[int, CompiledAnswer] = {}
        self._deferred_stats: list[tuple[int, set[Job]]] = []  # `stats`, each with the messages before it that are not done
        self._in_flight: set[int] = set()
        self._queued_bytes = 0
        self._roles: tuple[str, ...] = ()
        self._layouts = LayoutCache()

    @property
    def n_waiting(self) -> int:
        """Number of messages that policies process."""
        return len(self.waiting)

    # Receiving ----------------------------------------------------------------------------------------------------------

    def receive(self, body: bytes, received_s: float, alone: bool = True) -> None:
        """Receives a body whose last byte came at `received_s` on `time.perf_counter`. `alone`: no other body came with it."""
        if self.closed:
            return
        self.heard_s = time.monotonic()
        layout = self._layouts.find(body)
        if layout is not None and self._infer_by_layout(layout, body, received_s, alone):
            return
        try:
            message = decode(body, self.server.limits.values)
            if message.id is None and self.client is None:
                raise BadFrame("expected hello first, got a notify")
            if message.id in self._in_flight:
                raise BadFrame(f"expected an id that is not in flight, got {message.id}")
        except (BadFrame, ValueError, RecursionError) as error:
            self.bad_frame(str(error) if isinstance(error, BadFrame) else "expected a message of msgpack, got something else")
            return
        if message.id is None:
            self._notify(message, len(body), received_s)
        else:
            self._request(message, message.id, body, received_s)

    def bad_frame(self, text: str) -> None:
        """Sends the error and closes."""
        if self.closed:
            return
        _log.info("connection of %s: bad frame: %s", self.name, text)
        self.server.bad_frames += 1
        self._transport.send(refuse(None, Code.BAD_FRAME, text))
        self.end(1002)

    def _infer_by_layout(self, layout: RequestLayout, body: bytes, received_s: float, alone: bool) -> bool:
        """Processes a request of known layout. Returns False, without any effect, when it needs the ordinary path."""
        server, client, number = self.server, self.client, int.from_bytes(body[layout.id_start:layout.id_stop], "big")
        assert client is not None
        if server.draining:
            return False
        worker = server.workers[layout.policy]
        if alone and not self.waiting and worker.expects_only(client):  # nothing is in flight then
            reply = worker.answer_at_once(layout, number, body, received_s)
            if reply is not None:
                self._transport.send(reply)
                server.busy_poll.answered()
                if self._transport.receive_buffer is not None and worker.may_run_on_loop:
                    self._note_answer(worker, layout, self._transport.receive_buffer)
                return True
        limits = server.limits
        if (number in self._in_flight or len(self._in_flight) >= limits.in_flight
                or self._queued_bytes + len(body) > limits.queued_bytes):
            return False
        job = Job(self, client, number, "infer", None, layout.agents, len(body), received_s, layout, body)
        self._in_flight.add(number)
        self._queued_bytes += len(body)
        self.waiting.add(job)
        worker.put(job)
        return True

    def _note_answer(self, worker: Worker, layout: RequestLayout, receive_buffer: Array) -> None:
        """Counts a request that was answered at once; repeated ones of one layout get a compiled call."""
        layout.n_answered += 1
        if layout.n_answered % WORTH_IT == 0:
            compiled = CompiledAnswer.of(self, worker, layout, receive_buffer)
            if compiled is not None:
                if len(self.compiled) >= _MOST_COMPILED:
                    self.compiled.clear()
                self.compiled[compiled.n_bytes] = compiled

    def _request(self, message: Message, number: int, body: bytes, received_s: float) -> None:
        last = self.client is None or message.method == "hello"
        try:
            if self.client is None:
                if message.method != "hello":
                    raise Refusal(Code.NOT_AUTHORISED, f"method {message.method[:40]!r}: expected hello first")
                accepted = check_hello(self.server, message)
                self._roles = accepted.roles
                self.client = self.server.open_client(accepted.name, accepted.frame_bytes, "record" in accepted.roles)
                result: Mapping[str, Any] | None = accepted.reply
                last = False
            else:
                result = self._accept(message, number, body, received_s)
        except Refusal as refusal:
            if self.client is not None:
                self.server.refused += 1
            self._transport.send(refuse(number, refusal.code, refusal.text, refusal.data))
            if last:
                self.end(1008)
            return
        except Exception as error:
            name = self.server.internal_error(error, message.method)
            self._transport.send(refuse(number, Code.INTERNAL, f"internal error {name}; the server's log has the rest"))
            if last:
                self.end(1011)
            return
        if result is not None:
            self._reply(number, result)

    def _accept(self, message: Message, number: int, body: bytes, received_s: float) -> Mapping[str, Any] | None:
        """The answer; None when a policy answers later.

        Raises:
          Refusal: the first code that fits.
        """
        server, client, method = self.server, self.client, message.method
        assert client is not None
        if server.draining and method in _REFUSED_WHEN_DRAINING:
            raise Refusal(Code.DRAINING, "expected a server that goes on, got one that is going away; nothing was done, connect to another")
        self._check_room(len(body))
        if method not in _METHODS:
            raise Refusal(Code.UNKNOWN_METHOD, f"method: expected one of the protocol's, got {method[:60]!r}")
        self._check_role(method)
        if method == "hello":
            raise bad_request("hello", "expected one hello, got a second")
        if method not in _WITH_POLICY:
            if message.refusal is not None:
                raise message.refusal
            if method == "stats" and self.waiting:  # it tells what came of the messages before it
                self._in_flight.add(number)
                self._deferred_stats.append((number, set(self.waiting)))
                return None
            return {} if method == "ping" else server.stats(client)
        job = Job.of(self, client, server.policies, message, len(body), received_s)
        if method == "spec":
            return server.spec(str(message.params["policy"]))
        if method == "infer":
            self._layouts.observe(job, body)
        self._in_flight.add(number)
        self._put(job)
        return None

    def _notify(self, message: Message, n_bytes: int, received_s: float) -> None:
        client = self.client
        assert client is not None
        try:
            if message.method not in _NOTIFIES:
                raise Refusal(Code.UNKNOWN_METHOD, "notify: expected reward or end")
            self._check_room(n_bytes, request=False)
            self._check_role(message.method)
            self._put(Job.of(self, client, self.server.policies, message, n_bytes, received_s))
        except Refusal as refusal:
            client.refused_notifies += 1
            self.server.refused += 1
            _log.info("connection of %s: notify refused: %s", self.name, refusal.text)

    def _check_room(self, n_bytes: int, request: bool = True) -> None:
        limits = self.server.limits
        if (request and len(self._in_flight) >= limits.in_flight) or self._queued_bytes + n_bytes > limits.queued_bytes:
            raise Refusal(Code.TOO_BUSY, f"expected at most {limits.in_flight} requests and {limits.queued_bytes} bytes in flight, got "
                          "more; nothing was done, try again")

    def _check_role(self, method: str) -> None:
        if role_of(method) not in self._roles:
            raise Refusal(Code.NOT_AUTHORISED, f"method {method!r}: expected the role {role_of(method)!r}, got {','.join(self._roles)!r}")

    def _put(self, job: Job) -> None:
        self._queued_bytes += job.n_bytes
        self.wait_for(job)
        self.server.workers[job.params["policy"]].put(job)

    # Sending -----------------------------------------------------------------------------------------------------------

    def wait_for(self, job: Job) -> None:
        """Notes a message that goes to a policy."""
        self.waiting.add(job)

    def done(self, job: Job) -> None:
        """Takes a finished message from a policy and sends its reply."""
        self.waiting.discard(job)
        self.heard_s = time.monotonic()  # a client that was waiting for this was not idle
        self._queued_bytes -= job.n_bytes
        if job.id is not None:
            self._in_flight.discard(job.id)
        if job.layout is not None:
            self._layouts.store(job)
        if job.reply is not None and not self.closed:
            self._transport.send(job.reply)
        if self._deferred_stats:
            self._send_stats(job)

    def _send_stats(self, job: Job) -> None:
        for number, before in list(self._deferred_stats):
            before.discard(job)
            if not before and self.client is not None:
                self._deferred_stats.remove((number, before))
                self._in_flight.discard(number)
                if not self.closed:
                    self._reply(number, self.server.stats(self.client))

    def _reply(self, number: int, result: Mapping[str, Any]) -> bool:
        """Sends an answer, or an error when it cannot be sent; returns whether the answer was sent."""
        body = answer(number, result)
        most = self.client.frame_bytes if self.client is not None else self.server.limits.frame_bytes
        fits = len(body) <= most
        if not fits:
            body = refuse(number, Code.BAD_REQUEST, f"frame_bytes: expected a reply of at most {most} bytes, got {len(body)}",
                          {"field": "frame_bytes"})
        self._transport.send(body)
        return fits

    @property
    def name(self) -> str:
        """The client's name in the log."""
        return "an unknown client" if self.client is None else repr(self.client.name)

    def drain(self, force: bool) -> bool:
        """Closes for shutdown when no work is left; returns whether the connection is closed."""
        if not self.closed and (force or (not self.n_waiting and (self.client is None or not self.client.n_agents))):
            self._transport.send(refuse(None, Code.DRAINING, "the server is going away"))
            self.end(1001)
        return self.closed

    def end(self, reason: int) -> None:
        """Stops receiving, and closes when all is sent."""
        if not self.closed:
            self.closed = True
            self._transport.close(reason)

    def abort(self, why: str) -> None:
        """Closes at once."""
        if not self.closed:
            self.closed = True
            _log.info("connection of %s: closed: %s", self.name, why)
        self._transport.abort()

    def forget_swapped(self) -> None:
        """Drops compiled calls of swapped policies."""
        for n_bytes in [n_bytes for n_bytes, each in self.compiled.items() if each.is_stale]:
            del self.compiled[n_bytes]

    def lost(self) -> None:
        """Ends the session after the connection has closed."""
        self.closed = True
        self.compiled.clear()
        self.server.remove(self)
