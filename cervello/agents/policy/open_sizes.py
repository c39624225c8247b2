"""Agents whose observations differ in a size that the file leaves open: they run in groups of equal size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from cervello.agents.membership.lock import ExclusiveLock
from cervello.agents.membership.table import AgentTable
from cervello.agents.policy.actions import Actions
from cervello.batcher import ScratchPad
from cervello.batcher.rows import by_agent, owned
from cervello.errors import InputError
from cervello.inferers import InfererConfig
from cervello.native import Model
from cervello.spec import AgentId, Array, Specs
from cervello.wrappers import Stack

if TYPE_CHECKING:
    from cervello.agents.policy.engine import Engine

_KEPT = 64  # engines of other sizes; they share the weights and the wrappers' state


class OpenSizes:
    """The engines of one policy, one for each combination of sizes that agents have had. Mutable; threads may share it.

    Args:
      engine: for the sizes that the specs show.
      make: an engine from a model of other sizes.
    """

    def __init__(self, engine: Engine, make: Callable[[Model, Stack], Engine]):
        self._engine, self._make = engine, make
        self._axes = [(name, axis, symbol) for name, spec in engine.inputs.items() for axis, symbol in spec.open_axes]
        self._engines: OrderedDict[tuple[tuple[str, int], ...], Engine] = OrderedDict()
        self._refusal = _refusal(engine)

    def for_columns(self, inputs: Mapping[str, Any]) -> Engine:
        """The engine for the sizes of columns, [N, ...] by input.

        Raises:
          InputError: sizes that contradict each other, or that this policy cannot take.
        """
        specs = self._engine.inputs
        rows = {}
        for name, _, _ in self._axes:
            shape, axis = np.shape(inputs[name]), specs[name].batch_axis
            rows[name] = shape if axis is None else (*shape[:axis], *shape[axis + 1:])
        return self._of(self._sizes(rows, "inputs"))

    def for_observation(self, agent: AgentId, observation: Any) -> Engine:
        """The engine for the sizes of one agent's observation; raises as `for_columns` does."""
        if not isinstance(observation, Mapping) or any(name not in observation for name, _, _ in self._axes):
            return self._engine  # whose pad says what is missing
        try:
            rows = {name: np.shape(observation[name]) for name, _, _ in self._axes}
        except ValueError:  # ragged
            return self._engine
        return self._of(self._sizes(rows, f"agent {agent!r}"))

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

    def _of(self, sizes: dict[str, int]) -> Engine:
        engine = self._engine
        open_dims = engine.model.open_dims
        if all(size == open_dims[symbol] for symbol, size in sizes.items()):
            return engine
        if self._refusal:
            raise InputError(f"policy {engine.name!r}: expected sizes {dict(open_dims)}, got {sizes}; {self._refusal}: fix the sizes with "
                             f"dims={sizes}")
        key = tuple(sizes.items())
        found = self._engines.get(key)
        if found is None:
            model = engine.model.of_sizes(sizes)
            stack = Stack(engine.wrappers, model.spec)
            stack.check_heir(engine.stack)
            stack.share(engine.stack)
            found = self._engines[key] = self._make(model, stack)
            while len(self._engines) > _KEPT:
                self._engines.popitem(last=False)
        else:
            with suppress(KeyError):  # another thread has just let it go
                self._engines.move_to_end(key)
        return found


def _refusal(engine: Engine) -> str:
    """Why a policy cannot take other sizes; "" when it can."""
    if not isinstance(engine.choice, (str, InfererConfig)):
        return f"inferer {engine.choice!r} is opened for these sizes only"
    if engine.stack.custom:
        return "a wrapper of your own may depend on these sizes"
    for name, slab in engine.stack.slabs().items():
        if slab.spec.open_axes:
            return f"wrapper {engine.stack.inner_first[int(name.split(' ')[0])]!r} keeps {slab.spec}, a state of one size"
    visible = {symbol for name, spec in engine.inputs.items() for _, symbol in spec.open_axes
               if engine.model.inputs.get(name) == spec}
    hidden = [symbol for symbol in engine.model.open_dims if symbol not in visible]
    return f"wrappers hide or change every input that has size {hidden[0]!r}" if hidden else ""


def decide_in_groups(engine: Engine, sizes: OpenSizes, table: AgentTable, turn: ExclusiveLock, ids: Sequence[AgentId], slots: Array,
                     observations: Sequence[Any], flags: Any) -> Actions:
    """Decides for agents whose observations differ in size: a batch for each size, and state is stored when all have succeeded.

    Args:
      slots: [N] int64, of the agents.
      flags: False or [N] bool, whether a row draws no noise.
    Returns:
      Actions {agent: {output: row}}, in the order of ids.
    Raises:
      InputError, or what a group's run raises: nothing has changed then.
    """
    groups: dict[int, tuple[Engine, list[int]]] = {}
    for row, (agent, observation) in enumerate(zip(ids, observations, strict=True)):
        own = sizes.for_observation(agent, observation)
        groups.setdefault(id(own), (own, []))[1].append(row)
    runs = []
    rows_of: dict[AgentId, dict[str, Array]] = {}
    for own, rows in groups.values():
        names = tuple(ids[row] for row in rows)
        columns = _columns(own.inputs, [observations[row] for row in rows], names, engine.name)
        view, results = own.run(table, slots[rows], columns, flags if isinstance(flags, bool) else np.asarray(flags)[rows], None)
        runs.append((own, view))
        rows_of.update(by_agent(names, owned(own.actions(results), columns), own.non_leading_axes))
    with turn.lock:
        for own, view in runs:
            own.store(table, view)
    for own, _ in runs:
        own.report()
    return engine.actions({}).like({agent: rows_of[agent] for agent in ids})


def _columns(specs: Specs, observations: Sequence[Any], ids: tuple[AgentId, ...], where: str) -> dict[str, Array]:
    pad = ScratchPad(specs, len(ids))
    pad.fill(observations, ids, where)
    return pad.columns(len(ids))
