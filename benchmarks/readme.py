"""Writes README's performance section from the figures that the benchmarks wrote.

    python benchmarks/decisions.py --output benchmarks/results/decisions.json
    python benchmarks/peers.py --threads 1,2 --output benchmarks/results/peers.json
    python benchmarks/threads.py --output benchmarks/results/threads.json
    python benchmarks/readme.py            # --check: only say whether README has these figures
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- figures: written by benchmarks/readme.py -->", "<!-- end of figures -->"


def _machine(report: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in report["machine"].items())


def decisions(report: dict[str, Any]) -> Iterator[str]:
    """The table of `decisions.py`."""
    yield f"One decision (`python benchmarks/decisions.py`; {_machine(report)}; one thread, medians):"
    yield ""
    yield "| | | goal | |"
    yield "|---|---|---|---|"
    for figure in report["figures"]:
        goal = "" if figure["goal"] is None else f"{'≥' if figure['least'] else '≤'} {figure['goal']:g}"
        verdict = {None: "", True: "", False: "**missed**"}[figure["holds"]]
        yield f"| {figure['what']} | {figure['value']:.2f} {figure['unit']} | {goal} | {verdict} |"


def peers(report: dict[str, Any]) -> Iterator[str]:
    """The summaries and the table of `peers.py`, cells that lose included."""
    yield ("Every model beside the fastest of onnxruntime, OpenVINO (float32) and tract (`python benchmarks/peers.py`; "
           f"{_machine(report)}; "
           "fixed buffers on all sides, medians). A cell says how many times faster than the best peer; **bold** ones are slower.")
    yield ""
    for threads, found in report["summaries"].items():
        yield (f"With {threads} thread{'s' if int(threads) > 1 else ''}: geometric mean {found['geometric_mean']:.2f} over "
               f"{found['cells']} cells, {found['geometric_mean_batch_1']:.2f} at batch 1; worst {found['worst']['ratio']:.2f} "
               f"({found['worst']['model']}, batch {found['worst']['batch']}); {len(found['missed'])} cells are under 0.95 and under 85% "
               "of what the machine allows.")
        yield ""
    batches = sorted({cell["batch"] for cell in report["cells"]})
    yield "| model, 1 thread | " + " | ".join(f"batch {n}" for n in batches) + " |"
    yield "|---|" + "---|" * len(batches)
    for name in dict.fromkeys(cell["model"] for cell in report["cells"]):
        row = []
        for n_rows in batches:
            cell = next((c for c in report["cells"] if (c["model"], c["batch"], c["threads"]) == (name, n_rows, 1)), None)
            ratio = None if cell is None else cell["ratio"]
            row.append("" if ratio is None else f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**")
        yield f"| {name} | " + " | ".join(row) + " |"


def threads(report: dict[str, Any]) -> Iterator[str]:
    """The summary of `threads.py`."""
    yield (f"{report['threads']} threads beside one (`python benchmarks/threads.py`; handles of five real and five generated policies, 1 "
           "to 2,048 rows, medians; *close*: batches follow each other at once, *apart*: 4 ms between them, workers asleep, caches cold):")
    yield ""
    yield "| batches | one thread takes | cells | times faster, median | least | most |"
    yield "|---|---|---|---|---|---|"
    for how in ("close", "apart"):
        for what, long in (("under 1 ms", False), ("1 ms and more", True)):
            ratios = [row["ratio"] for row in report["rows"] if row["batches"] == how and (row["one_s"] >= 1e-3) == long]
            yield (f"| {how} | {what} | {len(ratios)} | {statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} |")


def section() -> str:
    """The text between the markers."""
    lines = [BEGIN, ""]
    for name, write in (("decisions", decisions), ("peers", peers), ("threads", threads)):
        path = RESULTS / f"{name}.json"
        if path.is_file():
            lines += [*write(json.loads(path.read_text(encoding="utf-8"))), ""]
    return "\n".join([*lines, END])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when README has other figures")
    arguments = parser.parse_args()
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        print(f"{path}: expected the markers {BEGIN!r} and {END!r}, found none", file=sys.stderr)
        return 2
    before, rest = text.split(BEGIN, 1)
    new = before + section() + rest.split(END, 1)[1]
    if arguments.check:
        print("README has the figures of the results" if new == text else "README has other figures: run python benchmarks/readme.py")
        return int(new != text)
    path.write_text(new, encoding="utf-8")
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
