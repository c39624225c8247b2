"""`Model`: a policy file as a stateless function of arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from cervello.codegen import linker
from cervello.errors import ConfigurationError, FormatError, InputError, UnsupportedError
from cervello.native.execution.arguments import bind_outputs, check_mapping
from cervello.native.execution.batch_runner import BatchRunner
from cervello.native.execution.counts import count, thread_count
from cervello.native.execution.io_binding import IOBinding
from cervello.native.execution.noise_keys import RowNoise
from cervello.native.frontend.importer import Source, read
from cervello.native.frontend.renaming import renamed
from cervello.native.frontend.source import ModelSource
from cervello.native.frontend.structure import structure_hash
from cervello.native.graph.graph import Graph
from cervello.native.memory.weights import Weights
from cervello.native.passes.batch_axes import BatchAxis, check_batch_axis
from cervello.native.passes.dynamic_dims import DynamicSizes, checked_dims
from cervello.native.program.build import build, check_output_names
from cervello.native.program.fingerprint import fingerprint
from cervello.native.program.memory_plan import MemoryPlan
from cervello.spec import Specs

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Any]
_Options = tuple[Sequence[str] | None, bool, BatchAxis]  # outputs, strict and batch_axis, as they were given


class Model(BatchRunner):
    """A loaded policy: graph, program and one copy of the weights. Immutable; threads may share it.

    Made by `Model.load`; `shapes` is for graphs that are not policies, see `backend`.

    `run` is stateless: `cervello.Policy` handles agents, noise and recurrent state.

    Attributes:
      name: the file's name without suffix.
      tensors: names that `outputs=` and the heads of `cervello.Sample` accept: outputs of the file, computed tensors, constants.
      spec: inputs, outputs and constants as one agent sees them.
      structure: a hash of the graph without its weights, and of inputs, outputs and constants. It is equal for models that can restore
        each other's agent snapshots. It does not depend on the file name.
    """

    def __init__(self, graph: Graph, share: Model | None = None, outputs: Sequence[str] | None = None, strict: bool = False,
                 progress: linker.Progress | None = None, shapes: Mapping[str, tuple[int, ...]] | None = None,
                 dims: Mapping[str, int] | None = None, batch_axis: BatchAxis = None, origin: ModelSource | None = None):
        if not isinstance(graph, Graph):
            raise ConfigurationError(f"Model: expected a graph, got {type(graph).__name__}; a file is read by cervello.Model.load(…), and "
                                     "cervello.load(…) makes a policy of it")
        self._origin = origin
        if share is not None and not isinstance(share, Model):
            raise ConfigurationError(f"share: expected a cervello.Model, got {share!r}")
        check_output_names(outputs)
        self.tensors = tuple(dict.fromkeys([*(port.name for port in graph.outputs), *(
            name for node in graph.nodes for name in node.outputs if name), *graph.constants]))
        sizes = checked_dims(graph, dims)
        check_batch_axis(graph, batch_axis)
        self.weights: Weights = Weights(share.weights if share is not None else None)
        with linker.progress(progress):
            built = build(graph, self.weights, None if outputs is None else tuple(outputs), shapes, sizes, batch_axis)
        self.weights.seal()
        super().__init__(graph.name, replace(built, graph=None))
        if strict and self._built.fallback_nodes:
            raise UnsupportedError(f"model {self.name!r}: expected every op on the planned tier (strict=True), got "
                                   f"{', '.join(f'{k} ({v})' for k, v in self._built.fallback_nodes.items())}")
        batching = self._built.batching
        vectorized = all(axis is None for axis in batching.file_axes.values())
        self._open: DynamicSizes[Model] | None = None
        if batching.assumed_sizes:
            self._open = DynamicSizes(graph, sizes, batching.assumed_sizes, vectorized)
        self._options: _Options = (outputs, strict, dict(batch_axis) if isinstance(batch_axis, Mapping) else batch_axis)
        self._sizes = sizes
        self._metadata = MappingProxyType(dict(graph.metadata))
        constants = [(name, value.shape, str(value.dtype)) for name, value in sorted(self.spec.constants.items())]
        structure = repr((structure_hash(graph), self.spec.inputs, self.spec.outputs, constants))
        self.structure = hashlib.sha256(structure.encode()).hexdigest()[:32]

    @classmethod
    def load(cls, source: Source, *, share: Model | None = None, outputs: Sequence[str] | None = None, strict: bool = False,
             progress: linker.Progress | None = None, dims: Mapping[str, int] | None = None, batch_axis: BatchAxis = None,
             rename: Mapping[str, str] | None = None) -> Model:
        """Reads a policy.

        Args:
          source: a path, the bytes of an ONNX file, or a ModelProto.
          share: a model whose equal tensors are reused instead of being stored again.
          outputs: names of any tensors of the graph, returned instead of the declared outputs.
          strict: refuse ops outside the planned tier.
          progress: called as (done, total, kernel) while kernels compile for the first time on this machine.
          dims: sizes by symbol, for dynamic axes other than the batch. A symbol that is not given is 1 in the specs; a run uses the size
            of its arrays.
          batch_axis: the batch axis of the file's inputs, when the graph does not determine it: one axis for every input, or
            {input: axis}. The axis is dynamic or of size 1. {input: None} means that the input has no batch axis: all agents of a batch
            share it. None for every input means that the arrays are one agent's row. An input that is not named has its batch axis where
            it shares a symbol with a named one. Rows run one at a time where the graph mixes them.
          rename: {name in the file: new name} for inputs and computed tensors; all other arguments use the new names.
        Raises:
          ModelError: the file cannot be used; the message says where and why. ConfigurationError: an option is invalid.
        """
        origin = ModelSource.of(source, rename)  # before the read, so that a change of the file during the read is detected
        return cls(renamed(read(source), rename), share, outputs, strict, progress, dims=dims, batch_axis=batch_axis, origin=origin)

    def updated(self, weights: Mapping[str, Any]) -> Model:
        """The same model with other weights; equal weights are shared.

        Args:
          weights: arrays by constant name, with the shapes and dtypes of the file's constants; other constants keep their values.
        Raises:
          ConfigurationError: a name, shape or dtype does not match, or the model was not loaded from a file or bytes.
        """
        check_mapping(self.name, weights)
        graph = self._source().graph()
        origin = self._source().updated(graph, weights)
        graph = replace(graph, constants={**graph.constants, **origin.updates})
        outputs, strict, batch_axis = self._options
        return Model(graph, self, outputs, strict, dims=self._sizes, batch_axis=batch_axis, origin=origin)

    def loaded(self, source: Source) -> Model:
        """Loads another file (`source`: a path, bytes or a ModelProto) with this model's `outputs`, `strict`, `dims`, `batch_axis` and
        `rename`; equal weights are shared.
        """
        outputs, strict, batch_axis = self._options
        rename = None if self._origin is None else self._origin.rename
        return Model.load(source, share=self, outputs=outputs, strict=strict, dims=self._sizes, batch_axis=batch_axis, rename=rename)

    def _source(self) -> ModelSource:
        if self._origin is None:
            raise ConfigurationError(f"model {self.name!r}: expected one from Model.load, got one made from a graph; its file is not known")
        return self._origin

    @property
    def fingerprint(self) -> str:
        """A hash of specs, steps and weights. Models with equal fingerprints compute the same function; the converse does not hold."""
        return fingerprint(self.spec, self.program, self.weights.hashes())

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._source(), self._options, self._sizes, self.fingerprint)

    @property
    def inputs(self) -> Specs:
        """Input specs of one row, by name."""
        return self.spec.inputs

    @property
    def outputs(self) -> Specs:
        """Output specs of one row, by name."""
        return self.spec.outputs

    @property
    def constants(self) -> Mapping[str, Array]:
        """Outputs that do not depend on any input: arrays by name, in the file's shapes."""
        return MappingProxyType(dict(self.spec.constants))

    @property
    def metadata(self) -> Mapping[str, str]:
        """`metadata_props` of the file, where exporters store joint names, scales and default poses; empty if the file has none."""
        return self._metadata

    @property
    def open_dims(self) -> Mapping[str, int]:
        """Symbols of the file that are neither the batch nor given in `dims`, with their sizes in the specs."""
        return MappingProxyType(dict(self._built.batching.assumed_sizes))

    @property
    def slow_nodes(self) -> Mapping[str, str]:
        """Nodes outside the planned tier, with the reason."""
        return MappingProxyType(self._built.fallback_nodes)

    @property
    def dynamic_outputs(self) -> tuple[str, ...]:
        """Outputs whose shape depends on data: `run` returns them for one row only; `Policy` refuses them."""
        return self._built.dynamic_outputs

    @property
    def random_nodes(self) -> tuple[str, ...]:
        """Nodes that draw random numbers."""
        return self._built.random_nodes

    def __repr__(self) -> str:
        return f"Model({self.name!r}, inputs={self.inputs!r}, outputs={self.outputs!r})"

    def _repr_html_(self) -> str:
        from cervello.pictures import notebook  # not at start-up

        plan = self.plan(1)
        specs = [(what, spec.name, "×".join(map(str, spec.shape)) or "scalar", str(spec.dtype),
                  "shared by all" if spec.batch_axis is None else spec.batch_axis)
                 for what, own in (("input", self.inputs), ("output", self.outputs)) for spec in own.values()]
        return "".join([
            notebook.heading(self.name), notebook.table(("", "name", "row", "type", "batch axis"), specs),
            notebook.facts({"constants": ", ".join(self.constants), "one row at a time": plan.one_row,
                            "random": ", ".join(self.random_nodes), "weights": f"{plan.weight_bytes:,} bytes",
                            "slow": "; ".join(f"{node}: {reason}" for node, reason in self.slow_nodes.items())}),
            notebook.folded("graph", notebook.figure(plan.to_graph_svg(), f"steps of {self.name}"))])

    # Plans --------------------------------------------------------------------------------------------------------------

    def plan(self, n_rows: int = 1) -> MemoryPlan:
        """The memory plan for n_rows rows in readable form: sizes, lifetimes, offsets, tiers.

        Raises:
          ConfigurationError: a number of rows below 1, or none.
        """
        n_rows = count(f"model {self.name!r}, plan, rows: expected", n_rows)
        if not self.batched:
            n_rows = 1
        largest = next(self.resolve(n_rows).chunks)
        return MemoryPlan(self.name, self._built, self.weights, n_rows, largest.n_rows)

    # Running ------------------------------------------------------------------------------------------------------------

    def run(self, inputs: Arrays, out: Arrays | None = None, *, seed: int | None = None, deterministic: bool = False,
            ) -> dict[str, Array]:
        """Runs rows through the policy.

        Args:
          inputs: an array [N, ...] per input; float64 and integers are cast to a float32 input.
          out: arrays to write to, by output name; the others are allocated.
          seed: for random ops: row i draws from agent i of this seed.
          deterministic: random ops take the mean or the mode.
        Returns:
          the outputs by name, [N, ...]; the arrays of `out` where given.
        Raises:
          InputError: arrays that do not fit, or a random op without seed.
        """
        if self._built.random_nodes:
            seed = self._checked_seed(seed, deterministic)
        run = self.acquire()
        try:
            if self._counting_input is not None:
                fast_path = self._run_fast_path(run, inputs, out, seed)
                if fast_path is not None:
                    return fast_path
            arrays = self._columns(inputs)
            if self._open is not None and (other := self._open.model_for(
                    dict(zip(self.spec.inputs, arrays, strict=True)), self._resized)) is not None:
                return other.run(inputs, out, seed=seed, deterministic=deterministic)
            n_rows = self._rows(arrays)
            if self._built.dynamic_outputs and n_rows != 1:
                raise InputError(f"model {self.name!r}: expected 1 row, got {n_rows}; the shape of output "
                                 f"{self._built.dynamic_outputs[0]!r} depends on data, so rows cannot be stacked: run them one at a "
                                 "time, or leave it out with outputs=")
            if self._built.random_nodes:
                RowNoise.of(run, n_rows).set_noise(run, seed)
            results = bind_outputs(self.name, self.spec.outputs, n_rows, out)
            if n_rows:
                self.run_rows(run, arrays, list(results.values()), self._plan(n_rows))
            else:
                self._without_rows(run, arrays, results)
            for name in self._built.dynamic_outputs:
                results[name] = run.values[name]
            return results
        finally:
            self.release(run)

    def _resized(self, graph: Graph, sizes: dict[str, int]) -> Model:
        """The model with other sizes of its dynamic axes; it shares the weights and has the same batch axes."""
        outputs, strict, _ = self._options
        return Model(graph, self, outputs, strict, dims=sizes, batch_axis=self._built.batching.file_axes)

    def of_sizes(self, sizes: Mapping[str, int]) -> Model:
        """The model for other sizes of its dynamic axes; it shares the weights.

        Args:
          sizes: by symbol, for every symbol of `open_dims`.
        Raises:
          GraphError: the graph does not run with these sizes.
        """
        ordered = {name: sizes[name] for name in self.open_dims}
        return (None if self._open is None else self._open.of_sizes(ordered, self._resized)) or self

    def bind(self, inputs: Arrays, out: Arrays, *, seed: int | None = None, deterministic: bool = False, threads: int = 1) -> IOBinding:
        """A handle for fixed buffers: each `handle()` runs the model on them in one compiled call.

        Args:
          inputs, out: C-contiguous arrays of the exact dtype, one per input and output; the handle keeps them alive.
          seed, deterministic: for random ops, as in `run`.
          threads: the most threads that share a large batch, including the caller's.
        Raises:
          InputError: an array that would have to be copied.
        """
        return IOBinding(self, inputs, out, seed, deterministic, thread_count(f"model {self.name!r}, bind, threads", threads))


def _rebuild(origin: ModelSource, options: _Options, dims: Mapping[str, int], fingerprint: str) -> Model:
    """Rebuilds a pickled model."""
    origin = origin.relocated()
    outputs, strict, batch_axis = options
    model = Model(origin.graph(), None, outputs, strict, dims=dims, batch_axis=batch_axis, origin=origin)
    if model.fingerprint != fingerprint:
        raise FormatError(f"model {model.name!r}: expected {origin.path!r} as it was when the model was pickled, got another policy; "
                          "pickles name files, so keep the file, or load the model from bytes, which are pickled with it")
    return model
