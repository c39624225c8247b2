"""Writes the figures of the benchmarks to docs/benchmarks.md, README and docs/evaluation.md.

    python benchmarks/decisions.py --output benchmarks/results/decisions.json
    python benchmarks/peers.py --threads 1,2 --output benchmarks/results/peers.json
    python benchmarks/threads.py --output benchmarks/results/threads.json
    python benchmarks/frame.py --output benchmarks/results/frame.json
    python benchmarks/crowd.py --output benchmarks/results/crowd.json
    python benchmarks/noise.py --output benchmarks/results/noise.json
    python benchmarks/envs.py --output benchmarks/results/envs.json
    python benchmarks/evaluation.py --scope-rl PYTHON --output benchmarks/results/evaluation.json
    python benchmarks/ray_cost.py --output benchmarks/results/ray_cost.json
    python benchmarks/readme.py            # --check: only say whether they have these figures
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

SHORT = ("batch 1: infer_batch, times faster than run", "batch 256: infer_batch(out=), times faster than run",
         "first action of a new process, warm cache")  # figures of decisions.py that README has
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- figures: written by benchmarks/readme.py -->", "<!-- end of figures -->"


def _machine(report: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in report["machine"].items())


def decisions(report: dict[str, Any]) -> Iterator[str]:
    """The table of `decisions.py`."""
    yield f"One decision (`python benchmarks/decisions.py`; {_machine(report)}; one thread, medians):"
    yield from _goals(report["figures"])


def environments(report: dict[str, Any]) -> Iterator[str]:
    """The table of `envs.py`."""
    yield (f"Inside environments (`python benchmarks/envs.py`; {_machine(report)}; one thread, medians; the network is 4-64-64-2, "
           "*balanced* weights have episodes of 500 steps, *untrained* ones of some 20):")
    yield from _goals(report["figures"])


def _goals(figures: list[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield "| | | goal | |"
    yield "|---|---|---|---|"
    for figure in figures:
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


def frames(report: dict[str, Any]) -> Iterator[str]:
    """The table of `frame.py`."""
    yield (f"Frame budgets (`python benchmarks/frame.py`; {_machine(report)}; {len(report['policies'])} real policies, "
           f"{report['agents']:,} agents pushed in every frame, which would take {report['whole_s'] * 1e3:.1f} ms). *Work* counts each "
           "decision with what it costs in the largest batch of its crowd that fits into the budget; beside it cervo's rule on the same "
           "policies:")
    yield ""
    yield ("| budget | frames over 110% [at most 1%] | work [at least 90%] | median frame | slowest | the clock alone over 110% | "
           "cervo's rule: over | slowest |")
    yield "|---|---|---|---|---|---|---|---|"
    for row in report["budgets"]:
        ours, theirs = row["cervello"], row["cervo_rule"]
        yield (f"| {row['budget_s'] * 1e3:g} ms | {_marked(ours['over'], ours['over'] <= 0.01)} | "
               f"{_marked(ours['work'], ours['work'] >= 0.9)} | {ours['median']:.2f} | {ours['slowest']:.2f} | {row['stalls']:.1%} | "
               f"{theirs['over']:.1%} | {theirs['slowest']:.1f} |")


def _marked(share: float, holds: bool) -> str:
    return f"{share:.1%}" if holds else f"**{share:.1%}**"


def crowd(report: dict[str, Any]) -> Iterator[str]:
    """The figures of `crowd.py`."""
    times, memory, saved = report["time"], report["memory"], report["snapshot"]
    yield (f"A crowd (`python benchmarks/crowd.py`; {_machine(report)}): "
           f"{report['agents']:,} recurrent agents begin in {times['begin_us']:.2f} µs each, decide in "
           f"{times['tick_us']:.2f} µs and end, in random order, in {times['end_us']:.2f} µs; "
           f"{memory['bytes_per_agent']:.0f} bytes each, the same after {report['generations']} generations. 10,000 agents of 256 floats "
           f"are saved in {saved['save_ms']:.1f} ms ({saved['save_to_buffer_ms']:.1f} ms into a buffer) and restored in "
           f"{saved['restore_ms']:.1f} ms.")


def noise(report: dict[str, Any]) -> Iterator[str]:
    """The figures of `noise.py`."""
    yield (f"Noise (`python benchmarks/noise.py`; {_machine(report)}), "
           "nanoseconds per number, and times faster than the fastest of numpy's PCG64, Philox and SFC64, "
           "none of which can give every agent numbers of its own in one call:")
    yield ""
    yield "| agents × numbers | normal | fast normal | uniform |"
    yield "|---|---|---|---|"
    cells = {(c["rows"], c["width"], c["fill"]): c for c in report["cells"]}
    for rows, width in dict.fromkeys((c["rows"], c["width"]) for c in report["cells"]):
        found = [cells[rows, width, fill] for fill in ("normal", "fast normal", "uniform")]
        yield f"| {rows} × {width} | " + " | ".join(f"{c['ns_per_number']:.2f} ns, {c['ratio']:.1f} ×" for c in found) + " |"


def evaluation(report: dict[str, Any]) -> Iterator[str]:
    """The table of `evaluation.py`."""
    peer = f" ({report['scope_rl']})" if report["scope_rl"] else ""
    yield (f"Offline evaluation (`python benchmarks/evaluation.py`; {_machine(report)}; {report['transitions']:,} logged transitions, "
           f"{report['candidates']} policies of 4-64-64-2, {report['threads']} threads, after warm-up): "
           f"{report['best_s']:.2f} s for {', '.join(report['estimators'])}, with intervals [at most 1.0 s]; "
           f"{report['first_s']:.2f} s the first time. Peers run the same policies on the same data through onnxruntime, one episode at a "
           f"time, and compute the estimators named; *the same* are these alone, here always with intervals{peer}:")
    yield ""
    yield ("| peer | estimators | intervals | peer | here, the same | times faster | "
           f"here, all {len(report['estimators'])} | times faster [10] |")
    yield "|---|---|---|---|---|---|---|---|"
    for row in report["peers"]:
        yield (f"| {row['peer']} | {len(row['estimators'])} of {row['of']}: {', '.join(row['estimators'])} | "
               f"{'yes' if row['intervals'] else 'no'} | {row['seconds']:.2f} s | {row['ours_same_s']:.2f} s | {row['ratio_same']:.1f} | "
               f"{report['best_s']:.2f} s | {row['ratio_all']:.1f} |")


def ray_cost(report: dict[str, Any]) -> Iterator[str]:
    """The model of `ray_cost.py`, and what it was checked against."""
    yield (f"On one machine (`python benchmarks/ray_cost.py`; {_machine(report)}; {report['candidates']} policies of 4-64-64-2; `pdis`, "
           f"`wis` and `dr`; medians) n transitions and W workers take W · {report['start_s']:.2f} s + n · "
           f"({report['driver_s'] * 1e6:.1f} µs + {report['actor_s'] * 1e6:.1f} µs / W): the start of each actor; what the driver does for "
           "each transition; what an actor does. On a cluster the starts overlap: count one. The model is fitted to four measurements and "
           "checked at two others:")
    yield ""
    yield "| transitions | workers | measured | model | off | |"
    yield "|---:|---:|---:|---:|---:|---|"
    for run in sorted(report["runs"], key=lambda each: (each["transitions"], each["workers"])):
        yield (f"| {run['transitions']:,} | {run['workers']} | {run['seconds']:.2f} s | {run['model']:.2f} s | "
               f"{run['model'] / run['seconds'] - 1:+.0%} | {'checked' if run['checked'] else 'fitted'} |")


def summary_of_decisions(report: dict[str, Any]) -> Iterator[str]:
    """The most important figures of `decisions.py`, and the names of those that miss their goals."""
    words = [f"{figure['what']}: {figure['value']:.2f} {figure['unit']}" for figure in report["figures"] if figure["what"] in SHORT]
    yield f"One decision (`run` is onnxruntime's): {'; '.join(words)}."
    missed = [figure["what"] for figure in report["figures"] if figure["holds"] is False]
    if missed:
        yield f"**Goals that are missed**, with their figures in [docs/benchmarks.md](docs/benchmarks.md): {'; '.join(missed)}."


def summary_of_peers(report: dict[str, Any]) -> Iterator[str]:
    """How cells of `peers.py` fare, by batch size, with one thread."""
    yield "How many times faster than the fastest of onnxruntime, OpenVINO (float32) and tract, one thread:"
    yield ""
    yield "| rows | policies | geometric mean | best | worst | slower than a peer |"
    yield "|---|---|---|---|---|---|"
    cells = [cell for cell in report["cells"] if cell["threads"] == 1 and cell["ratio"] is not None]
    for n_rows in sorted({cell["batch"] for cell in cells}):
        ratios = sorted(cell["ratio"] for cell in cells if cell["batch"] == n_rows)
        slower = [cell["model"] for cell in cells if cell["batch"] == n_rows and cell["ratio"] < 1]
        yield (f"| {n_rows} | {len(ratios)} | {statistics.geometric_mean(ratios):.2f} | {ratios[-1]:.2f} | {ratios[0]:.2f} | "
               f"{', '.join(slower) or 'none'} |")


FULL = (("decisions", decisions), ("frame", frames), ("crowd", crowd), ("envs", environments), ("evaluation", evaluation), ("noise", noise),
        ("peers", peers), ("threads", threads))
SUMMARY = (("peers", summary_of_peers), ("decisions", summary_of_decisions))
PAGES = ((ROOT / "README.md", SUMMARY), (ROOT / "docs" / "benchmarks.md", FULL),
         (ROOT / "docs" / "evaluation.md", (("ray_cost", ray_cost),)))


def section(parts: Sequence[tuple[str, Callable[[dict[str, Any]], Iterator[str]]]]) -> str:
    """The text between the markers."""
    lines = [BEGIN, ""]
    for name, write in parts:
        path = RESULTS / f"{name}.json"
        if path.is_file():
            lines += [*write(json.loads(path.read_text(encoding="utf-8"))), ""]
    return "\n".join([*lines, END])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a page has other figures")
    arguments = parser.parse_args()
    status = 0
    for path, parts in PAGES:
        text = path.read_text(encoding="utf-8")
        if BEGIN not in text or END not in text:
            print(f"{path}: expected the markers {BEGIN!r} and {END!r}, found none", file=sys.stderr)
            return 2
        before, rest = text.split(BEGIN, 1)
        new = before + section(parts) + rest.split(END, 1)[1]
        if arguments.check:
            print(f"{path} has " + ("the figures of the results" if new == text else "other figures: run python benchmarks/readme.py"))
            status |= new != text
        else:
            path.write_text(new, encoding="utf-8")
            print(f"written to {path}")
    return status


if __name__ == "__main__":
    sys.exit(main())
