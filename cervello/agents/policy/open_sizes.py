"""Agents whose observations differ in a size that the file leaves open run in groups of equal size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cervello.agents.membership.lock import ExclusiveLock
from cervello.agents.membership.table import AgentTable
from cervello.agents.policy.actions import Actions
from cervello.array_like import as_numpy
from cervello.batcher.observation import checked, sole_input
from cervello.batcher.open_pad import OpenPad, is_ragged, ragged
from cervello.errors import GraphError, InputError
from cervello.inferers import InfererConfig
from cervello.native import Model
from cervello.native.execution.arguments import fitted
from cervello.spec import AgentId, Array, TensorSpec
from cervello.wrappers import Stack

if TYPE_CHECKING:
    from cervello.agents.policy.engine import Engine

_KEPT = 64  # number of cached engines of other sizes; they share the weights and the wrappers' state


class OpenSizes:
    """The engines of one policy, one for each combination of sizes seen. Mutable; thread-safe.

    Args:
      engine: for the sizes in the specs.
      make_engine: creates an engine from a model of other sizes.
    """

    def __init__(self, engine: Engine, make_engine: Callable[[Model, Stack], Engine]):
        self._engine, self._make_engine = engine, make_engine
        self._axes = [(name, axis, symbol) for name, spec in engine.inputs.items() for axis, symbol in spec.open_axes]
        self._engines: OrderedDict[tuple[tuple[str, int], ...], Engine] = OrderedDict()
        self._unsupported = _unsupported_reason(engine)

    def for_columns(self, inputs: Mapping[str, Any]) -> Engine:
        """The engine for the sizes of columns, [N, ...] by input.

        Raises:
          InputError: sizes that contradict each other, or that this policy cannot take.
        """
        specs = self._engine.inputs
        shapes = {name: self._row_shape(specs[name], inputs[name]) for name, _, _ in self._axes}
        return self._engine_for(self._sizes(shapes, "inputs"), "inputs")

    def for_observation(self, agent: AgentId, observation: Any) -> Engine:
        """The engine for the sizes of one agent's observation; raises as `for_columns` does."""
        if not isinstance(observation, Mapping):
            sole = sole_input(self._engine.inputs)
            observation = {} if sole is None else {sole: observation}
        if any(name not in observation for name, _, _ in self._axes):
            return self._engine  # its pad names the missing input
        try:
            rows = {name: np.shape(observation[name]) for name, _, _ in self._axes}
        except ValueError:  # ragged
            return self._engine
        whose = f"agent {agent!r}"
        return self._engine_for(self._sizes(rows, whose), whose)

    def columns(self, ids: Sequence[AgentId], observations: Sequence[Any]) -> dict[str, Array]:
        """Observations of any sizes as columns. Inputs whose sizes differ become [N] rows as `open_pad.ragged` returns them.

        Raises:
          InputError: an observation that does not fit, or whose sizes this policy cannot take.
        """
        pad = OpenPad(self._engine.inputs, len(ids))
        for row, (agent, given) in enumerate(zip(ids, observations, strict=True)):
            pad.put(row, checked(self.for_observation(agent, given).inputs, given, agent, self._engine.name))
        return pad.columns(len(ids))

    def fitted(self, ids: Sequence[AgentId], columns: Mapping[str, Any]) -> dict[str, Array]:
        """Columns of all inputs, of one size or [N] rows of several, as arrays that fit distinct agents; raises as `columns` does."""
        n_rows, specs = len(ids), self._engine.inputs
        if not any(map(is_ragged, columns.values())):
            return {name: fitted(self._engine.name, spec, columns[name], n_rows) for name, spec in self.for_columns(columns).inputs.items()}
        whole = {name: self._checked_column(spec, columns[name], n_rows) for name, spec in specs.items()}
        rows = {name: [column] * n_rows if specs[name].batch_axis is None else
                column if is_ragged(column) else np.moveaxis(column, specs[name].batch_axis or 0, 0) for name, column in whole.items()}
        return self.columns(ids, [{name: each[row] for name, each in rows.items()} for row in range(n_rows)])

    def groups(self, columns: Mapping[str, Any], n_rows: int) -> list[tuple[Engine, list[int], dict[str, Array]]]:
        """Groups of rows of equal size, each with its engine and its own columns.

        Args:
          columns: of all inputs, of one size or [N] rows of several.
        Raises:
          InputError: as `for_columns`.
        """
        whole = {name: self._checked_column(spec, columns[name], n_rows) for name, spec in self._engine.inputs.items()}
        shapes = {name: list(map(np.shape, column)) if is_ragged(column) else [self._engine.inputs[name].row_shape(column.shape)] * n_rows
                  for name, column in whole.items()}
        found: dict[tuple[int, ...], tuple[dict[str, int], list[int]]] = {}
        for row in range(n_rows):
            sizes = self._sizes({name: shapes[name][row] for name, _, _ in self._axes}, f"row {row}")
            found.setdefault(tuple(sizes.values()), (sizes, []))[1].append(row)
        groups = ((self._engine_for(sizes, f"row {rows[0]}"), rows) for sizes, rows in found.values())
        return [(own, rows, {name: self._select_rows(spec, whole[name], rows) for name, spec in own.inputs.items()})
                for own, rows in groups]

    def _row_shape(self, spec: TensorSpec, column: Any) -> tuple[int, ...]:
        """The shape of one row of a column of one size."""
        try:
            return spec.row_shape(np.shape(column))
        except ValueError as error:
            raise InputError(f"policy {self._engine.name!r}, input {spec.name!r}: expected rows of one size, got rows of several; give an "
                             "array of type object, with a row for each agent") from error

    def _checked_column(self, spec: TensorSpec, column: Any, n_rows: int) -> Array:
        """A column with as many rows as there are agents."""
        if spec.open_axes and spec.batch_axis is not None and is_ragged(column):
            if len(column) != n_rows:
                raise InputError(f"policy {self._engine.name!r}, input {spec.name!r}: expected {n_rows} rows, got {len(column)}; row i "
                                 "belongs to ids[i], so give one row for each")
            rows: Array = column
            return rows
        shape = self._row_shape(spec, column)
        return fitted(self._engine.name, replace(spec, shape=shape) if spec.admits(shape) else spec, column, n_rows)

    def _select_rows(self, spec: TensorSpec, column: Array, rows: Sequence[int]) -> Array:
        """A copy of some rows, of the shape of `spec`."""
        if not is_ragged(column):
            return column if spec.batch_axis is None else np.take(column, rows, spec.batch_axis)
        found = []
        for row in rows:
            where = f"policy {self._engine.name!r}, row {row}, input {spec.name!r}"
            given = as_numpy(where, column[row])
            if given.shape != spec.shape:
                raise InputError(f"{where}: expected {spec.shape} {spec.dtype}, got {given.shape} {given.dtype}; {spec.shape_remedy}")
            found.append(given if given.dtype == spec.dtype else fitted(self._engine.name, replace(spec, batch_axis=None), given, None))
        return np.moveaxis(np.stack(found), 0, spec.batch_axis or 0)

    def _sizes(self, shapes: Mapping[str, tuple[int, ...]], whose: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, axis, symbol in self._axes:
            shape, spec = shapes[name], self._engine.inputs[name]
            if len(shape) != len(spec.shape) or shape[axis] < 1:
                raise InputError(f"policy {self._engine.name!r}, {whose}, input {name!r}: expected {spec} with at least 1 entry on every "
                                 f"axis, got rows of shape {shape}; check the environment's observation_space")
            if found.setdefault(symbol, shape[axis]) != shape[axis]:
                raise InputError(f"policy {self._engine.name!r}, {whose}, input {name!r}: expected size {found[symbol]} for {symbol!r}, as "
                                 f"another input has it, got {shape[axis]}")
        return found

    def _engine_for(self, sizes: dict[str, int], whose: str) -> Engine:
        engine = self._engine
        open_dims = engine.model.open_dims
        if all(size == open_dims[symbol] for symbol, size in sizes.items()):
            return engine
        if self._unsupported:
            raise InputError(f"policy {engine.name!r}, {whose}: expected sizes {dict(open_dims)}, got {sizes}; {self._unsupported}: fix "
                             f"the sizes with dims={sizes}")
        key = tuple(sizes.items())
        found = self._engines.get(key)
        if found is None:
            try:
                model = engine.model.of_sizes(sizes)
            except GraphError as error:
                raise InputError(f"policy {engine.name!r}, {whose}: expected sizes with which the graph runs, got {sizes}; "
                                 f"{error}") from error
            stack = Stack(engine.wrappers, model.spec)
            stack.check_state_fits(engine.stack)
            stack.share(engine.stack)
            found = self._engines[key] = self._make_engine(model, stack)
            while len(self._engines) > _KEPT:
                self._engines.popitem(last=False)
        else:
            with suppress(KeyError):  # another thread has just removed it
                self._engines.move_to_end(key)
        return found


def _unsupported_reason(engine: Engine) -> str:
    """The reason why a policy cannot take other sizes; "" if it can."""
    if not isinstance(engine.inferer_choice, (str, InfererConfig)):
        return f"inferer {engine.inferer_choice!r} is opened for these sizes only"
    if engine.stack.custom:
        return "a wrapper of your own may depend on these sizes"
    for name, slab in engine.stack.slabs().items():
        if slab.spec.open_axes:
            return f"wrapper {engine.stack.inner_first[int(name.split(' ')[0])]!r} keeps {slab.spec}, a state of one size"
    visible = {symbol for name, spec in engine.inputs.items() for _, symbol in spec.open_axes
               if engine.model.inputs.get(name) == spec}
    hidden = [symbol for symbol in engine.model.open_dims if symbol not in visible]
    return f"wrappers hide or change every input that has size {hidden[0]!r}" if hidden else ""


def decide_in_groups(engine: Engine, sizes: OpenSizes, table: AgentTable, lock: ExclusiveLock, slots: Array, columns: Mapping[str, Any],
                     deterministic: bool | Array, out: Mapping[str, Array] | None) -> Actions:
    """Decides for rows that differ in size: one batch per size. State is stored after all have succeeded.

    Args:
      slots: [N] int64, of the agents.
      columns: as `OpenSizes.groups` takes them.
      deterministic: as `Engine.flags` takes it.
      out: None.
    Returns:
      Actions: columns by output name. Outputs of open size, and those whose batch axis is not 0, are [N] rows of type object.
    Raises:
      InputError, or the error of a group's run: nothing has changed then.
    """
    if out is not None:
        raise InputError(f"policy {engine.name!r}, out: expected None for rows of different sizes, got {list(out)}; give arrays with "
                         "columns of one size")
    n_rows = len(slots)
    flags = engine.flags(deterministic, n_rows)
    runs, found = [], []
    for own, rows, group in sizes.groups(columns, n_rows):
        view, results = own.run(table, slots[rows], group, False if flags is None else flags[rows], None)
        runs.append((own, view))
        found.append((rows, results))
    merged = {name: _merged(spec, [(rows, results[name]) for rows, results in found]) for name, spec in engine.outputs.items()}
    with lock.state_lock:
        for own, view in runs:
            own.store(table, view)
    for own, _ in runs:
        own.report()
    return engine.actions(merged)


def _merged(spec: TensorSpec, parts: Sequence[tuple[list[int], Array]]) -> Array:
    """Merges one output column of all groups.

    Args:
      parts: rows, and the group's column for them.
    """
    order = np.argsort(np.array([row for rows, _ in parts for row in rows], np.int64))
    if spec.batch_axis == 0 and not spec.open_axes and all(spec.row_shape(column.shape) == spec.shape for _, column in parts):
        joined: Array = np.concatenate([np.empty(spec.batched(0), spec.dtype), *(column for _, column in parts)])[order]
        return joined
    split: list[Any] = []
    for rows, column in parts:
        split += [column] * len(rows) if spec.batch_axis is None else Actions.rows(np.moveaxis(column, spec.batch_axis, 0))
    return ragged([split[place] for place in order])
