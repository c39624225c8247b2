"""One policy in Cervello and in onnxruntime, as calls on the same inputs in rotation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from timing import ROTATION, Call

import cervello

Array = np.ndarray[Any, Any]
Columns = Mapping[str, Array]


def session(model: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """An onnxruntime session with as many threads as Cervello gets, and none that spins beside."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def columns(policy: cervello.Policy, n_rows: int, seed: int) -> dict[str, Array]:
    """Random observations for everything the model takes, inputs that wrappers provide included."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, spec in policy.model.inputs.items():
        shape = spec.batched(n_rows)
        found[name] = (rng.standard_normal(shape) if spec.dtype.kind == "f" else np.ones(shape)).astype(spec.dtype)
    return found


def running(runtime: onnxruntime.InferenceSession, given: list[dict[str, Array]]) -> list[Call]:
    """`run`: arrays in, fresh arrays out."""
    declared = {port.name: port.shape for port in runtime.get_inputs()}
    feeds = [{name: array[0] if len(declared[name]) < array.ndim else array for name, array in feed.items()} for feed in given]
    return [partial(runtime.run, None, feed) for feed in feeds]


def bound(runtime: onnxruntime.InferenceSession, given: list[dict[str, Array]], outputs: Mapping[str, Array]) -> list[Call]:
    """io-binding: inputs and outputs stay where they are."""
    calls = []
    for feed in given:
        binding = runtime.io_binding()
        for name, array in feed.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(array)))
        calls.append(partial(runtime.run_with_iobinding, binding))
    return calls


class Crowd:
    """A policy with agents that have begun, and observations for them in rotation."""

    def __init__(self, source: Any, n_rows: int, **options: Any):
        self.policy = cervello.load(source, **options)
        self.ids = list(range(n_rows))
        self.policy.begin_agents(self.ids)
        self.given = [columns(self.policy, n_rows, seed) for seed in range(ROTATION)]
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
