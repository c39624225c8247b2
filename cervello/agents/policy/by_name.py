"""Decides for agents given by name: packs their observations into columns, and splits the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cervello.agents.policy.actions import Actions
from cervello.agents.policy.core import PolicyCore
from cervello.batcher import ScratchPad
from cervello.batcher.deterministic import by_row
from cervello.batcher.rows import by_agent, first_row, owned
from cervello.errors import InputError
from cervello.native.execution.row_reader import RowReader
from cervello.spec import AgentId, Array

Observation = Mapping[str, Any]


class ByName:
    """`Policy.infer` and `Policy.infer_single`. Mutable: it keeps columns for the next call.

    Args:
      core: decides.
    """

    def __init__(self, core: PolicyCore):
        self._core = core
        self._engine = core.engine  # the pads are for its inputs
        self._pads: list[ScratchPad] = []

    def infer(self, observations: Mapping[AgentId, Observation | Any], deterministic: bool | Mapping[AgentId, bool] = False) -> Actions:
        """As `Policy.infer`."""
        core = self._core
        engine = core.engine
        if type(observations) is not dict and not isinstance(observations, Mapping):
            raise InputError(f"policy {core.name!r}: expected {{agent: {{input: row}}}}, got {type(observations).__name__}")
        if len(observations) == 1:
            (agent, observation), = observations.items()
            row = engine.one_row.columns(observation)
            if row is not None:
                results = core.infer_batch([agent], row, deterministic if deterministic is False else self._flags((agent,), deterministic))
                actions = Actions()
                actions[agent] = first_row(results, engine.non_leading_axes, row)
                if results.version != 1:
                    actions.version = results.version
                return actions
        ids = tuple(observations)
        flags = deterministic if deterministic is False else self._flags(ids, deterministic)
        if not ids:
            engine.flags(flags, 0)
            return engine.actions({})
        if engine is not self._engine:
            self._use_engine(engine)
        pads = self._pads  # one pad per thread that is currently deciding
        pad = pads.pop(0) if pads else ScratchPad(engine.inputs, make_reader=RowReader.of)  # in rotation, so that each one adapts
        try:
            try:
                pad.fill(list(observations.values()), ids, core.name)
                columns = pad.columns(len(ids))
            except InputError:
                if engine.sizes is None:
                    raise
                columns = engine.sizes.columns(ids, list(observations.values()))
            results = owned(core.infer_batch(ids, columns, flags), columns)
        finally:
            pad.trim(len(ids))
            pads.append(pad)
        return by_agent(ids, results, engine.non_leading_axes)  # type: ignore[no-any-return]

    def infer_single(self, agent: AgentId, observation: Observation | Any, deterministic: bool = False) -> dict[str, Array]:
        """As `Policy.infer_single`."""
        core = self._core
        engine = core.engine
        row = engine.one_row.columns(observation)
        if row is not None:
            flags = deterministic if deterministic is False else self._flags((agent,), deterministic)
            return first_row(core.infer_batch([agent], row, flags), engine.non_leading_axes, row)
        core.check_agents((agent,))
        found: dict[str, Array] = self.infer({agent: observation}, deterministic)[agent]
        return found

    def _use_engine(self, engine: Any) -> None:
        """Follows a swap of the engine: pads depend on the inputs' types."""
        if [spec.keeps_float64 for spec in engine.inputs.values()] != [spec.keeps_float64 for spec in self._engine.inputs.values()]:
            self._pads = []
        self._engine = engine

    def _flags(self, ids: tuple[AgentId, ...], deterministic: Any) -> Any:
        """As `by_row`."""
        with self._core.error_context:
            return by_row(ids, deterministic)
