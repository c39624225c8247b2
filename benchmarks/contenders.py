"""One policy in Cervello and in its peers, as calls on the same inputs in rotation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from timing import ROTATION, Call

import cervello

Array = np.ndarray[Any, Any]
Columns = Mapping[str, Array]
OURS = "cervello"
_MANY_ROWS = 64  # from here on one infer request serves all inputs in rotation: each would keep all intermediate values


def session(model: bytes | str, threads: int = 1) -> onnxruntime.InferenceSession:
    """An onnxruntime session with as many threads as Cervello gets, and none that spins beside."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def sample(model: cervello.Model, n_rows: int, seed: int) -> dict[str, Array]:
    """Random observations for everything the model takes, inputs that wrappers provide included."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, spec in model.inputs.items():
        shape = spec.batched(n_rows)
        found[name] = (rng.standard_normal(shape) if spec.dtype.kind == "f" else np.ones(shape)).astype(spec.dtype)
    return found


def running(runtime: onnxruntime.InferenceSession, given: list[Columns]) -> list[Call]:
    """`run`: arrays in, fresh arrays out."""
    return [partial(runtime.run, None, feed) for feed in _as_declared(runtime, given)]


def bound(runtime: onnxruntime.InferenceSession, given: list[Columns]) -> list[Call]:
    """io-binding: inputs and outputs stay where they are."""
    calls = []
    feeds = _as_declared(runtime, given)
    results = runtime.run(None, feeds[0])
    for feed in feeds:
        binding = runtime.io_binding()
        for name, array in feed.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for port, result in zip(runtime.get_outputs(), results, strict=True):
            binding.bind_ortvalue_output(port.name, onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(result)))
        calls.append(partial(runtime.run_with_iobinding, binding))
    return calls


def _as_declared(runtime: onnxruntime.InferenceSession, given: list[Columns]) -> list[Columns]:
    """Without the batch axis where the file has none; a peer can then run one row only."""
    ranks = {port.name: len(port.shape) for port in runtime.get_inputs()}
    for name, array in given[0].items():
        if ranks[name] < array.ndim and array.shape[0] != 1:
            raise ValueError(f"cannot give {array.shape[0]} rows to input {name!r}, which has no batch axis")
    return [{name: array[0] if ranks[name] < array.ndim else array for name, array in feed.items()} for feed in given]


def _openvino(path: Path, given: list[Columns], threads: int, precision: str | None) -> list[Call]:
    import openvino

    core = openvino.Core()
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if precision is not None:
        options["INFERENCE_PRECISION_HINT"] = precision
    network = core.read_model(path)
    shapes = {name: openvino.PartialShape(list(array.shape)) for name, array in given[0].items()}
    ports = {next(iter(port.get_names() & shapes.keys())): port for port in network.inputs}
    network.reshape({port: shapes[name] if len(port.get_partial_shape()) == len(given[0][name].shape) else port.get_partial_shape()
                     for name, port in ports.items()})
    compiled = core.compile_model(network, "CPU", options)
    calls = []
    shared = compiled.create_infer_request() if _rows_of(given) >= _MANY_ROWS else None
    for feed in given:
        request = shared or compiled.create_infer_request()
        tensors = []
        for index, port in enumerate(compiled.inputs):
            array = next(feed[name] for name in port.get_names() if name in feed)
            array = array.reshape(tuple(port.shape))
            tensors.append(openvino.Tensor(array, shared_memory=True))
            request.set_input_tensor(index, tensors[-1])
        calls.append(partial(_infer, request, array) if shared is None else partial(_infer_with, request, tensors))
    return calls


def _rows_of(given: list[Columns]) -> int:
    return max(array.shape[0] if array.ndim else 1 for array in given[0].values())


def _infer(request: Any, kept: Array) -> None:
    request.infer()


def _infer_with(request: Any, tensors: list[Any]) -> None:
    for index, tensor in enumerate(tensors):
        request.set_input_tensor(index, tensor)
    request.infer()


def _tract(path: Path, given: list[Columns]) -> list[Call]:
    import tract

    model = tract.onnx().load(str(path))
    names = [model.input_name(i) for i in range(model.input_count())]
    for i, name in enumerate(names):
        array = given[0][name]
        kind = {"f": "f", "i": "i", "b": "bool"}[array.dtype.kind]
        written = kind if kind == "bool" else f"{kind}{array.itemsize * 8}"
        model.set_input_fact(i, ",".join([*map(str, array.shape), written]))
    runnable = model.into_model().into_runnable()
    return [partial(runnable.run, [tract.Tensor.from_numpy(feed[name]) for name in names]) for feed in given]


def _ours(model: cervello.Model, given: list[Columns], threads: int) -> list[Call]:
    """Handles on fixed buffers."""
    n_rows = next(array.shape[model.inputs[name].batch_axis or 0] for name, array in given[0].items())
    out = {name: np.empty(spec.batched(n_rows), spec.dtype) for name, spec in model.outputs.items()}
    return [model.bind(feed, out, seed=0 if model.random_nodes else None, threads=threads) for feed in given]


def opened(threads: int) -> dict[str, Callable[[Path, cervello.Model, list[Columns]], list[Call]]]:
    """Every contender: from a model's file and inputs in rotation to calls."""
    return {
        OURS: lambda path, model, given: _ours(model, given, threads),
        "onnxruntime": lambda path, model, given: running(session(str(path), threads), given),
        "onnxruntime io-binding": lambda path, model, given: bound(session(str(path), threads), given),
        "openvino": lambda path, model, given: _openvino(path, given, threads, "f32"),
        "openvino bf16": lambda path, model, given: _openvino(path, given, threads, "bf16"),
        "tract": lambda path, model, given: _tract(path, given)}


class Crowd:
    """A policy with agents that have begun, and observations for them in rotation."""

    def __init__(self, source: Any, n_rows: int, **options: Any):
        self.policy = cervello.load(source, **options)
        self.ids = list(range(n_rows))
        self.policy.begin_agents(self.ids)
        self.given = [sample(self.policy.model, n_rows, seed) for seed in range(ROTATION)]
        self.visible = [{name: feed[name] for name in self.policy.inputs} for feed in self.given]
        self.out = {name: np.empty(spec.batched(n_rows), spec.dtype) for name, spec in self.policy.outputs.items()}

    def batches(self) -> list[Call]:
        """`infer_batch` that returns fresh arrays."""
        return [partial(self.policy.infer_batch, self.ids, feed) for feed in self.visible]

    def batches_out(self) -> list[Call]:
        """`infer_batch(out=)`."""
        return [partial(self.policy.infer_batch, self.ids, feed, out=self.out) for feed in self.visible]

    def dictionaries(self) -> list[Call]:
        """`infer` with a dictionary per agent."""
        return [partial(self.policy.infer, {i: {name: column[i] for name, column in feed.items()} for i in self.ids})
                for feed in self.visible]

    def runs_out(self) -> list[Call]:
        """`Model.run(out=)`."""
        out = {name: np.empty(spec.batched(len(self.ids)), spec.dtype) for name, spec in self.policy.model.outputs.items()}
        return [partial(self.policy.model.run, feed, out) for feed in self.given]

    def handles(self) -> list[Call]:
        """`Model.bind` handles."""
        out = {name: np.empty(spec.batched(len(self.ids)), spec.dtype) for name, spec in self.policy.model.outputs.items()}
        return [self.policy.model.bind(feed, out) for feed in self.given]
