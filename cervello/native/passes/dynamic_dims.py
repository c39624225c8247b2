"""Dynamic sizes other than the batch: given when the file is loaded, or taken from the arrays of a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from cervello.errors import ConfigurationError, InputError, did_you_mean
from cervello.native.graph.graph import Graph

_MOST_MODELS = 64  # models of other sizes; they share their weights
_MOST_TRIED = 32  # candidate sizes that occur in the file
_LARGEST = 1 << 20  # the largest candidate; the end of a slice may be any number
_MOST_AXES = 8  # a longer list is not a shape


def symbols(graph: Graph) -> dict[str, tuple[str, int]]:
    """Every symbol of the inputs, with the first input and axis that has it."""
    found: dict[str, tuple[str, int]] = {}
    for port in graph.inputs:
        for axis, size in enumerate(port.shape or ()):
            if not isinstance(size, int):
                found.setdefault(symbol(port.name, axis, size), (port.name, axis))
    return found


def symbol(port: str, axis: int, size: str | None) -> str:
    """The name of a dynamic axis."""
    return f"{port}, axis {axis}" if size is None else size


def checked_dims(graph: Graph, dims: Mapping[str, int] | None) -> dict[str, int]:
    """Sizes by symbol.

    Raises:
      ConfigurationError: a symbol that the file does not have, or an invalid size.
    """
    if dims is not None and not isinstance(dims, Mapping):
        raise ConfigurationError(f"model {graph.name!r}, dims: expected sizes by symbol, as {{'width': 64}}, got {dims!r}")
    known = symbols(graph)
    for name, size in (dims or {}).items():
        if name not in known:
            expected = f"symbols among {sorted(known)}" if known else "none, since the file leaves no size open beside the batch"
            raise ConfigurationError(f"model {graph.name!r}, dims: expected {expected}, got {name!r}"
                                     + (did_you_mean(name, known) or "; leave it out"))
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ConfigurationError(f"model {graph.name!r}, dims[{name!r}]: expected a whole number of at least 1, got {size!r}")
    return {name: int(size) for name, size in (dims or {}).items()}


def forced_size(graph: Graph, declared: list[list[int | str]], runs: Callable[[list[list[int | str]]], bool]) -> dict[str, int] | None:
    """The only size with which a graph runs, for a symbol whose size is in fact fixed, such as a feature axis declared dynamic.

    Args:
      declared: sizes and symbols by input and axis.
      runs: whether shape inference succeeds with these entries.
    Returns:
      {symbol: size}, or None when no size runs or several do.
    """
    sizes = _sizes_of(graph)
    for name in dict.fromkeys(d for row in declared for d in row if isinstance(d, str)):
        fit: list[int] = []
        for size in dict.fromkeys(each for known_size in sizes[:_MOST_TRIED] for each in (known_size, known_size + 1)):
            if runs([[size if d == name else d for d in row] for row in declared]):
                fit.append(size)
            if len(fit) > 1:
                break
        if len(fit) == 1:
            return {name: fit[0]}
    return None


M = TypeVar("M")  # a model


def _sizes_of(graph: Graph) -> list[int]:
    """Sizes above 1 in the file: axes of constants and outputs, and targets of Reshape and Expand; the smallest first."""
    found = {size for data in graph.constants.values() for size in data.shape}
    found |= {size for port in graph.outputs for size in port.shape or () if isinstance(size, int)}
    for data in graph.constants.values():
        if data.dtype == np.int64 and data.ndim == 1 and data.size <= _MOST_AXES:
            found.update(data.tolist())
    return sorted(size for size in found if 1 < size <= _LARGEST)


class DynamicSizes(Generic[M]):
    """The dynamic sizes of a model, and a cache of models of other sizes; mutable. It keeps the graph, including the file's weights.

    Args:
      given: sizes by symbol that the caller has fixed.
      assumed: the dynamic symbols, with the sizes that the model was built for.
      vectorized: whether the file's arrays are one row without a batch axis.
    """

    def __init__(self, graph: Graph, given: Mapping[str, int], assumed: Mapping[str, int], vectorized: bool = False):
        axes = symbols(graph)
        self.graph, self._given, self._assumed = graph, given, dict(assumed)
        self._axes = {name: (*axes[name], vectorized) for name in assumed}
        self._ranks = {port.name: len(port.shape or ()) for port in graph.inputs}
        self._models: OrderedDict[tuple[int, ...], M] = OrderedDict()

    def model_for(self, arrays: Mapping[str, Any], make: Callable[[Graph, dict[str, int]], M]) -> M | None:
        """The model for the sizes of these arrays; None if the model was built for them.

        Raises:
          InputError: an array without the axis; GraphError: the graph does not run with these sizes.
        """
        sizes = {}
        for name, (port, axis, vectorized) in self._axes.items():
            shape = np.shape(arrays[port])
            if vectorized and len(shape) > self._ranks[port]:  # rows in front, where the file has none
                shape = shape[1:]
            if len(shape) <= axis:
                raise InputError(f"model {self.graph.name!r}, input {port!r}: expected {axis + 1} axes or more, got shape {shape}")
            sizes[name] = shape[axis]
        return self.of_sizes(sizes, make)

    def of_sizes(self, sizes: Mapping[str, int], make: Callable[[Graph, dict[str, int]], M]) -> M | None:
        """The model for sizes by symbol, in the order of `assumed`; None if the model was built for them.

        Raises:
          GraphError: the graph does not run with these sizes.
        """
        if sizes == self._assumed:
            return None
        key = tuple(sizes.values())
        found = self._models.get(key)
        if found is None:
            found = self._models[key] = make(self.graph, {**self._given, **sizes})
            while len(self._models) > _MOST_MODELS:
                self._models.popitem(last=False)
        return found
