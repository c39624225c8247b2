"""The source of a model, from which it can be rebuilt with other weights or in another process.

A model keeps its weights once, in packed form. The original weights are read from the file again when they are needed; the bytes are kept
for a model that was not loaded by path. External data files are read again too, without a check for changes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cervello.errors import ConfigurationError, FormatError
from cervello.native.frontend.importer import Source, read
from cervello.native.frontend.renaming import renamed
from cervello.native.graph.dtypes import Array
from cervello.native.graph.graph import Graph

_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A file or its bytes, and weights that have replaced some of it.

    Attributes:
      path: absolute; None for bytes.
      written: size and time of the file when it was read.
      data: the bytes; empty for a path.
      updates: replaced weights by name. rename: new names by the file's names, see `renaming`.
    """

    path: str | None
    written: tuple[int, int] = (0, 0)
    data: bytes = b""
    updates: Mapping[str, Array] = field(default_factory=dict)
    rename: Mapping[str, str] | None = None

    @classmethod
    def of(cls, source: Source, rename: Mapping[str, str] | None = None) -> ModelSource:
        """The source for an argument of `read`."""
        rename = dict(rename) if isinstance(rename, Mapping) else rename  # `renamed` refuses the rest
        if isinstance(source, onnx.ModelProto):
            return cls(None, data=source.SerializeToString(), rename=rename)
        if isinstance(source, (str, os.PathLike)):
            path = os.path.abspath(source)
            return cls(path, _written(path), rename=rename)
        data = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else b""  # `read` refuses the rest
        return cls(None, data=data, rename=rename)

    def graph(self) -> Graph:
        """The graph with its updates.

        Raises:
          FormatError: the file has changed; MissingFileError: it is gone.
        """
        if self.path is None:
            graph = read(self.data)
        else:
            graph = read(self.path)
            if _written(self.path) != self.written:
                raise FormatError(f"model {graph.name!r}: expected {self.path!r} as it was when it was loaded, got a file that has been "
                                  "written since; replace the policy by it, or load the model from bytes, which are kept")
        graph = renamed(graph, self.rename)
        return replace(graph, constants={**graph.constants, **self.updates}) if self.updates else graph

    def updated(self, graph: Graph, weights: Mapping[str, Any]) -> ModelSource:
        """The source of a model with other weights.

        Raises:
          ConfigurationError: an unknown name, or another shape or type than the graph has.
        """
        checked = {}
        for name, given in weights.items():
            was = graph.constants.get(name)
            where = f"model {graph.name!r}, update_weights {name!r}"
            if was is None:
                known = sorted(n for n, c in graph.constants.items() if c.dtype.kind == "f")
                more = f" and {len(known) - _NAMES_SHOWN} more" if len(known) > _NAMES_SHOWN else ""
                shown = ", ".join(map(repr, known[:_NAMES_SHOWN])) + more
                raise ConfigurationError(f"{where}: expected a constant of the file ({shown}), got a name that it does not have")
            try:
                array = np.asarray(given)
            except ValueError as error:
                raise ConfigurationError(f"{where}: expected {was.shape} {was.dtype}, got something ragged") from error
            if array.shape != was.shape or array.dtype != was.dtype:
                raise ConfigurationError(f"{where}: expected {was.shape} {was.dtype}, got {array.shape} {array.dtype}; transpose or "
                                         "convert it as the exporter did")
            checked[name] = array.copy()
        return replace(self, updates={**self.updates, **checked})

    def relocated(self) -> ModelSource:
        """The same file for another process; a copy may have another modification time."""
        return self if self.path is None else replace(self, written=_written(self.path))


def _written(path: str) -> tuple[int, int]:
    try:
        facts = Path(path).stat()
    except OSError:  # `read` reports it
        return 0, 0
    return facts.st_size, facts.st_mtime_ns
