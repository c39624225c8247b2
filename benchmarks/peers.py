"""Cervello beside onnxruntime, OpenVINO and tract, model by model, and beside what the machine allows.

    python benchmarks/peers.py [--models FOLDER] [--only WORD …] [--batch 1,8,64,512] [--threads 1,2] [--output FILE]

Every contender gets the same inputs (16 in rotation), the same number of threads and its turn in every round; medians. Ours is a `bind`
handle, theirs is the fastest way they have on fixed buffers: onnxruntime's io-binding (and
`run`), OpenVINO's infer request on shared tensors in float32, tract's `run`. OpenVINO's own choice of precision is shown beside and not
counted. A share of the limit is the time that the machine needs at least (multiply-adds at the register-only rate, weights once at the
bandwidth of their footprint, one empty call) over the time taken. Needs `pip install onnxruntime openvino tract`; a peer that is not
installed, or refuses a model, is left out of its cells and the report says so.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import generated
from contenders import OURS, opened, sample
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from timing import ROTATION, alternate, machine, models_folder, write_json

import cervello
from cervello.native.report import roofline

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from yardsticks import unfused

BESIDE = ("openvino bf16",)
PEERS_AT_ONCE = 6  # copies of a graph's intermediate values that are alive while a cell is timed, or nearly
_EMPTY_CALL_S = 0.2e-6


def sources(folder: Path | None, words: Sequence[str], scratch: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of every policy whose name holds one of the words; generated ones are written to `scratch`."""
    for name, make in generated.POLICIES.items():
        if not words or any(word in name for word in words):
            path = scratch / f"{name}.onnx"
            path.write_bytes(make())
            yield name, path
    if folder is not None:
        for record in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
            if record["kind"] == "valid" and (not words or any(word in record["id"] for word in words)):
                yield record["id"], folder / record["file"]


def limit_s(model: cervello.Model, n_rows: int, threads: int) -> float:
    """The least time the machine needs."""
    fixed, per_row = model.program.work
    compute = roofline.least_s(fixed + per_row * n_rows, 0) / threads
    return max(compute, roofline.least_s(0, model.weights.n_bytes)) + _EMPTY_CALL_S


def cell(path: Path, model: cervello.Model, n_rows: int, threads: int, rounds: int) -> dict[str, Any]:
    """Times of one model at one batch size."""
    given = [sample(model, n_rows, seed) for seed in range(ROTATION)]
    contenders, refused = {}, {}
    for name, make in opened(threads).items():
        try:
            calls = make(path, model, given)
            calls[0]()
            contenders[name] = calls
        except Exception as error:  # a peer may refuse in any way it likes; the report says which and why
            refused[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}" if str(error) else type(error).__name__
    times = alternate(contenders, rounds)
    peers = {name: taken for name, taken in times.items() if name != OURS and name not in BESIDE}
    best = min(peers, key=peers.__getitem__) if peers else None
    ours, least = times[OURS], limit_s(model, n_rows, threads)
    return {"batch": n_rows, "threads": threads, "times_s": times, "refused": refused, "best_peer": best,
            "ratio": peers[best] / ours if best else None, "limit_share": least / ours}


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


def summary(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the cells of one number of threads say together."""
    rated = [c for c in cells if c["ratio"] is not None]
    ratios = [c["ratio"] for c in rated]
    worst = min(rated, key=lambda c: c["ratio"], default=None)
    missed = [c for c in rated if c["ratio"] < 0.95 and c["limit_share"] < 0.85]
    return {"cells": len(rated), "geometric_mean": geometric_mean(ratios),
            "geometric_mean_batch_1": geometric_mean([c["ratio"] for c in rated if c["batch"] == 1]),
            "worst": None if worst is None else {key: worst[key] for key in ("model", "batch", "ratio", "best_peer", "limit_share")},
            "missed": [{key: c[key] for key in ("model", "batch", "ratio", "best_peer", "limit_share")} for c in missed]}


def draw(console: Console, cells: Sequence[dict[str, Any]], threads: int) -> None:
    """The table of one number of threads: ratio to the best peer, our time, share of the limit."""
    batches = sorted({c["batch"] for c in cells})
    table = Table("model", *(f"batch {n}" for n in batches), title=f"{threads} thread(s): times faster than the best peer "
                  "(our µs, share of the machine's limit)")
    for name in dict.fromkeys(c["model"] for c in cells):
        row = [name]
        for n_rows in batches:
            found = next((c for c in cells if c["model"] == name and c["batch"] == n_rows), None)
            if found is None:
                row.append("")
                continue
            ratio = found["ratio"]
            colour = "dim" if ratio is None else "red" if ratio < 0.95 and found["limit_share"] < 0.85 else ""
            text = ("alone" if ratio is None else f"{ratio:.2f}") + f" ({found['times_s'][OURS] * 1e6:.1f}, {found['limit_share']:.0%})"
            row.append(f"[{colour}]{text}[/]" if colour else text)
        table.add_row(*row)
    console.print(table)


def measure(policies: Sequence[tuple[str, Path]], arguments: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Every cell of every policy, with progress."""
    cells: list[dict[str, Any]] = []
    with Progress(console=console, transient=True, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=len(policies))
        for name, path in policies:
            progress.update(task, description=name)
            model, nodes = cervello.Model.load(path), None
            for n_rows in arguments.batch if model.batched else [1]:
                nodes = nodes or unfused(model, path)
                if PEERS_AT_ONCE * nodes.peak(n_rows) > memory_bytes():
                    print(f"left out: {name}, batch {n_rows}: without fusion it keeps {nodes.peak(n_rows) / 2**30:.1f} GiB, which does "
                          f"not fit this machine {PEERS_AT_ONCE} times", flush=True)
                    continue
                for threads in arguments.threads:
                    found = cell(path, model, n_rows, threads, arguments.rounds)
                    cells.append({"model": name, "planned": not model.slow_nodes} | found)
                    if not sys.stdout.isatty():  # a log shows how far it is
                        ratio = "alone" if found["ratio"] is None else f"{found['ratio']:.2f}"
                        print(f"{name}, batch {n_rows}, {threads} thread(s): {ratio}", flush=True)
            progress.advance(task)
    return cells


def memory_bytes() -> int:
    """Of the machine; where nobody can say, enough for anything."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 60


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", help="folder of real policies with a manifest.json (default: ../shared/models beside the project)")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="models whose name holds one of these words")
    parser.add_argument("--batch", type=numbers, default=[1, 8, 64, 512], help="batch sizes, by comma (default: 1,8,64,512)")
    parser.add_argument("--threads", type=numbers, default=[1], help="numbers of threads, by comma (default: 1)")
    parser.add_argument("--rounds", type=int, default=7, help="blocks per contender (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("peers.json"), help="where to write the figures (default: %(default)s)")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 170)
    facts = machine(["cervello", "numpy", "numba", "onnxruntime", "openvino", "tract"])
    console.print(" · ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    console.print(f"register-only multiply-adds {roofline.flops() / 1e9:.0f} GFLOP/s; reads " + ", ".join(
        f"{roofline.bandwidth(size) / 1e9:.0f} GB/s from {size >> 10} KiB" for size in (1 << 15, 1 << 19, 1 << 22, 1 << 26)),
        highlight=False)
    folder = models_folder(arguments.models)
    if folder is None:
        console.print("real policies: not found, only generated ones; give --models")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        cells = measure(list(sources(folder, arguments.only, Path(scratch))), arguments, console)
    summaries = {}
    for threads in arguments.threads:
        own = [c for c in cells if c["threads"] == threads]
        draw(console, own, threads)
        found = summaries[threads] = summary([c for c in own if c["planned"]])
        console.print(f"{threads} thread(s), {found['cells']} cells: geometric mean {found['geometric_mean']:.2f}, at batch 1 "
                      f"{found['geometric_mean_batch_1']:.2f}; worst {found['worst']}", highlight=False)
        console.print(f"cells under 0.95 and under 85% of the limit: {len(found['missed'])}", highlight=False)
    refusals = {(c["model"], peer, why) for c in cells for peer, why in c["refused"].items()}
    for model_name, peer, why in sorted(refusals):
        console.print(f"left out: {peer} on {model_name}: {why}", highlight=False, soft_wrap=True)
    write_json(arguments.output, {"machine": facts, "register_only_flops": roofline.flops(), "bandwidths": roofline.bandwidths(),
                                  "taken_s": time.perf_counter() - started, "summaries": summaries, "cells": cells})
    console.print(f"written to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
