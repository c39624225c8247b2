"""Loads and runs small models that contradict exactly one shape, type, attribute or operand.

    python scripts/fuzz_operands.py [--count 10000] [--seed 0] [--processes 2] [--only NUMBER] [--output FILE]

Each file must be refused with an error of the tree, at load or at the run, or give results at 1 and at 7 rows in which every element has
been written: all memory is filled with one pattern and then with another, and the two results must be the same bits. Where onnxruntime
accepts the file and has the op, or else onnx's reference implementation does, one row must agree with it; what the planned tier runs may
agree with the reference alone. A crash, a hang, a foreign exception, an unwritten element or another value is a finding: it is printed,
and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pickle
import selectors
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
HANG_S = 20  # a kernel may have to be compiled first
START_S = 120  # of a process
_MOST_BYTES = 1 << 26
_EACH = 1000
_PATTERNS = (0xFF, 0x5A)
_empty, _pattern = np.empty, 0


def _poisoned(*arguments: Any, **options: Any) -> np.ndarray[Any, Any]:
    """`numpy.empty` whose memory holds the pattern of the moment."""
    array = _empty(*arguments, **options)
    if array.dtype.kind != "O" and array.size:
        array.reshape(-1).view(np.uint8)[:] = _pattern
    return array


_poisoned.__doc__ = np.empty.__doc__  # which numpy.ma takes apart


def _given(model: Any, n_rows: int) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(n_rows)
    found = {}
    for name, spec in model.inputs.items():
        shape = spec.batched(n_rows)
        if spec.dtype.kind in "iub":
            found[name] = random.integers(0, 2 if spec.dtype.kind == "b" else 3, shape).astype(spec.dtype)
        else:
            found[name] = random.uniform(0.1, 1.9, shape).astype(spec.dtype)
    return found


def _run(model: Any, given: dict[str, Any], pattern: int) -> dict[str, Any]:
    """The results, from memory that is full of a pattern."""
    global _pattern
    from cervello.native.memory import arena

    _pattern = pattern
    arena._idle.clear()
    model.idle.clear()
    found: dict[str, Any] = model.run(given, seed=0 if model.random_nodes else None)
    return found


def outcome(data: bytes, foreign: bool, note: Any) -> str:
    """What a file leads to: "runs", "agrees", the name of an error of the tree, or "FOUND …".

    Args:
      foreign: whether to compare it with another implementation.
      note: is told when that begins.
    """
    from cervello.errors import CervelloError
    from cervello.native import Model

    try:
        model = Model.load(data)
        results = {}
        for n_rows in (1, 7):
            ports = (*model.inputs.values(), *model.outputs.values())
            if sum(math.prod(spec.batched(n_rows)) * spec.dtype.itemsize for spec in ports) > _MOST_BYTES:
                return "too large to run"
            given = _given(model, n_rows)
            try:
                first, second = (_run(model, given, pattern) for pattern in _PATTERNS)
            except CervelloError as error:
                if n_rows == 1 or model.batched:
                    return f"{type(error).__name__} at the run"
                continue  # loose outputs: one row at a time
            for name, array in first.items():
                if array.shape != second[name].shape or array.tobytes() != second[name].tobytes():
                    return f"FOUND unwritten: {name!r} at {n_rows} rows depends on what was in memory"
            results[n_rows] = given, first
    except CervelloError as error:
        return type(error).__name__
    except MemoryError:
        return "FOUND MemoryError"
    except Exception as error:
        return f"FOUND {type(error).__name__}: {error}"[:300]
    if model.random_nodes or not foreign:
        return "runs"
    note("foreign")
    return _compared(data, model, *results[1])


def _compared(data: bytes, model: Any, given: dict[str, Any], found: dict[str, Any]) -> str:
    proto = onnx.ModelProto.FromString(data)
    ranks = {port.name: len(port.type.tensor_type.shape.dim) for port in proto.graph.input}
    feed = {name: array.reshape(array.shape[1:]) if array.ndim > ranks[name] else array for name, array in given.items()}
    expected, who = _foreign(data, proto, feed)
    if any(node.op_type == "Resize" for node in proto.graph.node) and any(array.dtype.kind in "iu" for array in found.values()):
        return "runs"  # ONNX does not say how whole numbers are rounded
    if any(node.op_type == "TreeEnsemble" and attribute.name == "post_transform" and attribute.i
           for node in proto.graph.node for attribute in node.attribute):
        return "runs"  # onnxruntime numbers the transforms otherwise than ONNX's definition, and onnx's reference ignores them
    coarse = any(array.itemsize < 4 and array.dtype.kind not in "iub" for array in given.values())
    if expected is None or _undefined_casts(proto, feed):
        return "runs"
    everything = {**found, **model.constants}
    if not (problem := _difference(everything, expected, coarse)):
        return "agrees"
    if who == "onnxruntime" and not model.slow_nodes:  # no judge of the slower tier, which runs it
        reference = _reference(proto, feed)
        if reference is not None and not _difference(everything, reference, coarse):
            return "agrees with onnx's reference, not with onnxruntime"
    return f"FOUND other than {who}: {problem}"


def _difference(found: dict[str, Any], expected: dict[str, Any], coarse: bool) -> str:
    """The first output that is not as expected; empty when all are."""
    for name, array in found.items():
        other = expected.get(name)
        if other is not None and array.dtype.kind not in "iub" and other.dtype.kind == "u" and array.itemsize == other.itemsize:
            other = other.view(array.dtype)  # as onnxruntime shows the smallest types
        if other is None or (array.dtype == other.dtype and array.size == other.size
                             and _near(array.reshape(-1), other.reshape(-1), coarse)):
            continue
        return f"{name!r} {array.shape} {array.dtype} {array.reshape(-1)[:6]} for {other.shape} {other.dtype} {other.reshape(-1)[:6]}"
    return ""


def _foreign(data: bytes, proto: onnx.ModelProto, feed: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """What another implementation gives, and which; None where none accepts the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    names = [port.name for port in proto.graph.output]
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(None, feed), strict=True)), "onnxruntime"
    except Exception as error:
        if "NOT_IMPLEMENTED" not in str(error) or any(node.op_type in ("Cast", "CastLike") for node in proto.graph.node):
            return None, ""  # numpy casts what an integer cannot hold to anything
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception:
        return None, ""
    return _reference(proto, feed), "onnx's reference"


def _reference(proto: onnx.ModelProto, feed: dict[str, Any]) -> dict[str, Any] | None:
    """What onnx's reference implementation gives; None where it does not run the file."""
    from onnx.reference import ReferenceEvaluator

    try:
        with np.errstate(all="ignore"):
            return dict(zip([port.name for port in proto.graph.output], ReferenceEvaluator(proto).run(None, feed), strict=True))
    except Exception:
        return None


def _undefined_casts(proto: onnx.ModelProto, feed: dict[str, Any]) -> bool:
    """Whether a file casts a number to an integer that cannot hold it: ONNX does not say what that gives."""
    casts = [node for node in proto.graph.node if node.op_type in ("Cast", "CastLike")]
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    del shown.graph.output[:]
    for name in dict.fromkeys(name for node in casts for name in (node.input[0], node.output[0])):
        shown.graph.node.add(op_type="Identity", input=[name], output=[f"{name} shown"])
        shown.graph.output.append(onnx.helper.make_empty_tensor_value_info(f"{name} shown"))
    found, _ = _foreign(shown.SerializeToString(), shown, feed) if casts else (None, "")
    for node in casts if found else ():
        before, after = found[f"{node.input[0]} shown"], found[f"{node.output[0]} shown"]
        if before.dtype.kind == "f" and after.dtype.kind in "iu":
            limits, cut = np.iinfo(after.dtype), np.trunc(before.astype(np.float64))
            if not ((cut >= limits.min) & (cut <= limits.max)).all():
                return True
    return False


def _near(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], coarse: bool) -> bool:
    if a.dtype.kind in "iub":
        return bool((a == b).all())
    small = coarse or a.dtype.itemsize < 4
    x, y = (np.clip(each.astype(np.float64), -3e38, 3e38) for each in (a, b))  # masks are infinite here, the largest number there
    if small:
        y = np.where(np.isfinite(y), y, x)  # half a float overflows in many orders
    finite = np.abs(y[np.isfinite(y)])
    scale = float(finite.max()) if finite.size else 0.0
    return bool(np.isclose(x, y, rtol=2e-2 if small else 1e-3, atol=(2e-2 if small else 1e-4) * max(scale, 1e-3), equal_nan=True).all())


def stretch(first: int, count: int, corpus: Path) -> None:
    """Files [first, first + count), told line by line."""
    from operand_mutations import contradicted

    warnings.simplefilter("ignore")
    np.empty = _poisoned  # type: ignore[assignment]
    files = pickle.loads(corpus.read_bytes())

    def note(text: str) -> None:
        print(text, flush=True)

    for number in range(first, first + count):
        data, what, foreign = contradicted(files, number)
        note(f"file {number} {json.dumps(what)}")
        note(f"done {outcome(data, foreign, note)}".replace("\n", " "))


class Tally:
    """What has been found; shared by threads that each watch one process."""

    def __init__(self, first: int, count: int, corpus: Path):
        self.outcomes: Counter[str] = Counter()
        self.found: list[tuple[int, str, str]] = []
        self._left = list(range(first, first + count, _EACH))[::-1]
        self._end, self._corpus, self._lock = first + count, corpus, threading.Lock()

    def watch(self) -> None:
        """Takes stretches until none is left."""
        while True:
            with self._lock:
                if not self._left:
                    return
                first = self._left.pop()
            end = min(first + _EACH, self._end)
            while first < end:
                first = self._one_process(first, end)

    def add(self, number: int, what: str, result: str) -> None:
        with self._lock:
            self.outcomes[result.partition(":")[0]] += 1
            if result.startswith("FOUND"):
                self.found.append((number, what, result))
                print(f"file {number}: {what}: {result}", flush=True)

    def _one_process(self, first: int, end: int) -> int:
        """Runs files in a child until it is through, dies or hangs; the next file to run."""
        command = [sys.executable, __file__, "--stretch", str(first), str(end - first), "--corpus", str(self._corpus)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child, selectors.DefaultSelector() as ready:
            assert child.stdout is not None
            ready.register(child.stdout, selectors.EVENT_READ)
            number, what, stage = first - 1, "", ""
            unread = b""
            while True:
                while b"\n" not in unread:
                    more = os.read(child.stdout.fileno(), 1 << 16) if ready.select(HANG_S if stage else START_S) else None
                    if not more:
                        break
                    unread += more
                text, newline, unread = unread.partition(b"\n")
                line = text.decode() if newline else None
                if line is None:
                    child.kill()
                    how = "hang" if more is None else "crash"
                    if number + 1 < end or stage:
                        number += not stage  # a file that could not even be made
                        self.add(number, json.loads(what) if stage else "", f"onnxruntime: {how}" if stage == "foreign" else f"FOUND {how}")
                    return number + 1
                if line.startswith("file "):
                    _, counted, what = line.split(" ", 2)
                    number, stage = int(counted), "own"
                elif line.startswith("done "):
                    self.add(number, json.loads(what), line[5:])
                    stage = ""
                else:
                    stage = "foreign"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="files (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the first file's number (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one file, in this process")
    parser.add_argument("--output", type=Path, help="where to write the record, as JSON")
    parser.add_argument("--stretch", type=int, nargs=2, metavar=("FIRST", "COUNT"), help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stretch:
        stretch(*arguments.stretch, arguments.corpus)
        return 0
    from operand_mutations import contradicted, seeds

    files, started = seeds(), time.perf_counter()
    if arguments.only is not None:
        data, what, foreign = contradicted(files, arguments.only)
        np.empty = _poisoned  # type: ignore[assignment]
        print(what, onnx.printer.to_text(onnx.ModelProto.FromString(data)), outcome(data, foreign, print), sep="\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.write_bytes(pickle.dumps(files))
        tally = Tally(arguments.seed, arguments.count, corpus)
        threads = [threading.Thread(target=tally.watch) for _ in range(arguments.processes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for result, number in tally.outcomes.most_common():
        print(f"{number:>8}  {result}")
    done = sum(tally.outcomes.values())
    record = {"files": done, "first": arguments.seed, "seeds": len(files), "seconds": time.perf_counter() - started,
              "outcomes": dict(tally.outcomes), "found": tally.found}
    if arguments.output:
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{done} files of {len(files)} seeds, {len(tally.found)} found")
    return 1 if tally.found or done < arguments.count else 0


if __name__ == "__main__":
    sys.exit(main())
