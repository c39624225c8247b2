"""`cervello.load`: loads a policy from a file in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from cervello.agents.policy.policy import Policy
from cervello.codegen import linker
from cervello.errors import ConfigurationError
from cervello.inferers import InfererConfig
from cervello.native import Model
from cervello.native.frontend.importer import Source, read
from cervello.native.frontend.renaming import renamed
from cervello.native.frontend.source import ModelSource
from cervello.native.graph.graph import Graph
from cervello.native.passes.batch_axes import BatchAxis
from cervello.native.program.build import check_output_names
from cervello.spec import Inferer, Wrapper
from cervello.wrappers import Sample


def load(source: Source | Model, *, inferer: str | InfererConfig | Inferer = "memoizing", wrappers: Sequence[Wrapper] | str = (),
         seed: int = 0, threads: int = 1, precision: str = "float32", outputs: Sequence[str] | None = None,
         share: Model | Policy | None = None, strict: bool = False, progress: linker.Progress | None = None,
         dims: Mapping[str, int] | None = None, spaces: Any = None, batch_axis: BatchAxis = None,
         rename: Mapping[str, str] | None = None) -> Policy:
    """As `cervello.load`, whose docstring describes the arguments, for anything but a policy description.

    Raises:
      ModelError: the file cannot be used. WrapperError, ConfigurationError: the options cannot.
    """
    if precision != "float32":
        raise ConfigurationError(f"precision: expected 'float32', got {precision!r}; no other is available yet")
    shared = share.model if isinstance(share, Policy) else share
    if shared is not None and not isinstance(shared, Model):
        raise ConfigurationError(f"share: expected a cervello.Model or Policy, got {share!r}")
    check_output_names(outputs)
    if isinstance(source, Model):
        if outputs is not None or share is not None or strict or dims or batch_axis is not None or rename:
            raise ConfigurationError(f"model {source.name!r}: expected outputs=, share=, strict=, dims=, batch_axis=, rename= for a file, "
                                     "got them for a model that is loaded; give them to Model.load")
        model = source
    elif not isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview, onnx.ModelProto)):
        raise ConfigurationError("source: expected a path, the bytes of an ONNX file, a ModelProto or a cervello.Model, got "
                                 f"{source!r}")
    else:
        origin = ModelSource.of(source, rename)  # before reading: a file that is rewritten meanwhile is another one
        graph = renamed(read(source), rename)
        wrappers, outputs = _with_sources(graph, wrappers, outputs)
        model = Model(graph, shared, outputs, strict, progress, dims=dims, batch_axis=batch_axis, origin=origin)
    return Policy(model, inferer=inferer, wrappers=wrappers, seed=seed, threads=threads, spaces=spaces)


def _with_sources(graph: Graph, wrappers: Sequence[Wrapper] | str, outputs: Sequence[str] | None,
                  ) -> tuple[Sequence[Wrapper] | str, Sequence[str] | None]:
    """Wrappers and outputs if the tensors that `Sample` reads are returned too; the outermost wrapper that reads one hides it from the
    caller."""
    listed: list[Wrapper] = [] if isinstance(wrappers, str) or not isinstance(wrappers, Sequence) else [*wrappers]
    if not any(isinstance(each, Sample) for each in listed):
        return wrappers, outputs
    given = [port.name for port in graph.outputs] if outputs is None else list(outputs)
    known = {*graph.constants, *(name for node in graph.nodes for name in node.outputs)} - {*given, "", *(p.name for p in graph.inputs)}
    for i, wrapper in enumerate(listed):
        if isinstance(wrapper, Sample):
            found = [name for name in wrapper.tensors if name in known]
            known -= set(found)
            given += dict.fromkeys(found)
            listed[i] = wrapper.hiding(found)
    return listed, given
