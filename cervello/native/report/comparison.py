"""Compares two ways to run a policy: output by output, then tensor by tensor for the worst row, to find where they diverge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from cervello.errors import CervelloError, ConfigurationError
from cervello.native.frontend.importer import Source, read
from cervello.native.graph.dtypes import Array
from cervello.native.model import Model
from cervello.spec import Specs

Arrays = Mapping[str, Array]
TOLERANCE = 1e-4


class Runner(Protocol):
    """A way to run a policy. Random ops return their mean or mode, so that two runners can agree.

    Attributes:
      name: shown in reports. inputs, outputs: specs; outputs that no input reaches are not included. tensors: the node that makes each
        tensor, in graph order.
    """

    name: str
    inputs: Specs
    outputs: Specs
    tensors: Mapping[str, str]

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """All outputs, including those that no input reaches."""

    def inner(self, names: Sequence[str], row: Arrays) -> dict[str, Array]:
        """Tensors of the graph for one row, as far as they are available."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of one tensor between two runs.

    Attributes:
      tensor, node: its name, and the node that makes it in the first policy ("" for none).
      largest: of |a − b|; infinite where one of them is NaN or infinite and the other is not the same.
      scaled: of |a − b| / max(1, |a|, |b|), which is what the tolerance is for.
      index: where `scaled` is largest, in the first array; a, b: the values there.
      n_differing: elements beyond the tolerance, of n_elements.
      note: why the arrays cannot be compared; they count as different.
    """

    tensor: str
    node: str
    largest: float
    scaled: float
    index: tuple[int, ...]
    a: float
    b: float
    n_differing: int
    n_elements: int
    note: str = ""

    @property
    def differs(self) -> bool:
        return bool(self.note) or self.n_differing > 0


def difference(tensor: str, node: str, a: Array, b: Array, tolerance: float) -> Difference:
    """Compares two arrays; NaN equals NaN, infinity equals infinity of the same sign. Axes of size 1 do not matter."""
    a, b = np.asarray(a), np.asarray(b)
    if [d for d in a.shape if d != 1] != [d for d in b.shape if d != 1]:
        return Difference(tensor, node, np.inf, np.inf, (), np.nan, np.nan, a.size, a.size, f"shapes {a.shape} and {b.shape}")
    if a.size == 0:
        return Difference(tensor, node, 0.0, 0.0, (), np.nan, np.nan, 0, 0)
    b = b.reshape(a.shape)
    first, second = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(first) & np.isnan(second))  # exact for large integers too
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(first - second)
        scaled = apart / np.maximum(1.0, np.maximum(np.abs(first), np.abs(second)))
    finite = np.isfinite(first) & np.isfinite(second)
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":  # float64 cannot distinguish neighbours beyond 2**53
        apart, scaled = np.maximum(apart, 1.0), np.maximum(scaled, np.finfo(np.float64).tiny)
    apart, scaled = (np.where(same, 0.0, np.where(finite, each, np.inf)) for each in (apart, scaled))
    index = np.unravel_index(int(scaled.argmax()), a.shape)
    return Difference(tensor, node, float(apart.max()), float(scaled[index]), tuple(map(int, index)), float(first[index]),
                      float(second[index]), int((scaled > tolerance).sum()), a.size)


class ModelRunner:
    """A policy file, run by Cervello."""

    def __init__(self, source: Source, name: str, dims: Mapping[str, int] | None = None):
        self._source, self._dims = source, dims
        self.model = Model.load(source, dims=dims)
        self.name, self.inputs, self.outputs = name, self.model.inputs, self.model.outputs
        self.tensors: Mapping[str, str] = {tensor: str(node) for node in read(source).nodes for tensor in node.outputs if tensor}

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """All outputs, for all rows at once."""
        return _ran(self.model, inputs)

    def inner(self, names: Sequence[str], row: Arrays) -> dict[str, Array]:
        """Tensors for one row. Tensors that cannot be outputs, such as parts of sizes, are omitted.

        An output is not fused into its consumers, so a tensor may be rounded differently here than inside `run`.
        """
        if not names:
            return {}
        try:
            model = Model.load(self._source, outputs=names, dims=self._dims, share=self.model)
            return _ran(model, {name: array for name, array in row.items() if name in model.inputs})
        except CervelloError:
            if len(names) == 1:
                return {}
        half = len(names) // 2
        return {**self.inner(names[:half], row), **self.inner(names[half:], row)}


def _ran(model: Model, inputs: Arrays) -> dict[str, Array]:
    return {**model.run(inputs, deterministic=bool(model.random_nodes)), **model.constants}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of a comparison.

    Attributes:
      tolerance: of `Difference.scaled`.
      outputs: the worst difference of each output over all batches, in the first policy's order.
      missing: outputs that only one of them has, with the name of that one.
      worst: (batch, row) of the largest difference beyond the tolerance; None if the policies agree.
      nodes: tensors that both have for the worst row alone, in the first policy's graph order; empty where they agree.
    """

    tolerance: float
    batch_sizes: tuple[int, ...]
    outputs: tuple[Difference, ...]
    missing: Mapping[str, str]
    worst: tuple[int, int] | None
    nodes: tuple[Difference, ...]

    @property
    def agree(self) -> bool:
        return not self.missing and not any(each.differs for each in self.outputs)

    @property
    def first(self) -> Difference | None:
        """The first tensor in graph order that differs; None if none differs or none is shared."""
        return next((each for each in self.nodes if each.differs), None)


def compare(first: Runner, second: Runner, batches: Sequence[Arrays], tolerance: float = TOLERANCE) -> Comparison:
    """Runs both on the same observations.

    Args:
      batches: columns [N, ...] by input.
      tolerance: agreement is |a − b| ≤ tolerance · max(1, |a|, |b|) for every element; 0 asks for equal numbers.
    Raises:
      ConfigurationError: policies whose inputs differ, or without an output in common.
    """
    _check_inputs(first, second)
    worst: dict[str, Difference] = {}
    found: tuple[float, tuple[int, int] | None] = (-1.0, None)
    missing: dict[str, str] = {}
    sizes = []
    for number, batch in enumerate(batches):
        sizes.append(_rows(first.inputs, batch))
        a, b = first.run(batch), second.run(batch)
        missing = {**{name: first.name for name in a if name not in b}, **{name: second.name for name in b if name not in a}}
        if not set(a) & set(b):
            raise ConfigurationError(f"compare: expected outputs that both have, got {sorted(a)} of {first.name!r} and {sorted(b)} of "
                                     f"{second.name!r}")
        for name in a:
            if name not in b:
                continue
            one = difference(name, first.tensors.get(name, ""), a[name], b[name], tolerance)
            worst[name] = one if name not in worst else _both(worst[name], one)
            if one.differs and one.scaled > found[0]:
                spec = first.outputs.get(name)
                axis = None if spec is None else spec.batch_axis
                found = one.scaled, (number, one.index[axis] if axis is not None and one.index else 0)
    where = found[1]
    nodes: tuple[Difference, ...] = ()
    if where is not None:
        row = _row(first.inputs, batches[where[0]], where[1])
        names = [name for name in first.tensors if name in second.tensors]
        a, b = first.inner(names, row), second.inner(names, row)
        nodes = tuple(difference(name, first.tensors[name], a[name], b[name], tolerance) for name in names if name in a and name in b)
    return Comparison(tolerance, tuple(sizes), tuple(worst.values()), missing, where, nodes)


def _both(a: Difference, b: Difference) -> Difference:
    """Combines the differences of one output in two batches."""
    worst = b if b.scaled > a.scaled else a
    return replace(worst, largest=max(a.largest, b.largest), n_differing=a.n_differing + b.n_differing,
                   n_elements=a.n_elements + b.n_elements, note=a.note or b.note)


def _check_inputs(first: Runner, second: Runner) -> None:
    a, b = ({name: (spec.shape, str(spec.dtype)) for name, spec in each.inputs.items()} for each in (first, second))
    if a != b:
        name = next(name for name in [*a, *b] if a.get(name) != b.get(name))
        raise ConfigurationError(f"compare, input {name!r}: expected the same in both, got {_formatted(a.get(name))} in {first.name!r} and "
                                 f"{_formatted(b.get(name))} in {second.name!r}")


def _formatted(facts: tuple[tuple[int, ...], str] | None) -> str:
    return "none" if facts is None else f"{facts[0]} {facts[1]}"


def _rows(inputs: Specs, batch: Arrays) -> int:
    return next((int(batch[name].shape[spec.batch_axis]) for name, spec in inputs.items() if spec.batch_axis is not None), 1)


def _row(inputs: Specs, batch: Arrays, row: int) -> dict[str, Array]:
    """One row of a batch as a batch of its own."""
    return {name: batch[name] if spec.batch_axis is None else np.take(batch[name], [row], axis=spec.batch_axis)
            for name, spec in inputs.items()}


def by_node(nodes: Iterable[Difference]) -> list[Difference]:
    """The largest difference of each node, in graph order."""
    worst: dict[str, Difference] = {}
    for each in nodes:
        if each.node not in worst or each.scaled > worst[each.node].scaled:
            worst[each.node] = each
    return list(worst.values())
