"""Builds a runnable program from a graph: infer shapes, lower, plan memory, verify, encode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from cervello.errors import CervelloError, ConfigurationError, GraphError, UnsupportedError, shortened
from cervello.native.frontend.opset_upgrade import upgrade_opset
from cervello.native.graph.budget import MOST_ROW_BYTES, budget
from cervello.native.graph.dims import Shape, product, rows_axis
from cervello.native.graph.graph import Graph
from cervello.native.graph.tensors import Buffer, Space, Tensor, dense
from cervello.native.graph.values import Value
from cervello.native.lowering.lower_graph import lower_graph
from cervello.native.lowering.lowering import Lowering
from cervello.native.lowering.rules import (  # noqa: F401  (each registers its ops)
    attention,
    control_flow,
    convolution,
    coupling,
    elementwise,
    gather_scatter,
    linear,
    movement,
    norms,
    quantisation,
    random,
    recurrent,
    reductions,
    resizing,
    trees,
)
from cervello.native.lowering.rules.fallback import check_ops
from cervello.native.memory import arena_plan, verifier
from cervello.native.memory.weights import Weights
from cervello.native.passes.axis_proof import Reading
from cervello.native.passes.axis_readings import read_axes
from cervello.native.passes.batch_axes import BatchAxis, Batching
from cervello.native.passes.dead_code import without_dead_code
from cervello.native.passes.open_axes import OpenAxes, of_row, open_axes
from cervello.native.program.encode import Program
from cervello.native.program.encode import build as encode
from cervello.spec import PolicySpec, Specs, TensorSpec

_RANDOM = ("cervello.native.kernels.random:", "cervello.native.kernels.multinomial:")  # kernels that draw random numbers


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A program and its properties.

    Attributes:
      spec: inputs and outputs of one agent.
      batching: the batch axes of inputs.
      graph: the lowered graph: newest opset, no dead nodes, final batch axes. `Model` drops it, and with it its copy of the weights.
      fallback_nodes: nodes outside the planned tier, with the reason.
      dynamic_outputs: outputs whose shape depends on data.
    """

    program: Program
    spec: PolicySpec
    batching: Batching
    graph: Graph | None
    fallback_nodes: dict[str, str]
    dynamic_outputs: tuple[str, ...]
    random_nodes: tuple[str, ...]
    fused: int


def build(graph: Graph, weights: Weights, outputs: tuple[str, ...] | None = None, shapes: Mapping[str, Shape] | None = None,
          dims: Mapping[str, int] | None = None, batch_axis: BatchAxis = None) -> BuildResult:
    """Builds a program with a dynamic batch if the graph allows it, else for one row at a time.

    Args:
      outputs: names of the values to return; None for the declared outputs.
      shapes: of all inputs, which are then one row without a batch axis; None for the declared shapes.
      dims: sizes for symbols of the file.
      batch_axis: the batch axis; None lets the graph decide.
    Raises:
      ModelError: the graph cannot run.
    """
    try:
        with budget(graph.constants):
            return _built(graph, weights, outputs, shapes, dims or {}, batch_axis)
    except UnsupportedError as error:
        if str(error).startswith("node "):
            error.args = shortened(f"model {graph.name!r}, {error}"), *error.args[1:]
        raise
    except CervelloError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        # Shape rules and lowering do not check every possible contradiction in a file; any such failure is a fault of the file.
        raise GraphError(f"model {graph.name!r}: expected a graph without contradictions, got one that fails with "
                         f"{type(error).__name__}: {error}; export the policy again") from error


def _built(graph: Graph, weights: Weights, outputs: tuple[str, ...] | None, shapes: Mapping[str, Shape] | None, dims: Mapping[str, int],
           batch_axis: BatchAxis) -> BuildResult:
    names = _output_names(graph, outputs)
    graph = without_dead_code(upgrade_opset(graph), names)
    try:
        reading = read_axes(graph, names, dims, shapes, batch_axis)
    except GraphError:
        check_ops(graph.nodes)  # a missing kernel is reported first: another batch axis would not help
        raise
    return _lower(reading, names, weights, open_axes(graph, reading.batching, dims, names))


def check_output_names(outputs: Any) -> None:
    """Raises ConfigurationError unless this is None or a list of at least one name."""
    if outputs is not None and (isinstance(outputs, str) or not isinstance(outputs, Sequence) or not outputs):
        raise ConfigurationError(f"outputs: expected a list of at least one name, got {outputs!r}")


def _output_names(graph: Graph, outputs: tuple[str, ...] | None) -> tuple[str, ...]:
    if outputs is None:
        return tuple(port.name for port in graph.outputs)
    known = {name for node in graph.nodes for name in node.outputs} | set(graph.constants)
    for name in outputs:
        if name not in known:
            declared_names = [port.name for port in graph.outputs]
            raise GraphError(f"model {graph.name!r}: expected outputs among its tensors, got {name!r}; it declares {declared_names}")
    return tuple(dict.fromkeys(outputs))


def _row_shape(shape: tuple[Any, ...], axis: int | None) -> tuple[int, ...]:
    if axis is None or axis == -1:
        return tuple(int(d) for d in shape)
    return tuple(int(d) for i, d in enumerate(shape) if i != axis)


def _smaller_peak(first: Lowering, second: Lowering, rows_vary: bool) -> Lowering:
    """The second of two lowerings if it needs less memory at some N and more at none, else the first."""
    lives = [arena_plan.lifetimes(each.steps) for each in (first, second)]
    peaks = [[arena_plan.peak_bytes(each, n_rows) for n_rows in ((1, 7, 64, 1000) if rows_vary else (1,))] for each in lives]
    never_larger = all(b <= a for a, b in zip(*peaks, strict=True))
    return second if never_larger and peaks[0] != peaks[1] else first


def _prepare(reading: Reading, computed: tuple[str, ...], open_dims: OpenAxes,
             ) -> tuple[Lowering, list[TensorSpec], list[TensorSpec], list[str]]:
    """A lowering with input and output buffers assigned, the specs of inputs and outputs, and the outputs whose shape depends on data."""
    graph, values, batching = reading.graph, reading.values, reading.batching
    lowering = Lowering(graph, values, computed, reading.row_repeats)
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    file_axes = batching.file_axes
    for index, port in enumerate(graph.inputs):
        value = values[port.name]
        assert value.shape is not None
        assert port.dtype is not None
        axis = batching.axes[port.name]
        lowering.tensors[port.name] = tensor = _callers_array(port.name, port.dtype, value.shape, Space.INPUT, index)
        tensor.buffer.readers = lowering.uses[port.name]
        sizes = of_row(open_dims.get(port.name, {}), file_axes[port.name])
        inputs.append(TensorSpec(port.name, _row_shape(value.shape, axis), port.dtype, 0 if axis == -1 else axis, open_axes=sizes))
    dynamic_outputs = []
    for name in computed:
        value = values[name]
        if value.shape is None or value.dtype is None:
            dynamic_outputs.append(name)
            continue
        symbols = open_dims.get(name, {})
        axis = _output_axis(value, batching, reading.axes.get(name), 0 in symbols)
        sizes = of_row(symbols, None if batching.vectorized or axis == -1 else axis)
        spec = TensorSpec(name, _row_shape(value.shape, axis), value.dtype, 0 if axis == -1 else axis, open_axes=sizes)
        lowering.destinations[name] = _callers_array(name, value.dtype, value.shape, Space.OUTPUT, len(outputs))
        outputs.append(spec)
    for name in computed:
        value = values[name]
        if value.data is not None and value.from_input:
            lowering.tensor(name)
    return lowering, inputs, outputs, dynamic_outputs


def _callers_array(name: str, dtype: np.dtype[Any], shape: Shape, space: Space, index: int) -> Tensor:
    return dense(name, dtype, shape, Buffer(name, space, product(shape) * dtype.itemsize, index))


def _lower(reading: Reading, names: tuple[str, ...], weights: Weights, open_dims: OpenAxes) -> BuildResult:
    graph, values, batching = reading.graph, reading.values, reading.batching
    constants = {name: data for name in names if (data := values[name].constant) is not None and not values[name].from_input}
    computed = tuple(name for name in names if name not in constants)
    lowering, inputs, outputs, dynamic_outputs = _prepare(reading, computed, open_dims)
    lower_graph(lowering)
    if lowering.early_matters:
        other = _prepare(reading, computed, open_dims)[0]
        lower_graph(other, early=False)
        lowering = _smaller_peak(lowering, other, batching.dynamic)
    steps = lowering.steps
    layout = arena_plan.plan(steps, batching.dynamic)
    ports = sum(prod(spec.shape) * spec.dtype.itemsize for spec in (*inputs, *outputs))
    if (row_bytes := layout.arena_bytes(1) + ports) > MOST_ROW_BYTES:
        raise UnsupportedError(f"model {graph.name!r}: expected at most {MOST_ROW_BYTES >> 20} MiB of values for one row, "
                               f"got {row_bytes >> 20} MiB; are its sizes right?")
    verifier.verify(steps, layout, batching.dynamic)
    program = encode(steps, layout, weights, len(inputs))
    random_nodes = tuple(step.node for step in steps if step.kernel.startswith(_RANDOM))
    return BuildResult(program, PolicySpec(Specs(inputs), Specs(outputs), constants), batching, graph, dict(lowering.fallback_nodes),
                       tuple(dynamic_outputs), random_nodes, len(lowering.fused_nodes))


def _output_axis(value: Value, batching: Batching, found: int | None, first_is_open: bool) -> int | None:
    """An output's batch axis. With a dynamic batch, None if its shape does not depend on N; otherwise -1 if the whole array is one row.

    Args:
      found: the batch axis when N was dynamic.
      first_is_open: whether the first axis has a dynamic size, which may be 1 by chance.
    """
    assert value.shape is not None
    if batching.dynamic:
        return rows_axis(value.shape)
    if found is not None and value.shape[found:found + 1] == (1,):
        return found
    if 0 in batching.axes.values() and value.shape and value.shape[0] == 1 and not first_is_open:
        return 0
    return -1
