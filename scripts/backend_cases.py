"""Runs the cases that ship with the onnx package through `cervello.onnx_backend` and writes docs/backend.md, a table per op.

    python scripts/backend_cases.py [--only WORD …] [--output FILE] [--processes N] [--verbose]

A case passes when every output has the expected type and shape and lies within its tolerance (rtol 1e-3, atol 1e-7 unless it says
otherwise; bfloat16 2**-6), as onnx's own runner has it. The real networks are those that the package brings, without weights. Exits with 1
when a case fails that is not known to.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import sys
import time
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
ORDINARY = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL})
# The ops that policies have or will have soon, every one of them planned.
POLICY_OPS = frozenset("""
    Gemm Constant Add Concat Mul Sub Reshape Tanh Div Sigmoid Slice Identity Relu Conv Softmax Clip Unsqueeze Exp Log Shape Cast
    Transpose Squeeze Flatten Gather MatMul Elu RandomNormalLike Multinomial ArgMax LSTM ReduceMean Pow LeakyRelu ReduceSum Sqrt
    BatchNormalization ConstantOfShape Expand Split Where GlobalAveragePool MaxPool HardSigmoid HardSwish LayerNormalization Less
    LogSoftmax Max Min GRU Neg Not Pad ReduceLogSumExp CastLike Cos Einsum Equal Erf Greater Mish ReduceMax ReduceProd Selu Sin
    Softplus Attention RMSNormalization GroupNormalization InstanceNormalization Gelu ScatterND GatherND GatherElements TopK CumSum
    AveragePool And Or Xor Floor Ceil Round Sign Abs Atan Tan Asin Acos Sinh Cosh Asinh Acosh Atanh Resize ConvTranspose RandomNormal
    RandomUniform RandomUniformLike Bernoulli LessOrEqual GreaterOrEqual ReduceMin ReduceSumSquare ReduceLogSum ArgMin GlobalMaxPool
    Swish Reciprocal Mod Dropout PRelu Celu ThresholdedRelu Softsign Tile Size""".split())  # noqa: SIM905  (a list of a hundred words reads better as words)


# Cases that fail for a reason that stays, by the beginning of their names.
KNOWN = {
    "test_attention_4d_causal_fp16_expanded": "each op computes float16 in float32 and rounds once; two elements are one unit away",
    "test_bernoulli": "wants the numbers of one generator; Cervello draws from its own, per agent",
    "test_if_opt": "its branches give optional values, so onnx's reference implementation runs it, which gives this",
    "test_range_float": "its number of turns depends on data, so onnx's reference implementation runs it, which gives this",
    "test_range_bfloat16": "its number of turns depends on data, so onnx's reference implementation runs it, which gives this",
    "test_range_int32": "its number of turns depends on data, so onnx's reference implementation runs it, which gives this",
    "test_scan_sum": "Scan of opset 8 means something else and is refused, by onnx's reference implementation too",
    "test_gradient": "computes gradients: Cervello does not train"}


class Result(NamedTuple):
    """What became of a case: tier is the slowest that took part; `ordinary`: of common types and policy ops only."""

    name: str
    op: str
    tier: str
    passed: bool
    reason: str
    ordinary: bool


@functools.cache
def cases() -> dict[str, Any]:
    """All cases by kind and name; the node cases are computed by the onnx package when first asked for."""
    from onnx.backend.test.loader import DATA_DIR, load_model_tests

    found: dict[str, Any] = {}
    for kind in KINDS:
        found |= {f"{kind}/{case.name}": case for case in load_model_tests(kind=kind) if case.url is None}
    for path in sorted((Path(DATA_DIR) / "light").glob("*.onnx")):
        found[f"light/test_{path.stem}"] = path
    return found


def _value(path: Path, port: onnx.ValueInfoProto) -> Any:
    data, kind = path.read_bytes(), port.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return numpy_helper.to_list(value)
    return value


def loaded(case: Any) -> tuple[onnx.ModelProto, list[tuple[list[Any], list[Any]]], float, float]:
    """A case's model, its (inputs, outputs), rtol, atol."""
    if isinstance(case, Path):
        model = onnx.load(case)
        given = {tensor.name for tensor in model.graph.initializer}
        ports = [port for port in model.graph.input if port.name not in given]
        inputs = []
        for port in ports:  # as onnx's runner makes them up
            shape = tuple(dim.dim_value for dim in port.type.tensor_type.shape.dim)
            inputs.append((np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32))
        expected = numpy_helper.to_array(onnx.TensorProto.FromString(case.with_name(f"{case.stem}_output_0.pb").read_bytes()))
        return model, [(inputs, [expected])], 1e-3, 1e-7
    if case.model is not None:
        sets = [([_array(v) for v in inputs], [_array(v) for v in outputs]) for inputs, outputs in case.data_sets]
        return case.model, sets, case.rtol, case.atol
    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    sets = []
    for data in sorted(folder.glob("test_data_set_*")):
        sets.append(([_value(data / f"input_{i}.pb", model.graph.input[i]) for i in range(len(list(data.glob("input_*.pb"))))],
                     [_value(data / f"output_{i}.pb", model.graph.output[i]) for i in range(len(list(data.glob("output_*.pb"))))]))
    return model, sets, case.rtol, case.atol


def compare(found: Any, expected: Any, rtol: float, atol: float) -> str:
    """Why a value is not the expected one; empty when it is."""
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return f"expected a list of {len(expected)}, got {type(found).__name__}"
        return next((why for a, b in zip(found, expected, strict=True) if (why := compare(a, b, rtol, atol))), "")
    if expected is None:
        return "" if found is None else "expected nothing"
    a, b = np.asarray(found), np.asarray(expected)
    if a.shape == b.shape and b.dtype.kind in "OSU":  # strings come in several types
        return "" if (a == b).all() else "other strings"
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"expected {b.shape} {b.dtype}, got {a.shape} {a.dtype}"
    if b.dtype.name == "bfloat16":
        rtol = max(rtol, 2**-6)
    wide = np.complex128 if b.dtype.kind == "c" else np.float64
    close = np.isclose(a.astype(wide), b.astype(wide), rtol=rtol, atol=atol, equal_nan=True)
    return "" if close.all() else f"{int((~close).sum())} of {close.size} elements differ, the first by {_gap(a, b, close, wide)}"


def _gap(a: Any, b: Any, close: Any, wide: Any) -> str:
    at = tuple(np.argwhere(~close)[0])
    return f"{abs(a.astype(wide)[at] - b.astype(wide)[at]):.3g} at {tuple(int(i) for i in at)}"


def _types(model: onnx.ModelProto) -> set[int]:
    return {port.type.tensor_type.elem_type if port.type.HasField("tensor_type") else -1
            for port in (*model.graph.input, *model.graph.output)}


def run(key: str) -> Result:
    """Runs one case."""
    from cervello import onnx_backend
    from cervello.errors import CervelloError

    warnings.simplefilter("ignore")
    name = key.partition("/")[2]
    model, sets, rtol, atol = loaded(cases()[key])
    ops = [node.op_type for node in model.graph.node]
    op = ops[0] if len(set(ops)) == 1 else _stem(name) if not key.startswith("light/") else "whole networks"
    ordinary = _types(model) <= ORDINARY and bool(ops) and all(node.op_type in POLICY_OPS and not node.domain for node in model.graph.node)
    prepared = None
    try:
        prepared = onnx_backend.prepare(model)
        for inputs, expected in sets:
            found = prepared.run(inputs)
            if len(found) != len(expected):
                return Result(name, op, _tier(prepared), False, f"expected {len(expected)} outputs, got {len(found)}", ordinary)
            for port, a, b in zip(model.graph.output, found, expected, strict=True):
                why = compare(a, b, rtol, atol)
                if why:
                    return Result(name, op, _tier(prepared), False, f"{port.name}: {why}", ordinary)
    except CervelloError as error:
        return Result(name, op, "refused", False, str(error)[:300], ordinary)
    except Exception as error:
        return Result(name, op, "crashed", False, f"{type(error).__name__}: {error}"[:300], ordinary)
    tier = _tier(prepared)
    return Result(name, op, tier, True, "" if tier == "planned" else next(iter(prepared.reasons.values()), "")[:200], ordinary)


def _tier(prepared: Any) -> str:
    return next((tier for tier in ("reference", "numpy") if prepared.tiers.get(tier)), "planned")


def _stem(name: str) -> str:
    return name.removeprefix("test_").removesuffix("_cpu").partition("_expanded")[0]


def all_results(words: list[str], processes: int) -> list[Result]:
    """Every case, in order, with progress."""
    chosen = [key for key in cases() if not words or any(word in key for word in words)]
    found: list[Result] = []
    started = shown = time.perf_counter()
    with ProcessPoolExecutor(processes) as pool:
        jobs = [pool.submit(run, key) for key in chosen]
        for key, job in zip(chosen, jobs, strict=True):
            try:
                found.append(job.result(timeout=300))
            except Exception as error:  # a worker that died takes its case with it
                name = key.partition("/")[2]
                found.append(Result(name, _stem(name), "crashed", False, f"{type(error).__name__}: {error}", False))
            if time.perf_counter() - shown > 5:
                shown = time.perf_counter()
                print(f"{len(found)} of {len(chosen)}, {shown - started:.0f} s", file=sys.stderr, flush=True)
    return found


def table(results: list[Result]) -> str:
    """docs/backend.md."""
    passed = [r for r in results if r.passed]
    ordinary = [r for r in results if r.ordinary]
    planned = sum(r.passed and r.tier == "planned" for r in ordinary)
    lines = ["# ONNX backend cases", "",
             "Written by `python scripts/backend_cases.py`, which runs the cases that ship with the onnx package "
             f"({onnx.__version__}) through `cervello.onnx_backend`.", "",
             f"**{len(passed)} of {len(results)} pass**, {sum(r.tier == 'planned' for r in passed)} of them wholly planned. Of the "
             f"{len(ordinary)} cases that hold float32, int64, int32 and bool only, and only ops that policies have, {planned} pass wholly "
             "planned.", "",
             "planned: compiled kernels only; numpy, reference: at least one node there; failed: wrong, or refused.", "",
             "| op | cases | planned | numpy | reference | failed |", "|---|---|---|---|---|---|"]
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        groups[result.op].append(result)
    for op in sorted(groups, key=str.lower):
        own = groups[op]
        tiers = Counter(r.tier for r in own if r.passed)
        failed = sum(not r.passed for r in own)
        lines.append(f"| {op} | {len(own)} | " + " | ".join(str(tiers[t] or "") for t in ("planned", "numpy", "reference"))
                     + f" | {failed or ''} |")
    failures = [r for r in results if not r.passed]
    if failures:
        lines += ["", "## Failures", "", "| case | tier | what happens | why |", "|---|---|---|---|"]
        lines += [f"| {r.name} | {r.tier} | {' '.join(r.reason.split()).replace('|', '/')[:160]} | {known(r.name)} |"
                  for r in sorted(failures)]
    return "\n".join(lines) + "\n"


def known(name: str) -> str:
    """Why a case is expected to fail; empty when it is not."""
    if name.startswith("test_image_decoder") and importlib.util.find_spec("PIL") is None:
        return "onnx's reference implementation of ImageDecoder wants Pillow, which is not installed"
    return next((why for beginning, why in KNOWN.items() if name.startswith(beginning)), "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="cases whose name holds one of these words, no table")
    parser.add_argument("--processes", type=int, default=2, help="cases run at once (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "backend.md", help="the table (default: docs/backend.md)")
    parser.add_argument("--json", type=Path, help="also every result, as JSON")
    parser.add_argument("--verbose", action="store_true", help="print every case that failed or was not planned")
    arguments = parser.parse_args()
    results = all_results(arguments.only, arguments.processes)
    if arguments.json:
        arguments.json.write_text(json.dumps([r._asdict() for r in results], indent=1))
    for result in results:
        if not result.passed or (arguments.verbose and result.tier != "planned"):
            print(f"{'' if result.passed else 'FAILED '}{result.name} [{result.tier}] {result.reason}")
    text = table(results)
    if not arguments.only:
        arguments.output.write_text(text, encoding="utf-8")
    print(text.splitlines()[4])
    return 0 if all(r.passed or known(r.name) for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
