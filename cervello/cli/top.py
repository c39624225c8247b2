"""`cervello top`: statistics of a server, refreshed at an interval."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from cervello.cli import options
from cervello.cli.formatting import plain, plural
from cervello.cli.terminal import Terminal

SUMMARY = "watch a server: policies, agents, requests, latencies"
EXAMPLES: tuple[str, ...] = ("cervello top tcp://127.0.0.1:5577 --interval 2",)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="tcp://host:port or unix:/path")
    parser.add_argument("--token", metavar="T", help="one of the server's --token-file (default: none)")
    parser.add_argument("--interval", metavar="S", type=options.seconds, default=1.0, help="seconds between looks (default: 1)")
    parser.add_argument("-n", "--count", metavar="N", type=options.rounds, help="looks (default: until Ctrl-C)")
    parser.add_argument("--json", action="store_true", help="print the server's figures as a JSON object a line, one per look")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello.bridge import Client

    with Client(arguments.address, name="cervello top", token=arguments.token) as client:
        before: dict[str, Any] | None = None
        looked_s = time.monotonic()
        shown = 0
        while True:
            stats = client.stats()
            now = time.monotonic()
            if arguments.json:
                terminal.write(json.dumps(stats, allow_nan=False))
                sys.stdout.flush()  # each reading at once, also into a pipe
            else:
                terminal.print(f"{plain(arguments.address)}: {plural(stats['connections'], 'connection')}")
                terminal.print(_table(terminal, stats["policies"], before, now - looked_s))
            before, looked_s, shown = stats["policies"], now, shown + 1
            if arguments.count is not None and shown >= arguments.count:
                return
            time.sleep(arguments.interval)


def _table(terminal: Terminal, policies: dict[str, Any], before: dict[str, Any] | None, seconds: float) -> Any:
    table = terminal.table(["~policy", "?>version", ">agents", "?>queued", "?>requests/s", ">rows/s", "?>rows/batch", ">skipped", ">errors",
                            ">p50 µs", ">p99 µs"])
    for name, now in policies.items():
        was = now if before is None else before.get(name, now)
        requests, rows, batches = (now[key] - was[key] for key in ("requests", "rows", "batches"))
        table.add_row(plain(name), str(now["version"]), f"{now['agents']:,}", str(now["queued"]),
                      *("-" if before is None else f"{n / max(seconds, 1e-9):,.0f}" for n in (requests, rows)),
                      f"{rows / batches:.1f}" if batches else "-", f"{now['skipped']:,}", f"{now['errors']:,}",
                      f"{now['latency_us']['p50']:,.0f}", f"{now['latency_us']['p99']:,.0f}")
    return table
