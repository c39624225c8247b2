"""The bridge on loopback, with its yardsticks timed in the same run.

    python benchmarks/bridge.py [--rounds 9] [--seconds 3] [--output FILE]

one     one client asks for 16 agents × 8 floats, in alternation over TCP, a Unix socket and a WebSocket, and a bare framed asyncio echo of
        the same bytes (request and reply of the same lengths). Goals: p50 over TCP at most 1.5 times the echo's, p99 at most 3 times; a
        Unix socket no slower than TCP; a WebSocket at most twice TCP. A round trip between two processors costs several times that on one,
        since the other processor must be woken. So the client and all servers are placed: the servers on another processor than the client
        ("two processors"), and on the same one ("one processor"). The goals are for each. Where the scheduler places them ("free") by
        chance is shown beside, without goals: there one server may have the short way and the other the long one.
many    64 clients × 32 agents at once, against the usual way of game plugins: one JSON-over-TCP loop per client and one run of the same
        model per agent by onnxruntime. Goal: at least 20 times its agent-steps per second. Rows per batch are shown, and the ratio to
        the same loops with Cervello's own `Model.run`.

All is done on asyncio's own event loop, and again on uvloop where it is installed; a yardstick has the loop of the server that it is for.
Beside a uvloop server's ratio to an echo on uvloop stands its ratio to an echo on asyncio: the goal names an asyncio echo. All servers are
processes of their own. The clients of `one` are blocking sockets with requests that are packed before; those of `many` are one thread's:
one selector drives all 64, the same for both servers. Needs onnxruntime. Exits with 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import selectors
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from bridge_yardsticks import Beside, Stream, WebSocket, echo, json_loops
from rich.console import Console
from rich.table import Table
from timing import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import small_models
from server_process import ServerProcess

from cervello.bridge.framing import framed

AGENTS, WIDTH = 16, 8
CLIENTS, CROWD = 64, 32
GOALS = {"tcp p50 / echo p50": 1.5, "tcp p99 / echo p99": 3.0, "unix p50 / tcp p50": 1.0, "ws p50 / tcp p50": 2.0}
LEAST_RATIO = 20.0
PLACEMENTS = {"two processors": (0, 1), "one processor": (0, 0), "free": None}  # of the client and of the servers
_TIMES = 3  # that the bridge and the usual way are timed, in turn
SLACK = 1.05  # of "no slower": what two runs of the same differ by


def model() -> bytes:
    return small_models.feed_forward(width=WIDTH, hidden=64, actions=2)


def hello(ask: Callable[[bytes], bytes], n_agents: int) -> None:
    for number, (method, params) in enumerate((("hello", {"version": 1, "client": "bench"}),
                                               ("begin", {"policy": "walk", "agents": list(range(n_agents))}))):
        assert msgpack.unpackb(ask(msgpack.packb([0, number, method, [params]])))[2] is None


def infer(n_agents: int, seed: int) -> bytes:
    rows = np.random.default_rng(seed).standard_normal((n_agents, WIDTH)).astype("<f4")
    body: bytes = msgpack.packb([0, 7, "infer", [{"policy": "walk", "agents": list(range(n_agents)), "inputs": {"obs": rows.tobytes()}}]])
    return body


def _placements() -> dict[str, tuple[int, int] | None]:
    """The placements that this machine has."""
    if hasattr(os, "sched_setaffinity") and os.path.isdir("/proc/self/task") and len(os.sched_getaffinity(0)) > 1:
        return PLACEMENTS
    return {"free": None}


@contextlib.contextmanager
def _placed(placement: tuple[int, int] | None, servers: Sequence[int]) -> Iterator[None]:
    """Binds this process, and all threads of servers, to their processors; `servers`: process ids."""
    if placement is None:
        yield
        return
    every = os.sched_getaffinity(0)
    mine, theirs = (sorted(every)[place] for place in placement)
    for process in servers:
        for thread in os.listdir(f"/proc/{process}/task"):
            os.sched_setaffinity(int(thread), {theirs})
    os.sched_setaffinity(0, {mine})
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def one(folder: Path, rounds: int, fast: bool, placement: tuple[int, int] | None) -> dict[str, dict[str, float]]:
    """Microseconds of a round trip by transport: p50 and p99, the median over rounds."""
    listen = ["tcp://127.0.0.1:0", f"unix:{folder.parent}/s", "ws://127.0.0.1:0"]
    body = infer(AGENTS, 0)
    with ServerProcess(folder, listen=listen, uvloop=fast) as server:
        asks = {"tcp": Stream(server.addresses[0]).ask, "unix": Stream(server.addresses[1]).ask, "ws": WebSocket(server.addresses[2]).ask}
        for ask in asks.values():
            hello(ask, AGENTS)
        reply = asks["tcp"](body)
        with Beside(echo, (framed(reply), False)) as plain, Beside(echo, (framed(reply), fast)) as same:
            asks["echo"] = Stream(f"tcp://127.0.0.1:{plain.port}").ask
            if fast:
                asks["echo, uvloop"] = Stream(f"tcp://127.0.0.1:{same.port}").ask
            with _placed(placement, [server.process.pid, plain.pid, same.pid]):
                found = _timed(asks, body, rounds)
    return {name: {"p50_us": float(np.median([p50 for p50, _ in all_])), "p99_us": float(np.median([p99 for _, p99 in all_]))}
            for name, all_ in found.items()}


def _timed(asks: Mapping[str, Callable[[bytes], bytes]], body: bytes, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Microseconds, p50 and p99, by server and round, in alternation."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in asks}
    for round_ in range(rounds + 1):
        for name, ask in asks.items():
            took = []
            for _ in range(1000):
                start = time.perf_counter()
                ask(body)
                took.append(time.perf_counter() - start)
            if round_:  # the first one warms up
                found[name].append((float(np.percentile(took, 50)) * 1e6, float(np.percentile(took, 99)) * 1e6))
    return found


def crowd(port: int, seconds: float, greet: Callable[[socket.socket], None], request: Callable[[int], bytes],
          length: Callable[[bytes], int]) -> float:
    """Agent-steps per second of 64 clients, each of which asks again as soon as it has its answer."""
    selector = selectors.DefaultSelector()
    buffers: dict[socket.socket, bytes] = {}
    asks: dict[socket.socket, bytes] = {}
    for i in range(CLIENTS):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        greet(sock)
        buffers[sock], asks[sock] = b"", request(i)
        selector.register(sock, selectors.EVENT_READ)
    for sock, ask in asks.items():
        sock.sendall(ask)
    done, start, warm = 0, time.perf_counter(), False
    while (now := time.perf_counter()) < start + seconds or not warm:
        if not warm and now > start + seconds / 4:
            done, start, warm = 0, now, True
        for key, _ in selector.select(5.0):
            sock: Any = key.fileobj
            buffers[sock] += sock.recv(1 << 16)
            n = length(buffers[sock])
            if n and len(buffers[sock]) >= n:
                buffers[sock] = buffers[sock][n:]
                done += 1
                sock.sendall(asks[sock])
    took = time.perf_counter() - start
    for sock in buffers:
        sock.close()
    return done * CROWD / took


def many(folder: Path, seconds: float, fast: bool) -> dict[str, float]:
    """Agent-steps per second of the bridge and of the usual way, in alternation; medians."""
    def greet(sock: socket.socket) -> None:
        stream = Stream.__new__(Stream)
        stream.socket = sock
        hello(stream.ask, CROWD)

    def frame_length(data: bytes) -> int:
        return struct.unpack_from("<I", data)[0] + 4 if len(data) >= 4 else 0

    def json_request(seed: int) -> bytes:
        rows = np.random.default_rng(seed).standard_normal((CROWD, WIDTH)).astype(np.float32)
        return json.dumps({"obs": rows.tolist()}).encode() + b"\n"

    rates, usual, ours = [], [], []
    path = str(folder / "walk.onnx")
    with (ServerProcess(folder, uvloop=fast) as server, Beside(json_loops, (path, fast, "cervello")) as own,
          Beside(json_loops, (path, fast, "onnxruntime")) as peer):
        for _ in range(_TIMES):
            rates.append(crowd(int(server.address.rsplit(":", 1)[1]), seconds, greet, lambda i: framed(infer(CROWD, i)), frame_length))
            usual.append(crowd(peer.port, seconds, lambda _: None, json_request, lambda data: data.find(b"\n") + 1))
            ours.append(crowd(own.port, seconds, lambda _: None, json_request, lambda data: data.find(b"\n") + 1))
        stream = Stream(server.address)
        hello(stream.ask, 1)
        stats = msgpack.unpackb(stream.ask(msgpack.packb([0, 9, "stats", [{}]])))[3]["policies"]["walk"]
    return {"agent_steps_per_s": float(np.median(rates)), "json_agent_steps_per_s": float(np.median(usual)),
            "ratio": float(np.median(np.array(rates) / np.array(usual))),
            "ratio_to_json_with_cervello": float(np.median(np.array(rates) / np.array(ours))),
            "rows_per_batch": stats["rows"] / stats["batches"]}


def _ratios(trips: dict[str, dict[str, float]]) -> dict[str, float]:
    p50 = {name: trip["p50_us"] for name, trip in trips.items()}
    echo = "echo, uvloop" if "echo, uvloop" in trips else "echo"
    found = {f"tcp p50 / {echo} p50": p50["tcp"] / p50[echo], f"tcp p99 / {echo} p99": trips["tcp"]["p99_us"] / trips[echo]["p99_us"]}
    if echo != "echo":
        found["tcp p50 / echo p50"] = p50["tcp"] / p50["echo"]
    return {**found, "unix p50 / tcp p50": p50["unix"] / p50["tcp"], "ws p50 / tcp p50": p50["ws"] / p50["tcp"]}


def _goal(name: str) -> float:
    goal = GOALS[name.replace(", uvloop", "")]
    return goal * SLACK if goal == 1.0 else goal


def _show(console: Console, loop: str, found: dict[str, Any]) -> None:
    for placement, trips in found["one"].items():
        table = Table(f"{loop}, {placement}: one client, 16 agents × 8 floats", "p50 µs", "p99 µs")
        for name, trip in trips.items():
            table.add_row(name, f"{trip['p50_us']:.0f}", f"{trip['p99_us']:.0f}")
        console.print(table)
        for name, ratio in found["ratios"][placement].items():
            console.print(f"{name}: {ratio:.2f}" + ("" if placement == "free" else f", at most {GOALS[name.replace(', uvloop', '')]}"))
    load = found["many"]
    console.print(f"64 clients × 32 agents: {load['agent_steps_per_s']:,.0f} agent-steps per second, {load['rows_per_batch']:.0f} rows per "
                  f"batch; JSON, one run per agent: {load['json_agent_steps_per_s']:,.0f}; "
                  f"ratio {load['ratio']:.1f}, at least {LEAST_RATIO:.0f}; where Cervello runs them: "
                  f"{load['ratio_to_json_with_cervello']:.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    loops = {"asyncio": False, **({"uvloop": True} if importlib.util.find_spec("uvloop") else {})}
    console = Console()
    results: dict[str, dict[str, Any]] = {}
    missed = []
    for loop, fast in loops.items():
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work, "brains")
            folder.mkdir()
            (folder / "walk.onnx").write_bytes(model())
            trips = {name: one(folder, options.rounds, fast, placement) for name, placement in _placements().items()}
            load = many(folder, options.seconds, fast)
        results[loop] = {"one": trips, "ratios": {name: _ratios(found) for name, found in trips.items()}, "many": load}
        _show(console, loop, results[loop])
        missed += [f"{loop}, {placement}: {name}" for placement, ratios in results[loop]["ratios"].items() if placement != "free"
                   for name, ratio in ratios.items() if ratio > _goal(name)]
        if load["ratio"] < LEAST_RATIO:
            missed.append(f"{loop}: agent-steps")
    console.print(f"missed: {', '.join(missed)}" if missed else "all goals reached")
    if options.output is not None:
        options.output.write_text(json.dumps({"machine": machine(["numpy", "msgpack", "uvloop"]), **results, "missed": missed}, indent=2))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
