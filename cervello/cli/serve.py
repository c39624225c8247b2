"""`cervello serve`: serves a folder of policies to games over sockets."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cervello.cli import options
from cervello.cli.terminal import Terminal
from cervello.errors import ConfigurationError

if TYPE_CHECKING:
    from cervello.bridge import Options

SUMMARY = "serve a folder of policies to games over TCP, Unix sockets and WebSockets"
EXAMPLES: tuple[str, ...] = ("cervello serve brains/ --listen tcp://127.0.0.1:5577 --record episodes/",
                              "cervello serve brains/ --listen ws://127.0.0.1:5578",
                              "cervello serve --demo")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = ("brains/ holds NAME.onnx, each with a NAME.toml or not; files that are written again are taken over. One line "
                     "'listening ADDRESS' per address goes to stdout, the log as JSON lines to stderr. Exit status: 0 after SIGTERM or "
                     "Ctrl-C when everything was done in time, 1 when something was given up, 2 for an error of the options or files.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", help="policies, NAME.onnx each")
    what.add_argument("--demo", action="store_true", help="serve the policies of cervello demo: grazer, hunter and scout")
    parser.add_argument("--listen", metavar="ADDRESS", action="append", default=[],
                        help="tcp://host:port, unix:/path or ws://host:port; port 0 takes a free one; may be repeated "
                             "(default: tcp://127.0.0.1:5577)")
    parser.add_argument("--token-file", metavar="F", type=Path, help="tokens, one a line, with roles behind (TOKEN infer,record); needed "
                                                                     "beyond this machine")
    parser.add_argument("--allow-origin", metavar="O", action="append", default=[],
                        help="origin of web pages that may connect, as https://game.example; may be repeated")
    parser.add_argument("--config", metavar="F", type=Path, help="these options in TOML; those given here count more")
    parser.add_argument("--max-wait-us", metavar="N", type=_microseconds,
                        help="microseconds that a request may wait for others to share its batch (default: 0)")
    parser.add_argument("--busy-poll-us", metavar="N", type=_microseconds,
                        help="microseconds that the server polls for a client's next request before it sleeps, where that is faster; "
                             "0 switches polling off (default: 200)")
    parser.add_argument("--record", metavar="DIR", type=Path, help="record episodes there (default: nothing is recorded)")
    parser.add_argument("--ready-file", metavar="F", type=Path, help="written with the addresses, as a JSON list, once all are open")
    parser.add_argument("--drain-s", metavar="S", type=options.seconds,
                        help="seconds that requests in flight have when it is told to stop (default: 5)")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="Prometheus metrics at /metrics, and /health and /ready")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info",
                        help="least weight of what is logged (default: info)")


def _microseconds(text: str) -> int:
    return options.whole(text, 0, 10_000_000)


class _Lines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, Any] = {"time": round(record.created, 3), "level": record.levelname.lower(), "logger": record.name,
                                 "message": record.getMessage()}
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=False)


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    from cervello.bridge.config import options as configured

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    root = logging.getLogger("cervello")
    root.addHandler(handler)
    root.setLevel(arguments.log_level.upper())
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(handler)
    folder = arguments.folder
    if arguments.demo:
        from cervello.demo import policy_path

        folder = policy_path("scout").parent
    elif folder.is_file():
        raise ConfigurationError(f"serve: expected a folder of policies, got the file {str(folder)!r}; put it into a folder and name that")
    chosen = configured(folder, arguments.config, {
        "listen": arguments.listen, "token_file": arguments.token_file, "allow_origin": arguments.allow_origin,
        "max_wait_us": arguments.max_wait_us, "record": arguments.record, "ready_file": arguments.ready_file, "drain_s": arguments.drain_s,
        "metrics": arguments.metrics, "busy_poll_us": arguments.busy_poll_us})
    try:
        whole = _run(chosen)
    finally:
        root.removeHandler(handler)
        logging.getLogger("py.warnings").removeHandler(handler)
        logging.captureWarnings(False)
    return 0 if whole else 1


def _run(chosen: Options) -> bool:
    import asyncio

    try:
        from uvloop import new_event_loop
    except ImportError:
        from cervello.bridge.busy_poll import new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        found: bool = runner.run(_serve(chosen))
    return found


async def _serve(chosen: Options) -> bool:
    import asyncio
    import signal

    from cervello.bridge import Server

    start = time.monotonic()
    log = logging.getLogger("cervello.serve")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    server = await Server.start(chosen)
    for address in server.addresses:
        print(f"listening {address}", flush=True)
    log.info("serving %s from %s after %.2f s, server id %d%s", ", ".join(server.state.policies), chosen.folder, time.monotonic() - start,
             server.state.server_id, "" if server.metrics_address is None else f", metrics at {server.metrics_address}/metrics")
    await stop.wait()
    log.info("draining")
    whole = await server.drain()
    log.info("stopped%s", "" if whole else ", something was given up")
    return whole
