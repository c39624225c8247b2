"""Loads and runs mutated policy files: each must run, or be refused with an error of the tree, quickly and without eating memory.

    python scripts/fuzz_models.py [--count 10000] [--seed 0] [--processes 2] [--models FOLDER] [--only SEED] [--output FILE]

A mutation is a function of its seed alone: bits flipped, bytes cut or spliced, or the parsed file edited (absurd sizes, swapped names,
cycles, other ops, claims of gigabytes, external data elsewhere, deep nesting). Every worker has limited memory and counts what takes longer
than 5 s as a hang. Prints what it found and exits with 1 when there is a crash, a hang, a foreign exception or a file read outside.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser

ROOT = Path(__file__).resolve().parent.parent
HANG_S = 5
MEMORY_BYTES = 1 << 30  # resident, above what the process has before it begins
_LARGEST = 300_000  # bytes of a file worth mutating often
_DIMS = (0, 1, 2, 3, -1, -7, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1)
_OPS = ("Add", "MatMul", "Gemm", "Reshape", "Concat", "Slice", "Gather", "Conv", "LSTM", "Softmax", "Transpose", "Expand", "Loop", "If",
        "Scan", "Range", "ConstantOfShape", "Tile", "Resize", "TopK", "Einsum", "NonZero", "NoSuchOp", "RandomNormal", "Pad", "Split",
        "Cast")
_SECRET = b"\xab"  # what the file outside the model's folder is full of, and no weight is
_PLACES = ("../secret.bin", "/etc/passwd", "link.bin", "", "a/../../secret.bin", "C:\\secret.bin", "\0", "x" * 5000)


_FLOW = """<ir_version: 10, opset_import: ["" : 21, "mine" : 1]>
g (float[N, 4] x, bool[1] c) => (float[N, 4] y, float[N, 3, 4] z) <int64 m = {3}, float[4] w = {1, 2, 3, 4}>
{ h = mine.twice(x)
  a, all = Loop(m, , h) <body = b (int64 i, bool go, float[N, 4] s) => (bool on, float[N, 4] t, float[N, 4] o)
    { on = Identity(go) u = Mul(s, w) t = Tanh(u) k = Equal(i, m)
      o = If(k) <then_branch = th () => (float[N, 4] p) { p = Add(t, x) }, else_branch = el () => (float[N, 4] q) { q = Relu(t) }> }>
  b = Transpose<perm = [1, 0, 2]>(all)
  y, z = Scan<num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1], body = sc (float[N, 4] s1, float[N, 4] e) =>
    (float[N, 4] t1, float[N, 4] o1) { t1 = Add(s1, e) o1 = Neg(t1) }>(a, b) }
<domain: "mine", opset_import: ["" : 21]> twice <alpha: float = 0.5> (v) => (r) { l = LeakyRelu<alpha: float = @alpha>(v) r = Add(l, v) }"""


class Hang(BaseException):
    """A file took longer than it may."""


def corpus(folder: Path | None) -> list[bytes]:
    """Files to mutate: the project's own, and real ones that are not too large."""
    paths = [*sorted((ROOT / "cervello" / "demo" / "policies").glob("*.onnx")), *sorted((ROOT / "examples").glob("*.onnx"))]
    if folder is not None:
        paths += sorted(folder.glob("*.onnx"))
    found = [data for path in paths if len(data := path.read_bytes()) <= _LARGEST]
    flow = onnx.parser.parse_model(_FLOW).SerializeToString()
    return found + [flow] * (len(found) // 4)  # branches, loops and functions, often enough


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes of a file with one to four changes."""
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(8)
        if kind < 3 or not data:
            data = _bytes_changed(data, rng)
            continue
        model = onnx.ModelProto()
        try:
            model.ParseFromString(data)
            _edited(model, rng)
            data = model.SerializeToString()
        except Exception:  # no file any more, or an edit that protobuf refuses: its bytes can still change
            data = _bytes_changed(data, rng)
    return data


def _bytes_changed(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    kind = rng.randrange(4)
    if not changed:
        return rng.randbytes(rng.randrange(64))
    if kind == 0:
        for _ in range(rng.choice((1, 3, 30))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del changed[rng.randrange(len(changed)):]
    elif kind == 2:
        at, size = rng.randrange(len(changed)), rng.choice((1, 8, 200))
        changed[at:at + size] = rng.randbytes(rng.randrange(size + 1))
    else:
        at, size = rng.randrange(len(changed)), rng.choice((4, 60, 2000))
        to = rng.randrange(len(changed))
        changed[to:to] = changed[at:at + size]
    return bytes(changed)


def _edited(model: onnx.ModelProto, rng: random.Random) -> None:
    inner = [a.g for node in model.graph.node for a in node.attribute if a.HasField("g")]
    graph = rng.choice(inner) if inner and rng.random() < 0.5 else model.graph
    nodes, ports = list(graph.node), [*graph.input, *graph.output]
    names = [name for node in nodes for name in (*node.input, *node.output)] or ["x"]
    kind = rng.randrange(14)
    if kind == 0 and ports:
        dims = rng.choice(ports).type.tensor_type.shape.dim
        if dims:
            rng.choice(dims).dim_value = rng.choice(_DIMS)
    elif kind == 1 and graph.initializer:
        tensor = rng.choice(graph.initializer)
        if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_DIMS)
    elif kind == 2 and graph.initializer:
        tensor = rng.choice(graph.initializer)
        del tensor.dims[:]
        tensor.dims.extend([1 << 15, 1 << 14])
        tensor.ClearField("raw_data")
    elif kind == 3 and nodes:
        node = rng.choice(nodes)
        if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif kind == 4 and nodes:
        node = rng.choice(nodes)
        if node.output:
            node.output[rng.randrange(len(node.output))] = rng.choice(names)
    elif kind == 5 and nodes:
        rng.choice(nodes).op_type = rng.choice(_OPS)
    elif kind == 6 and nodes:
        attributes = rng.choice(nodes).attribute
        if attributes:
            attribute = rng.choice(attributes)
            attribute.i = rng.choice(_DIMS)
            if attribute.ints:
                attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(_DIMS)
            attribute.f = rng.choice((0.0, -1.0, 1e38, float("nan")))
            if rng.random() < 0.2:
                attribute.type = rng.randrange(15)
    elif kind == 7 and nodes:
        del graph.node[rng.randrange(len(nodes))]
    elif kind == 8 and nodes:
        graph.node.add().CopyFrom(rng.choice(nodes))
    elif kind == 9 and graph.initializer:
        rng.choice(graph.initializer).data_type = rng.randrange(30)
    elif kind == 10 and graph.initializer:
        tensor = rng.choice(graph.initializer)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", rng.choice(_PLACES)), ("offset", str(rng.choice(_DIMS))), ("length", str(rng.choice(_DIMS)))):
            tensor.external_data.add(key=key, value=value)
    elif kind == 11 and nodes:
        inner = rng.choice(nodes)
        for _ in range(rng.choice((2, 40, 200))):
            body = onnx.GraphProto(name="deep")
            body.node.add().CopyFrom(inner)
            inner = onnx.NodeProto(op_type="If", input=[rng.choice(names)], output=["deep"])
            inner.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g.CopyFrom(body)
        graph.node.add().CopyFrom(inner)
    elif kind == 12 and model.opset_import:
        model.opset_import[0].version = rng.choice((-1, 0, 7, 8, 11, 13, 22, 99, 1 << 40))
    elif ports:
        port = rng.choice(ports)
        port.type.tensor_type.elem_type = rng.randrange(30)


def _alarm(number: int, frame: Any) -> None:
    raise Hang


def one(data: bytes, folder: Path) -> str:
    """What a file leads to: "runs", the name of an error of the tree, or "FOUND …"."""
    from cervello.errors import CervelloError
    from cervello.native import Model

    path = folder / "model.onnx"
    path.write_bytes(data)
    start = time.perf_counter()
    signal.alarm(HANG_S)
    try:
        model = Model.load(path)
        if any(array.size and (array.reshape(-1).view(np.uint8) == _SECRET[0]).all() for array in model.weights.arrays()):
            return "FOUND a file outside was read"
        for n_rows in (1, 3):
            if sum(math.prod(spec.batched(n_rows)) * spec.dtype.itemsize for spec in model.inputs.values()) > 1 << 26:
                return "too large to run"
            given = {name: np.ones(spec.batched(n_rows), spec.dtype) for name, spec in model.inputs.items()}
            model.run(given, seed=0 if model.random_nodes else None)
        outcome = "runs"
    except CervelloError as error:
        outcome = type(error).__name__
    except MemoryError:
        outcome = "FOUND MemoryError"
    except Hang:
        return "FOUND hang"
    except Exception as error:
        outcome = f"FOUND {type(error).__name__}: {error}"[:200]
    finally:
        signal.alarm(0)
    return outcome if time.perf_counter() - start < HANG_S else "FOUND hang"


def stretch(first: int, count: int, models: str) -> dict[str, Any]:
    """Seeds [first, first + count) in one process."""
    import tempfile

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _alarm)
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    files = corpus(Path(models) if models else None)
    outcomes: Counter[str] = Counter()
    found: list[tuple[int, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "models"
        folder.mkdir()
        (Path(name) / "secret.bin").write_bytes(_SECRET * (1 << 20))
        (folder / "link.bin").symlink_to(Path(name) / "secret.bin")
        one(files[0], folder)
        for seed in range(first, first + count):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            rng = random.Random(seed)
            outcome = one(mutated(rng.choice(files), rng), folder)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            if grown > MEMORY_BYTES:
                outcome = f"FOUND {grown >> 20} MiB"
            outcomes[outcome.partition(":")[0]] += 1
            if outcome.startswith("FOUND"):
                found.append((seed, outcome))
    return {"outcomes": outcomes, "found": found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="mutated files (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--models", default=os.environ.get("CERVELLO_MODELS", ""), help="folder of real policies to mutate as well")
    parser.add_argument("--only", type=int, metavar="SEED", help="one seed, with whatever it raises")
    parser.add_argument("--output", type=Path, help="where to write the record, as JSON")
    arguments = parser.parse_args()
    if arguments.only is not None:
        print(stretch(arguments.only, 1, arguments.models))
        return 0
    each, started, last = 200, time.perf_counter(), 0.0
    total: Counter[str] = Counter()
    found: list[tuple[int, str]] = []
    starts = range(arguments.seed, arguments.seed + arguments.count, each)
    done = 0
    for group in range(0, len(starts), arguments.processes * 4):
        with ProcessPoolExecutor(arguments.processes) as pool:  # fresh processes now and then: a crash costs a stretch
            jobs = [(first, pool.submit(stretch, first, min(each, arguments.seed + arguments.count - first), arguments.models))
                    for first in starts[group:group + arguments.processes * 4]]
            for first, job in jobs:
                try:
                    result = job.result()
                except BrokenProcessPool:
                    found.append((first, f"FOUND crash within {each} seeds"))
                    continue
                total += result["outcomes"]
                found += result["found"]
                done += sum(result["outcomes"].values())
        if time.perf_counter() - last > 10:
            last = time.perf_counter()
            print(f"{done} of {arguments.count}, {last - started:.0f} s, found {len(found)}", file=sys.stderr, flush=True)
    for outcome, number in total.most_common():
        print(f"{number:>8}  {outcome}")
    for seed, outcome in found:
        print(f"seed {seed}: {outcome}")
    record = {"files": done, "first_seed": arguments.seed, "seconds": time.perf_counter() - started, "outcomes": dict(total),
              "found": found}
    if arguments.output:
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{done} files, {len(found)} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
