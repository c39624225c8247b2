"""ONNX's standard backend interface over the planner: any graph, arrays of any shape, no agents.

A graph is built for the shapes its inputs have when it first runs, and kept with them. Inputs that configure an op (a shape to reshape to,
axes, filters) count as such: a graph is built for their values too. What the planner cannot take at all (sequences, strings) runs on onnx's
own reference implementation; `Prepared.tiers` says which tier ran what.

Source: onnx.backend.base.Backend and BackendRep.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from cervello.errors import CervelloError, ConfigurationError, InputError, UnsupportedError
from cervello.native.fallback.reference import NEVER
from cervello.native.frontend.importer import read
from cervello.native.graph.graph import Graph
from cervello.native.graph.op_table import REDUCTIONS
from cervello.native.model import Model

Array = np.ndarray[Any, Any]
_MODELS_KEPT = 8
# Operands that configure an op, by position: shapes, axes, and weights, which are packed.
_SETTINGS = {"Reshape": (1,), "Expand": (1,), "Slice": (1, 2, 3, 4), "Squeeze": (1,), "Unsqueeze": (1,), "Pad": (1, 2, 3), "Tile": (1,),
             "Split": (1,), "ConstantOfShape": (0,), "OneHot": (1, 2), "CumSum": (1,), "Range": (0, 1, 2), "Resize": (1, 2, 3),
             "Upsample": (1,), "TopK": (1,), "Clip": (1, 2), "Trilu": (1,), "CenterCropPad": (1,), "Dropout": (1, 2),
             "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "LSTM": (1, 2, 3, 7), "GRU": (1, 2, 3), "RNN": (1, 2, 3),
             "BatchNormalization": (1, 2, 3, 4),
             "LayerNormalization": (1, 2),
             **dict.fromkeys(REDUCTIONS, (1,))}


class Prepared(BackendRep):
    """A graph that is ready to run. Made by `prepare`.

    Attributes:
      tiers: steps of the last run by tier ("planned", "numpy", "reference").
      reasons: why steps of the last run were not planned.
    """

    def __init__(self, proto: onnx.ModelProto):
        self._proto = proto
        self._ports = [port for port in proto.graph.input if port.name not in {tensor.name for tensor in proto.graph.initializer}]
        self._models: OrderedDict[Any, Model] = OrderedDict()
        self._evaluator: Any = None
        self.tiers: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        try:
            self._graph: Graph | None = read(proto)
        except UnsupportedError as error:
            self._graph, self.reasons = None, {"graph": str(error)}
        self._settings = _settings(self._graph) if self._graph is not None else frozenset()

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Runs the graph.

        Args:
          inputs: arrays in the order of the graph's inputs, or by name.
        Returns:
          the outputs in order.
        Raises:
          InputError: too many inputs, or none where the graph needs one; UnsupportedError: no tier runs the graph.
        """
        if kwargs:
            raise InputError(f"backend, run: expected no options, got {sorted(kwargs)}")
        feed = self._named(inputs)
        model = self._model(feed)
        return self._reference(feed) if model is None else self._run(model, feed)

    def _named(self, inputs: Any) -> dict[str, Any]:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        values = list(inputs) if isinstance(inputs, Sequence) else [inputs]
        if len(values) > len(self._ports):
            raise InputError(f"backend, run: expected {len(self._ports)} inputs {[port.name for port in self._ports]}, got {len(values)}")
        return {port.name: value for port, value in zip(self._ports, values, strict=False)}

    def _model(self, feed: Mapping[str, Any]) -> Model | None:
        """The graph built for these shapes; None when only the reference implementation takes it."""
        graph = self._graph
        missing = [] if graph is None else [port.name for port in graph.inputs if port.name not in feed]
        if missing:
            raise InputError(f"backend, run: expected a value for input {missing[0]!r}, got none")
        if graph is None or any(not isinstance(value, (np.ndarray, np.generic, int, float, bool)) for value in feed.values()):
            return None
        arrays = {name: np.asarray(value) for name, value in feed.items()}
        key = tuple((name, a.shape, a.dtype.str, a.tobytes() if name in self._settings else b"") for name, a in arrays.items())
        found = self._models.get(key)
        if found is not None:
            self._models.move_to_end(key)
            return found
        fixed = {name: arrays[name] for name in self._settings if name in arrays}
        try:
            found = Model(graph.bound(fixed), shapes={name: array.shape for name, array in arrays.items() if name not in fixed})
        except CervelloError as error:
            self.reasons = {"graph": str(error)}
            return None
        self._models[key] = found
        while len(self._models) > _MODELS_KEPT:
            self._models.popitem(last=False)
        return found

    def _run(self, model: Model, feed: Mapping[str, Any]) -> tuple[Any, ...]:
        given = {}
        for name, spec in model.inputs.items():
            given[name] = np.ascontiguousarray(feed[name], spec.dtype)[None].reshape(1, *spec.shape)
        found = model.run(given, seed=0 if model.random_nodes else None)
        self.tiers, self.reasons = dict(model.plan().tiers), dict(model.slow_nodes)
        dynamic_outputs = set(found) - set(model.outputs)
        results = {name: array if name in dynamic_outputs else array[0] for name, array in found.items()} | dict(model.constants)
        return tuple(results[port.name] for port in self._proto.graph.output)

    def _reference(self, feed: Mapping[str, Any]) -> tuple[Any, ...]:
        from onnx.reference import ReferenceEvaluator

        if self._evaluator is None:
            for node in self._proto.graph.node:
                if node.op_type in NEVER:
                    raise UnsupportedError(f"backend: expected a graph that the planner takes, got {node.op_type}, which onnx's reference "
                                           f"implementation does not run as specified ({next(iter(self.reasons.values()), '')})")
        self.tiers = {"reference": len(self._proto.graph.node)}
        try:
            self._evaluator = self._evaluator or ReferenceEvaluator(self._proto)
            with np.errstate(all="ignore"):
                return tuple(self._evaluator.run(None, dict(feed)))
        except Exception as error:
            raise UnsupportedError(f"backend: expected a graph that onnx's reference implementation runs, got {type(error).__name__}: "
                                   f"{error} ({next(iter(self.reasons.values()), '')})") from error


def _settings(graph: Graph) -> frozenset[str]:
    """Inputs that only configure ops."""
    found: set[str] = set()
    data: set[str] = set()
    for node in graph.nodes:
        for i, name in enumerate(node.inputs):
            (found if i in _SETTINGS.get(node.op, ()) and not node.domain else data).add(name)
    return frozenset(port.name for port in graph.inputs if port.name in found - data)


class CervelloBackend(Backend):
    """`onnx.backend.base.Backend` for CPUs."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether the device is "CPU"."""
        return device == "CPU"

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether some tier can be expected to run the model on the device, which is "CPU"."""
        if not cls.supports_device(device):
            return False
        try:
            read(model)
        except UnsupportedError:
            return True  # the reference implementation may take it
        except CervelloError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Prepared:
        """Reads a graph.

        Args:
          model: the graph; device: "CPU".
        Raises:
          ModelError: a file that is not valid; UnsupportedError: another device than the CPU; ConfigurationError: no ModelProto.
        """
        if not cls.supports_device(device):
            raise UnsupportedError(f"backend: expected device 'CPU', got {device!r}")
        if not isinstance(model, onnx.ModelProto):
            raise ConfigurationError(f"backend: expected a ModelProto, got {type(model).__name__}; onnx.load reads a file")
        return Prepared(model)

    @classmethod
    def run_node(cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any,
                 ) -> tuple[Any, ...]:
        """Runs one node on arrays, with the newest opset unless `opset_version` names another.

        Args:
          node: what runs.
          inputs: arrays in the node's order.
          device: "CPU".
          outputs_info: not needed.
        Returns:
          the node's outputs, in its order.
        """
        names = [name for name in node.input if name]
        ports = [onnx.helper.make_empty_tensor_value_info(name) for name in names]
        for port, value in zip(ports, inputs, strict=True):
            array = np.asarray(value)
            port.CopyFrom(onnx.helper.make_tensor_value_info(port.name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "node", ports, outputs)
        version = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, version)])
        return cls.prepare(model, device).run(list(inputs), **kwargs)
