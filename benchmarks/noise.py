"""Fills of float32 rows with noise beside numpy's generators: nanoseconds per number.

    python benchmarks/noise.py [--rounds 11] [--output FILE]

One thread, arrays given by the caller on all sides, in alternation in one process, medians. Cervello's agents take turns in random order.

Not the same service: one of numpy's generators fills the whole batch from one state, so an agent's numbers depend on its row, on the other
rows and on every call before. In Cervello they depend on seed, stream, agent, episode, step, site and element alone; numpy has no fill
with a key per row. The nearest is a generator per agent ("Philox per agent"), called row by row; every call advances its state.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from timing import ROTATION, Call, alternate, machine, write_json

from cervello.noise import Streams, derive_keys

SIZES = ((1, 4), (64, 4), (1000, 4), (1000, 64), (64, 1024))
OURS = {"normal": ("normal", "fast normal"), "uniform": ("uniform",)}
SHARED = {"PCG64": np.random.PCG64, "Philox": np.random.Philox, "SFC64": np.random.SFC64}  # one state for the batch
PER_AGENT = "Philox per agent"
SEED, SITE = 7, 1


def crowd(n_rows: int) -> tuple[Streams, list[Any]]:
    """The agents of all batches in rotation, and each batch's slots."""
    slots = np.random.default_rng(SEED).permutation(ROTATION * n_rows).astype(np.int64)
    keys = np.zeros((len(slots), 2), np.uint64)
    derive_keys(np.arange(len(slots)), np.zeros_like(slots), np.zeros_like(slots), SEED, np.arange(len(slots)), keys)
    return Streams(keys, np.zeros(len(slots), np.int64)), np.split(slots, ROTATION)


def filler(generator: np.random.Generator, what: str, out: Any) -> Call:
    """numpy's call for `what`, into `out`."""
    return partial(generator.standard_normal if what == "normal" else generator.random, dtype=np.float32, out=out)


def one_after_the_other(calls: list[Call]) -> None:
    for call in calls:
        call()


def contenders(what: str, n_rows: int, width: int) -> dict[str, list[Call]]:
    """By name, the calls in rotation; every contender has an array of its own."""
    def fresh() -> Any:
        return np.zeros((n_rows, width), np.float32)

    streams, batches = crowd(n_rows)
    found: dict[str, list[Call]] = {}
    for name in OURS[what]:
        fill: Callable[..., None] = getattr(streams, f"fill_{name.replace(' ', '_')}")
        out = fresh()
        found[name] = [partial(fill, out, slots, SITE) for slots in batches]
    for name, bits in SHARED.items():
        found[name] = [filler(np.random.Generator(bits(SEED)), what, fresh())]
    out = fresh()
    own = [filler(np.random.Generator(np.random.Philox(key=agent)), what, row) for agent, row in enumerate(out)]
    found[PER_AGENT] = [partial(one_after_the_other, own)]
    return found


def cell(what: str, n_rows: int, width: int, rounds: int) -> list[dict[str, Any]]:
    """The figures of one size: a record for each of our fills."""
    taken = {name: seconds / (n_rows * width) * 1e9 for name, seconds in alternate(contenders(what, n_rows, width), rounds).items()}
    theirs = {name: taken[name] for name in (*SHARED, PER_AGENT)}
    best = min(SHARED, key=taken.__getitem__)
    return [{"fill": name, "rows": n_rows, "width": width, "ns_per_number": taken[name], "numpy_ns_per_number": theirs, "best": best,
             "ratio": taken[best] / taken[name], "ratio_per_agent": taken[PER_AGENT] / taken[name]} for name in OURS[what]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11, help="blocks of each contender (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("noise.json"), help="where to write the figures (default: %(default)s)")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    facts = machine(["cervello", "numpy", "numba"])
    console.print(" · ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    found: list[dict[str, Any]] = []
    for what in OURS:
        for n_rows, width in SIZES:
            with console.status(f"{what}, {n_rows} × {width} …"):
                found += cell(what, n_rows, width, arguments.rounds)
    table = Table("fill", "rows × width", "ns per number", *(f"numpy {name}" for name in (*SHARED, PER_AGENT)), "× fastest state",
                  "× per agent", title="ns per number, and how many times faster than numpy")
    for row in found:
        table.add_row(row["fill"], f"{row['rows']} × {row['width']}", f"{row['ns_per_number']:.2f}",
                      *(f"{ns:.2f}" for ns in row["numpy_ns_per_number"].values()), f"{row['ratio']:.2f}", f"{row['ratio_per_agent']:.1f}")
    console.print(table)
    console.print("numpy's PCG64, Philox and SFC64 fill a batch from one state: an agent's numbers change with its row and with the crowd. "
                  f"Only {PER_AGENT} keeps agents apart, as Cervello does.")
    write_json(arguments.output, {"machine": facts, "cells": found})
    console.print(f"written to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
