"""A million agents of one recurrent policy begin, decide and end, generation after generation; and what a snapshot of a crowd takes.

    python benchmarks/crowd.py [--agents 1000000] [--generations 10] [--output FILE]

Every generation begins all agents at once, ticks them batch by batch, and ends them in random order in as many parts. Memory is what
Python and numpy have allocated with everybody there and with nobody there, from the second generation on compared with the first (ids are
fresh ints each time), and the process' resident set. Goals: begin and end below 1 µs per agent; no growth; 10,000 agents of 256 floats
saved, saved to a buffer, and restored in less than 5 ms each. Exits with 1 when one is missed.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import tracemalloc
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table
from timing import machine, write_json

from cervello import Model, Policy, Recurrent

GOALS = {"begin_us": 1.0, "end_us": 1.0, "growth": 0.01, "save_ms": 5.0, "save_to_buffer_ms": 5.0, "restore_ms": 5.0}
SAVED_AGENTS, SAVED_FLOATS = 10_000, 256


def model(width: int, hidden: int) -> Model:
    """obs [N, width], h_in [N, hidden] → action [N, 2], h_out = tanh(obs W + h_in * u)."""
    random = np.random.default_rng(0)
    stored = {"w": random.standard_normal((width, hidden)) * 0.3, "u": random.standard_normal(hidden) * 0.3,
              "v": random.standard_normal((hidden, 2)) * 0.3}
    nodes = [helper.make_node("MatMul", ["obs", "w"], ["x"]), helper.make_node("Mul", ["h_in", "u"], ["kept"]),
             helper.make_node("Add", ["x", "kept"], ["sum"]), helper.make_node("Tanh", ["sum"], ["h_out"]),
             helper.make_node("MatMul", ["h_out", "v"], ["action"])]
    sides = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in side]
             for side in ([("obs", width), ("h_in", hidden)], [("action", 2), ("h_out", hidden)])]
    graph = helper.make_graph(nodes, "crowd", *sides, [numpy_helper.from_array(a.astype(np.float32), n) for n, a in stored.items()])
    return Model.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def resident_bytes() -> int:
    """The process' resident set; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text(encoding="utf-8").split()[1]) * 4096 if statm.is_file() else 0


def generation(policy: Policy, n_agents: int, n_batch: int, first: int, random: np.random.Generator) -> dict[str, float]:
    """Begins, ticks and ends everybody once: seconds, and bytes with everybody there."""
    ids = np.arange(first, first + n_agents)
    batches = [ids[at:at + n_batch] for at in range(0, n_agents, n_batch)]
    columns = {"obs": np.ones((n_batch, policy.inputs["obs"].shape[0]), np.float32)}
    out = {"action": np.zeros((n_batch, 2), np.float32)}
    shuffled = random.permutation(ids)
    gc.collect()
    start = time.perf_counter()
    policy.begin_agents(ids)
    begun = time.perf_counter()
    for batch in batches:
        n = len(batch)
        policy.infer_batch(batch, {"obs": columns["obs"][:n]}, out={"action": out["action"][:n]})
    ticked = time.perf_counter()
    held = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    resident = resident_bytes()
    ending = time.perf_counter()
    for at in range(0, n_agents, n_batch):
        policy.end_agents(shuffled[at:at + n_batch])
    ended = time.perf_counter()
    assert not len(policy)
    return {"begin_s": begun - start, "tick_s": ticked - begun, "end_s": ended - ending, "held_bytes": held, "resident_bytes": resident}


def memory(n_agents: int, n_batch: int, generations: int) -> dict[str, Any]:
    """Bytes with everybody and with nobody there, generation by generation."""
    random, policy = np.random.default_rng(1), Policy(model(8, 16), wrappers=[Recurrent()])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    full, empty = [], []
    for number in range(generations):
        full.append(generation(policy, n_agents, n_batch, number * n_agents, random)["held_bytes"] - before)
        gc.collect()
        empty.append(tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()
    # The second generation sets the mark: in the first, tables grow step by step and caches are filled.
    growth = max(max(each[1:]) / each[1] - 1 for each in (full, empty)) if generations > 1 else 0.0
    return {"full_bytes": full, "empty_bytes": empty, "bytes_per_agent": max(full) / n_agents, "growth": growth}


def timing(n_agents: int, n_batch: int, generations: int) -> dict[str, Any]:
    """Microseconds per agent, medians over generations, and the resident set."""
    random, policy = np.random.default_rng(1), Policy(model(8, 16), wrappers=[Recurrent()])
    start = resident_bytes()
    found = [generation(policy, n_agents, n_batch, number * n_agents, random) for number in range(generations)]
    report: dict[str, Any] = {f"{what}_us": median(one[f"{what}_s"] for one in found) / n_agents * 1e6 for what in ("begin", "tick", "end")}
    report["slowest_us"] = {what: max(one[f"{what}_s"] for one in found) / n_agents * 1e6 for what in ("begin", "tick", "end")}
    return {**report, "resident_bytes": [one["resident_bytes"] - start for one in found]}


def snapshots(rounds: int = 15) -> dict[str, float]:
    """Milliseconds to save and restore a crowd, medians."""
    policy = Policy(model(8, SAVED_FLOATS), wrappers=[Recurrent()])
    ids = list(range(SAVED_AGENTS))
    policy.begin_agents(ids)
    policy.infer_batch(ids, {"obs": np.ones((SAVED_AGENTS, 8), np.float32)})
    state = policy.snapshot()
    room = np.zeros(len(state), np.uint8)
    taken: dict[str, list[float]] = {"save_ms": [], "save_to_buffer_ms": [], "restore_ms": []}
    for _ in range(rounds):
        for what, call in (("save_ms", policy.snapshot), ("save_to_buffer_ms", lambda: policy.snapshot(out=room)),
                           ("restore_ms", lambda: policy.restore(state))):
            start = time.perf_counter()
            call()
            taken[what].append((time.perf_counter() - start) * 1e3)
    assert policy.snapshot() == state
    return {"bytes": len(state), **{what: median(times) for what, times in taken.items()}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--agents", type=int, default=1_000_000, help="per generation (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=100_000, help="agents per tick and per end (default: %(default)s)")
    parser.add_argument("--generations", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args()
    facts = machine(["cervello", "numpy", "numba"])
    console = Console()
    console.print(" · ".join(f"{name} {value}" for name, value in facts.items()))
    saved = snapshots()  # first, as in a game that never had a million agents: their heap lies behind them
    report = {"machine": facts, "agents": options.agents, "batch": options.batch, "generations": options.generations,
              "time": timing(options.agents, options.batch, options.generations),
              "memory": memory(options.agents, options.batch, options.generations), "snapshot": saved}
    found = {**report["time"], **report["memory"], **report["snapshot"]}
    missed = [name for name, most in GOALS.items() if found[name] > most]
    table = Table("what", "found", "goal")
    for name in ("begin_us", "tick_us", "end_us", "bytes_per_agent", "growth", "save_ms", "save_to_buffer_ms", "restore_ms"):
        table.add_row(name, f"{found[name]:.3f}", f"{GOALS[name]}" if name in GOALS else "", style="red" if name in missed else None)
    console.print(table)
    mib = [[round(n / (1 << 20)) for n in numbers] for numbers in (found["full_bytes"], found["empty_bytes"], found["resident_bytes"])]
    console.print(f"MiB by generation: everybody there {mib[0]}, nobody there {mib[1]}, resident {mib[2]}")
    console.print(f"missed: {missed or 'none'}")
    if options.output:
        write_json(options.output, report)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
