"""A policy file run by onnxruntime, where it is installed. Used for comparisons only."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cervello.errors import ConfigurationError, ExecutionError, UnsupportedError
from cervello.native import Model
from cervello.native.frontend import crvo
from cervello.native.report.comparison import ModelRunner

Array = np.ndarray[Any, Any]
_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")


class OnnxruntimeRunner:
    """Rows run at once where the file leaves the batch open, else one by one.

    Random ops are taken out of the graph, and what Cervello gives for them, means and modes, goes in as inputs.
    """

    def __init__(self, path: Path, ours: ModelRunner, dims: Mapping[str, int]):
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigurationError(f"compare, --against onnxruntime: expected the package onnxruntime, got {error}; pip install "
                                     "onnxruntime") from error
        self._runtime: Any = onnxruntime
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self.inputs, self.outputs, self.tensors = ours.inputs, ours.outputs, ours.tensors
        self._path, self._dims, self._ours = path, dims, ours.model
        self._proto = _loaded(path)
        declared = {each.name for each in self._proto.graph.output}
        self._drawn = _without_random_nodes(self._proto)
        self._drawn_outputs = [name for name in self._drawn if name in declared]
        self._random = Model.load(path, outputs=self._drawn, dims=dims, share=ours.model) if self._drawn else None
        if len(ours.model.random_nodes) > len(self._drawn):
            raise UnsupportedError(f"compare, --against onnxruntime: expected random ops outside of branches and loops, got "
                                   f"{', '.join(ours.model.random_nodes)}; compare two files instead")
        self._session = self._opened(self._proto)
        self._declared = {each.name: list(each.shape) for each in self._session.get_inputs()}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs, in the shapes that Cervello gives them."""
        given = self._with_draws(inputs)
        n_rows = next((given[name].shape[spec.batch_axis] for name, spec in self.inputs.items() if spec.batch_axis is not None), 1)
        found = self._at_once(given) if n_rows != 1 and self._batch_is_open() else None
        if found is None:
            rows = [self._one_row({name: self._row_of(name, array, row) for name, array in given.items()}) for row in range(n_rows)]
            found = {name: self._joined(name, [each[name] for each in rows]) for name in rows[0]}
        return {**found, **{name: given[name] for name in self._drawn_outputs}}

    def inner(self, names: Sequence[str], row: Mapping[str, Array]) -> dict[str, Array]:
        """Tensors for one row."""
        proto = copy.deepcopy(self._proto)
        known = {each.name for each in proto.graph.output}
        wanted = [name for name in names if name not in self._drawn]
        proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted if name not in known)
        session = self._opened(proto)
        given = {name: self._row_of(name, array, 0) for name, array in self._with_draws(row).items()}
        return {**{name: given[name] for name in names if name in self._drawn}, **self._ran(session, wanted, given)}

    def _with_draws(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._random is None:
            return dict(inputs)
        drawn = {**self._random.run({name: inputs[name] for name in self._random.inputs}, deterministic=True), **self._random.constants}
        return {**inputs, **drawn}

    def _batch_is_open(self) -> bool:
        """Whether every input has an axis for rows that the file leaves open."""
        for name, spec in self.inputs.items():
            shape = self._declared.get(name, [])
            if spec.batch_axis is not None and (len(shape) != len(spec.shape) + 1 or isinstance(shape[spec.batch_axis], int)):
                return False
        return True

    def _at_once(self, given: Mapping[str, Array]) -> dict[str, Array] | None:
        """None where the graph has one row baked into it, whatever its inputs say."""
        names = [each.name for each in self._session.get_outputs()]
        try:
            return self._ran(self._session, names, given)
        except ExecutionError:
            return None

    def _one_row(self, given: Mapping[str, Array]) -> dict[str, Array]:
        return self._ran(self._session, [each.name for each in self._session.get_outputs()], given)

    def _row_of(self, name: str, array: Array, row: int) -> Array:
        """A row as the file declares it, with an axis of 1 for the batch or without an axis."""
        axis = self._axis(name)
        if axis is None:
            return array
        one = np.take(array, [row], axis=axis)
        declared = self._declared.get(name)
        return one if declared is None or not declared or len(declared) == one.ndim else one.reshape(np.delete(one.shape, axis))

    def _axis(self, name: str) -> int | None:
        for specs in (self.inputs, *(() if self._random is None else (self._random.outputs,))):
            if name in specs:
                axis: int | None = specs[name].batch_axis
                return axis
        return None

    def _joined(self, name: str, rows: Sequence[Array]) -> Array:
        spec = self.outputs.get(name)
        if spec is None or spec.batch_axis is None:
            return rows[0]
        if rows[0].size != spec.size:
            return np.stack(rows)  # of another shape than Cervello's, which counts as a difference
        return np.concatenate([row.reshape(spec.batched(1)) for row in rows], axis=spec.batch_axis)

    def _opened(self, proto: onnx.ModelProto) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        try:
            return self._runtime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common class
            raise UnsupportedError(f"model {self._path.stem!r}: expected a file that {self.name} loads, got {error}") from error

    def _ran(self, session: Any, names: Sequence[str], given: Mapping[str, Array]) -> dict[str, Array]:
        kinds = {each.name: each.type for each in session.get_inputs()}
        feed = {name: np.ascontiguousarray(given[name].astype(_ELEMENTS.get(kinds[name], given[name].dtype), copy=False))
                for name in kinds if name in given}
        try:
            found = session.run(list(names), feed)
        except Exception as error:
            raise ExecutionError(f"model {self._path.stem!r}: expected {self.name} to run it, got {error}") from error
        return dict(zip(names, found, strict=True))


_ELEMENTS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(int64)": np.int64,
             "tensor(int32)": np.int32, "tensor(bool)": np.bool_, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


def _loaded(path: Path) -> onnx.ModelProto:
    data = path.read_bytes()
    if crvo.is_crvo(data):
        return onnx.load_model_from_string(crvo.unpacked(path.stem, data))
    return onnx.load(path)  # with its external data


def _without_random_nodes(proto: onnx.ModelProto) -> list[str]:
    """Takes random nodes out of a graph and makes their outputs inputs; returns their names."""
    drawn = [node for node in proto.graph.node if node.op_type in _RANDOM and node.domain in ("", "ai.onnx")]
    names = []
    for node in drawn:
        proto.graph.node.remove(node)
        kind = next((a.i for a in node.attribute if a.name == "dtype"), 0)
        if not kind:
            kind = onnx.TensorProto.INT32 if node.op_type == "Multinomial" else onnx.TensorProto.FLOAT
        proto.graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], kind, None))
        names.append(node.output[0])
    for each in [each for each in proto.graph.output if each.name in names]:
        proto.graph.output.remove(each)
    return names
