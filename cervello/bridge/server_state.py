"""The state that all connections of a server share: policies and their threads, limits, tokens."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cervello.agents import Policy, Watch, watch
from cervello.bridge import compiled_answer
from cervello.bridge.busy_poll import BUSY_POLL_US, BusyPoll
from cervello.bridge.client_state import ClientState
from cervello.bridge.dispatcher import CLOSED
from cervello.bridge.job import Job
from cervello.bridge.limits import Limits
from cervello.bridge.message_transport import MessageTransport
from cervello.bridge.served_policy import ServedPolicy
from cervello.bridge.session import Session
from cervello.bridge.tokens import Tokens
from cervello.bridge.worker import Worker
from cervello.errors import ConfigurationError

_log = logging.getLogger("cervello.bridge")
_HELD_NAMES = 1 << 16  # names of clients whose connections are counted


class ServerState:
    """A server without its sockets. Used on the event loop, except `deliver` and `join`.

    Args:
      policies: by name, with their files.
      folder: swaps may load files of this folder only.
      busy_poll_us: microseconds of busy polling after an answer, at most; 0 switches it off.
    Attributes:
      name, server_id: name and id in the answer to `hello`; every process has its own id.
      draining: the server is shutting down.
      n_handshakes: WebSocket connections whose HTTP handshake is not done.
    """

    def __init__(self, policies: Mapping[str, tuple[Policy, Path]], folder: Path, *, limits: Limits, tokens: Tokens, max_wait_us: int,
                 record: Path | None, name: str, busy_poll_us: int = BUSY_POLL_US):
        self.limits, self.tokens, self.name = limits, tokens, name
        self.server_id = secrets.randbelow((1 << 32) - 1) + 1
        self.began_s = time.monotonic()
        self.draining = False
        self.bad_frames = self.refused = self.internal_errors = 0
        self._loop = asyncio.get_running_loop()  # a client may connect before all listeners are open
        self.busy_poll = BusyPoll(self._loop, busy_poll_us)
        self.sessions: set[Session] = set()
        self.n_handshakes = 0
        self._names: dict[str, int] = {}
        self._floor = 0
        compiled_answer.link_kernels()  # before recordings are open, since it may fail
        self.policies = _served(policies, folder, record, self.server_id)
        self.workers = {name: Worker(served, self.deliver, max_wait_us) for name, served in self.policies.items()}
        self._watches: list[Watch] = []

    # Connections --------------------------------------------------------------------------------------------------------

    def connect(self, transport: MessageTransport) -> Session:
        """Adds a connection."""
        session = Session(self, transport)
        self.sessions.add(session)
        return session

    @property
    def n_connections(self) -> int:
        """Connections that have said hello."""
        return sum(session.client is not None and not session.closed for session in self.sessions)

    @property
    def is_full(self) -> bool:
        """Whether there are so many connections that a new one is closed before `hello`."""
        return len(self.sessions) + self.n_handshakes >= 2 * self.limits.connections + 16

    def open_client(self, name: str, frame_bytes: int, records: bool) -> ClientState:
        """Makes the state of a client after its `hello`."""
        n_earlier = self._names.get(name, self._floor)
        self._names[name] = n_earlier + 1
        if len(self._names) > _HELD_NAMES:  # a name that is forgotten must not count from 0 again
            self._floor = max(self._names.values())
            self._names.clear()
        return ClientState(name, n_earlier, frame_bytes, records, self.limits.agents)

    def remove(self, session: Session) -> None:
        """Removes a closed connection. Its agents end after all requests that it has sent."""
        if session not in self.sessions:
            return
        self.sessions.discard(session)
        if session.client is not None:
            for worker in self.workers.values():
                job = Job(session, session.client, None, CLOSED, {}, None, 0, time.perf_counter())
                session.wait_for(job)
                worker.put(job)

    # Threads of policies --------------------------------------------------------------------------------------------------

    def start(self, interval_s: float = 0.5) -> None:
        """Starts watching the files of policies."""
        for served in self.policies.values():
            def on_swap(_: Policy, served: ServedPolicy = served) -> None:
                served.counters.reloads += 1

            self._watches.append(watch(served.path, served.policy, interval_s=interval_s, on_swap=on_swap, accept=served.check_successor,
                                       ).seen().start())

    def deliver(self, worker: Worker, jobs: Sequence[Job]) -> None:
        """Passes finished messages to the event loop; called on a policy's thread."""
        try:
            self._loop.call_soon_threadsafe(worker.done, jobs)
        except RuntimeError:  # the loop is closed, and all connections with it
            _log.debug("replies after the end")

    def close(self) -> None:
        """Ends the threads and closes recordings, after all messages that have arrived; does not wait."""
        for worker in self.workers.values():
            worker.close()

    def join(self, timeout_s: float) -> bool:
        """Waits for the ends of the threads, on any thread; returns whether all ended in time."""
        for each in self._watches:
            each.stop()
        until = time.monotonic() + timeout_s
        ended = [worker.join(max(0.0, until - time.monotonic())) for worker in self.workers.values()]
        return all(ended)

    # Facts --------------------------------------------------------------------------------------------------------------

    def spec(self, policy: str) -> Mapping[str, Any]:
        """The answer to `spec`."""
        return self.policies[policy].signature.spec

    def stats(self, client: ClientState) -> Mapping[str, Any]:
        """The answer to `stats`."""
        return {"connections": self.n_connections, "agents": client.n_agents, "refused_notifies": client.refused_notifies,
                "uptime_s": round(time.monotonic() - self.began_s, 3), "policies": self.policy_stats()}

    def policy_stats(self) -> dict[str, Any]:
        """The policies in the answer to `stats`."""
        return {name: {**served.stats(), "queued": len(self.workers[name])} for name, served in self.policies.items()}

    def internal_error(self, error: BaseException, method: str) -> str:
        """Logs an unexpected error and returns its id in the log."""
        name = uuid.uuid4().hex[:12]
        self.internal_errors += 1
        _log.error("internal error %s: %s", name, method[:60], exc_info=error)
        return name


def _served(policies: Mapping[str, tuple[Policy, Path]], folder: Path, record: Path | None, server_id: int) -> dict[str, ServedPolicy]:
    """Policies that are ready to be served, by name. When one of them is refused, no recording stays open.

    Raises:
      ConfigurationError: a policy that cannot be served, or no folder for recordings. RecordingError: a log that cannot be written.
    """
    if record is not None:
        try:
            record.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            got = "a file" if record.exists() else error.strerror or error
            raise ConfigurationError(f"record {str(record)!r}: expected a folder, or nothing yet, got {got}; name another place") from error
    found: dict[str, ServedPolicy] = {}
    try:
        for name, (policy, path) in policies.items():
            found[name] = ServedPolicy(name, policy, path, folder, record, server_id)
    except BaseException:
        for served in found.values():
            if served.recorder is not None:
                served.recorder.close()
        raise
    return found
