"""Prometheus metrics, health and readiness, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from cervello.bridge.policy_counters import Histogram
from cervello.errors import ConfigurationError

if TYPE_CHECKING:
    from cervello.bridge.server_state import ServerState

_REQUEST_S = 5.0
_REQUEST_BYTES = 8192


class Metrics:
    """GET /metrics, /health (the process answers) and /ready (it accepts connections).

    Attributes:
      address: http://host:port.
    """

    def __init__(self, server: ServerState):
        self._state = server
        self._server: Any = None
        self.address = ""

    @classmethod
    async def start(cls, server: ServerState, where: str) -> Metrics:
        """Listens at host:port.

        Raises:
          ConfigurationError: no host:port, or the package prometheus-client is not installed. OSError: the address is not available.
        """
        host, colon, port = where.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ConfigurationError(f"metrics: expected host:port, got {where!r}")
        _client()
        found = cls(server)
        try:
            found._server = await asyncio.start_server(found._answer, host.strip("[]"), int(port), limit=_REQUEST_BYTES)
        except OSError as error:
            raise OSError(error.errno, f"metrics {where}: expected a free address, got {error.strerror or error}; take another "
                          "port (0 takes a free one)") from error
        found.address = f"http://{host}:{found._server.sockets[0].getsockname()[1]}"
        return found

    async def close(self) -> None:
        """Stops listening."""
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _REQUEST_S)
            words = head.split(b"\r\n", 1)[0].split(b" ")
            status, kind, body = self._page(words[1].split(b"?")[0].decode("latin-1")) if len(words) == 3 and words[0] == b"GET" else (
                "405 Method Not Allowed", "text/plain", b"GET only\n")
            writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                         + body)
            await asyncio.wait_for(writer.drain(), _REQUEST_S)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    def _page(self, path: str) -> tuple[str, str, bytes]:
        if path == "/health":
            return "200 OK", "text/plain", b"ok\n"
        if path == "/ready":
            return ("503 Service Unavailable", "text/plain", b"draining\n") if self._state.draining else (
                "200 OK", "text/plain", b"ready\n")
        if path == "/metrics":
            client = _client()
            registry = client.CollectorRegistry()
            registry.register(_Collector(self._state))
            return "200 OK", client.CONTENT_TYPE_LATEST, client.generate_latest(registry)
        return "404 Not Found", "text/plain", b"/metrics, /health, /ready\n"


class _Collector:
    def __init__(self, server: ServerState):
        self._state = server

    def collect(self) -> Any:
        server, metrics = self._state, _client().core
        yield metrics.GaugeMetricFamily("cervello_connections", "Open connections.", value=server.n_connections)
        yield metrics.CounterMetricFamily("cervello_bad_frames", "Connections closed after a bad frame.", value=server.bad_frames)
        yield metrics.CounterMetricFamily("cervello_refused", "Messages refused before a policy saw them.", value=server.refused)
        totals = {"requests": "Messages done.", "rows": "Rows inferred.", "skipped": "Agents skipped.", "errors": "Messages refused.",
                  "reloads": "New files taken."}
        for name, text in totals.items():
            family = metrics.CounterMetricFamily(f"cervello_{name}", text, labels=["policy"])
            for policy, served in server.policies.items():
                family.add_metric([policy], getattr(served.counters, name))
            yield family
        for name, text in (("agents", "Agents that have begun."), ("queued", "Messages that wait."), ("version", "Version that decides.")):
            gauge = metrics.GaugeMetricFamily(f"cervello_{name}", text, labels=["policy"])
            for policy, served in server.policies.items():
                value = {"agents": served.n_agents, "queued": len(server.workers[policy]), "version": served.policy.version}[name]
                gauge.add_metric([policy], value)
            yield gauge
        for name, text in (("queue_s", "Seconds from a frame's last byte to its run."), ("inference_s", "Seconds of a batch."),
                           ("batch_rows", "Rows of a batch.")):
            known = {"queue_s": "queue_seconds", "inference_s": "inference_seconds"}.get(name, name)
            histogram = metrics.HistogramMetricFamily(f"cervello_{known}", text, labels=["policy"])
            for policy, served in server.policies.items():
                served.counters.flush()
                found: Histogram = getattr(served.counters, name)
                sums = [sum(found.counts[:i + 1]) for i in range(len(found.counts))]
                bounds = [*map(str, map(float, found.bounds)), "+Inf"]
                histogram.add_metric([policy], list(zip(bounds, sums, strict=True)), found.total)
            yield histogram


def _client() -> Any:
    try:
        import prometheus_client
        import prometheus_client.core
    except ImportError as error:
        raise ConfigurationError("metrics: expected the package prometheus-client, found none; install the extra 'serve'") from error
    return prometheus_client
