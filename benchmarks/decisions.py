"""What one decision costs, beside onnxruntime: a call, a crowd, a size never seen, the first one in a process, ten thousand.

    python benchmarks/decisions.py [--models FOLDER] [--output FILE]

One thread; contenders in alternation, 16 inputs in rotation, medians of several rounds, three runs of each table (the medians of the runs
are printed; times vary with the machine, ratios less). Needs onnxruntime (`pip install '.[test]'`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from contenders import Crowd, bound, running, session
from figures import Figure, report
from generated import mlp
from rich.console import Console
from timing import Call, alternate, machine, models_folder

import cervello
from cervello.codegen import prebuilt
from cervello.native.report.leaks import growth

REAL = ("cervo_test", "mlagents_3DBall", "godot_BallChase")
RUNS = 3
CALLS = 10_000


def _median(contenders: Mapping[str, Sequence[Call]]) -> dict[str, float]:
    runs = [alternate(contenders) for _ in range(RUNS)]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def small_policy() -> list[Figure]:
    """The 4-64-64-2 tanh policy."""
    model = mlp((4, 64, 64, 2))
    one, runtime = Crowd(model, 1), session(model)
    times = _median({
        "bind": one.handles(), "run": one.runs_out(), "batch": one.batches_out(), "fresh": one.batches(),
        "peer": running(runtime, one.given), "binding": bound(runtime, one.given)})
    many = Crowd(model, 256)
    large = _median({
        "batch": many.batches_out(), "dictionaries": many.dictionaries(), "peer": running(runtime, many.given),
        "binding": bound(runtime, many.given)})
    us = {name: f"{value * 1e6:.2f} µs" for name, value in times.items()}
    beside = f"onnxruntime run {us['peer']}, io-binding {us['binding']}"
    return [
        Figure("batch 1: bind() handle, times faster than run", times["peer"] / times["bind"], "×", 6, beside=f"{us['bind']}; {beside}"),
        Figure("batch 1: bind() handle, times faster than io-binding", times["binding"] / times["bind"], "×"),
        Figure("batch 1: run(out=), times faster than run", times["peer"] / times["run"], "×", 6, beside=us["run"]),
        Figure("batch 1: infer_batch(out=), times faster than run", times["peer"] / times["batch"], "×", 4, beside=us["batch"]),
        Figure("batch 1: infer_batch, times faster than run", times["peer"] / times["fresh"], "×", beside=us["fresh"]),
        Figure("batch 256: infer_batch(out=), times faster than run", large["peer"] / large["batch"], "×", 1,
               beside=f"{large['batch'] * 1e6:.1f} µs; onnxruntime run {large['peer'] * 1e6:.1f} µs"),
        Figure("batch 256: infer_batch(out=), times faster than io-binding", large["binding"] / large["batch"], "×"),
        Figure("256 dictionaries: infer above infer_batch, per agent", (large["dictionaries"] - large["batch"]) / 256 * 1e6, "µs", 0.8,
               least=False),
    ]


def ways_of_calling() -> list[Figure]:
    """What people call for one agent and for more, beside a bound handle; the 4-64-64-2 policy."""
    crowd, many = Crowd(mlp((4, 64, 64, 2)), 1), Crowd(mlp((4, 64, 64, 2)), 256)
    policy, few = crowd.policy, [{name: column[0] for name, column in feed.items()} for feed in crowd.visible]
    batcher, runtime, large = cervello.Batcher(policy), cervello.Runtime(), cervello.Batcher(many.policy)
    runtime.add("npc", cervello.load(policy.model))
    runtime.begin_agents("npc", range(10))
    sampling = cervello.load(policy.model, wrappers=[cervello.Sample(cervello.heads.Categorical(next(iter(policy.outputs))), "drawn")])
    sampling.begin_agents(crowd.ids)
    agent = crowd.ids[0]
    named = [{each: {name: column[row] for name, column in feed.items()} for row, each in enumerate(many.ids)} for feed in many.visible]

    def pushed(one: Mapping[str, np.ndarray]) -> None:
        batcher.push(agent, one)
        batcher.execute()

    def framed(one: Mapping[str, np.ndarray]) -> None:
        for each in range(10):
            runtime.push("npc", each, one)
        runtime.run()

    def all_pushed(rows: Mapping[int, Mapping[str, np.ndarray]]) -> None:
        for each, row in rows.items():
            large.push(each, row)
        large.execute()

    times = _median({
        "bind": crowd.handles(), "batch": crowd.batches(), "infer": [partial(policy.infer, {agent: one}) for one in few],
        "single": [partial(policy.infer_single, agent, one) for one in few], "batcher": [partial(pushed, one) for one in few],
        "deterministic": [partial(policy.infer_batch, crowd.ids, feed, True) for feed in crowd.visible],
        "sample": [partial(sampling.infer_batch, crowd.ids, feed) for feed in crowd.visible],
        "runtime": [partial(framed, one) for one in few]})
    more = _median({"infer": [partial(many.policy.infer, rows) for rows in named],
                    "batcher": [partial(all_pushed, rows) for rows in named]})

    def us(what: str, seconds: float, goal: float) -> Figure:
        return Figure(what, seconds * 1e6, "µs", goal, least=False)

    return [
        us("one agent: infer_batch above a bind() handle", times["batch"] - times["bind"], 0.9),
        us("one agent: infer", times["infer"], 4), us("one agent: infer_single", times["single"], 4),
        us("one agent: Batcher, push and execute", times["batcher"], 4),
        us("one agent: deterministic above the plain call", times["deterministic"] - times["batch"], 1.5),
        us("one agent: Sample above the plain call", times["sample"] - times["batch"], 1.5),
        us("infer, for every further agent", (more["infer"] - times["infer"]) / 255, 0.5),
        us("Batcher, push and execute, for every further agent", (more["batcher"] - times["batcher"]) / 255, 0.5),
        us("a runtime's push and run, one policy of ten agents", times["runtime"], 10)]


def real_policies(folder: Path) -> list[Figure]:
    """Policies that people have exported, through infer_batch with the wrappers that `cervello api` proposes."""
    found = []
    for name in REAL:
        path = folder / f"{name}.onnx"
        crowd, runtime = Crowd(path, 1, wrappers="auto"), session(path.read_bytes())
        times = _median({"fresh": crowd.batches(), "out": crowd.batches_out(), "peer": running(runtime, crowd.given)})
        beside = f"{times['fresh'] * 1e6:.2f} µs; onnxruntime run {times['peer'] * 1e6:.2f} µs"
        found += [
            Figure(f"{name}, batch 1: infer_batch, times faster than run", times["peer"] / times["fresh"], "×", 3.5, beside=beside),
            Figure(f"{name}, batch 1: infer_batch(out=), times faster than run", times["peer"] / times["out"], "×")]
    return found


def new_sizes() -> list[Figure]:
    """A batch size that the policy has not seen before beside the same size again."""
    crowd = Crowd(mlp((4, 64, 64, 2)), 1024)
    policy, sizes, extra = crowd.policy, list(range(2, 402)), []
    np.random.default_rng(0).shuffle(sizes)
    policy.infer_batch(crowd.ids, crowd.visible[0])  # the arena is as large as it will be
    for size in sizes:
        ids, feed = crowd.ids[:size], {name: column[:size] for name, column in crowd.visible[0].items()}
        taken = []
        for _ in range(6):
            start = time.perf_counter()
            policy.infer_batch(ids, feed)
            taken.append(time.perf_counter() - start)
        extra.append((taken[0] - statistics.median(taken[1:])) * 1e6)
    extra.sort()
    return [Figure("a batch size never seen: extra, median of 400 sizes", statistics.median(extra), "µs", 50, least=False,
                   beside=f"99th percentile {extra[-4]:.0f} µs")]


_FIRST = """
import sys, cervello, numpy
policy = cervello.load(sys.argv[1], wrappers="auto", progress=lambda done, total, kernel: print(done, total, kernel))
policy.begin_agent(0)
policy.infer_batch([0], {name: numpy.zeros(spec.batched(1), spec.dtype) for name, spec in policy.inputs.items()})
print("acted", flush=True)
"""


def first_actions() -> list[Figure]:
    """From the start of a new process to its first action: import, load, compile or find code, run. The clock stops at the action.

    The package is a copy, once without object code and once with what a wheel carries for this policy.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.onnx"
        path.write_bytes(mlp((4, 64, 64, 2)))
        without, carrying = Path(folder) / "without", Path(folder) / "carrying"
        for place in (without, carrying):
            shutil.copytree(Path(cervello.__file__).parent, place / "cervello", ignore=shutil.ignore_patterns("__pycache__", "object_code"))

        def start(package: Path, cache: str) -> tuple[float, int]:
            environment = os.environ | {"CERVELLO_CACHE_DIR": os.path.join(folder, cache), "PYTHONPATH": str(package),
                                        "PYTHONPYCACHEPREFIX": os.path.join(folder, "bytecode")}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
            begun = time.perf_counter()
            command = [sys.executable, "-P", "-c", _FIRST, str(path)]
            with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as acting:
                assert acting.stdout is not None
                for reports, line in enumerate(acting.stdout):
                    if line == "acted\n":
                        return time.perf_counter() - begun, reports  # what follows is the end of Python
            raise RuntimeError(f"expected a first action, got exit status {acting.wait()}")

        cold, reports = sorted(start(without, f"empty {i}") for i in range(3))[1]
        warm = statistics.median(start(without, "empty 0")[0] for _ in range(7))
        found = [Figure("first action of a new process, cold cache", cold, "s", 6, least=False, beside=f"{reports} reports of progress"),
                 Figure("first action of a new process, warm cache", warm, "s", 0.8, least=False)]
        level = next(iter(prebuilt.runnable()), None)
        if level is not None:
            kernels = (file.stem.rpartition(".") for file in Path(folder, "empty 0").glob("*/cervello.*.o") if ".shim" not in file.stem)
            subprocess.run([sys.executable, str(Path(__file__).resolve().parents[1] / "scripts" / "build_code.py"), "--level", level.name,
                            str(carrying / "cervello" / "codegen" / "object_code"), *(f"{module}:{name}" for module, _, name in kernels)],
                           check=True, stdout=subprocess.DEVNULL)
            start(carrying, "none")  # writes bytecode
            fresh, reports = sorted(start(carrying, "none") for _ in range(7))[3]
            assert not reports, "expected no compilation"
            found.append(Figure("first action of a new process, empty cache, code from the wheel", fresh, "s", 0.6, least=False,
                                beside=level.name))
        return found


def steady_state() -> list[Figure]:
    """Ten thousand calls with out=: what numpy and Python have allocated afterwards."""
    crowd = Crowd(mlp((4, 64, 64, 2)), 8)
    infer, ids, feed, out = crowd.policy.infer_batch, crowd.ids, crowd.visible[0], crowd.out
    grown = growth(lambda: infer(ids, feed, out=out), CALLS)
    return [Figure(f"{CALLS} calls with out=: bytes in numpy's domain", grown.array_bytes, "bytes", 0, least=False),
            Figure(f"{CALLS} calls with out=: blocks that Python has more", grown.blocks, "blocks", 10, least=False)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", help="folder of real policies with a manifest.json (default: ../shared/models beside the project)")
    parser.add_argument("--output", type=Path, default=Path("decisions.json"), help="where to write the figures (default: %(default)s)")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    facts = machine(["cervello", "numpy", "numba", "onnxruntime"])
    console.print(" · ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    folder = models_folder(arguments.models)
    parts = [("a small policy", small_policy), ("ways of calling", ways_of_calling),
             ("sizes never seen", new_sizes), ("first actions", first_actions),
             ("steady state", steady_state)]
    if folder is not None:
        parts.insert(2, ("real policies", lambda: real_policies(folder)))
    else:
        console.print("real policies: not found, their figures are left out; give --models")
    report(console, parts, arguments.output, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
