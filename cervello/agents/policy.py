"""`Policy`: a model with agents, wrappers and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import get_ident
from typing import Any

import numpy as np

from cervello.agents.actions import Actions
from cervello.agents.ids import Ids, listed
from cervello.agents.membership import Membership, Numbers
from cervello.agents.results import check_nothing_more, check_out, hand_over
from cervello.agents.table import AgentTable
from cervello.agents.turn import Turn
from cervello.batcher import ScratchPad
from cervello.batcher.deterministic import by_row
from cervello.batcher.rows import by_agent, odd_axes, owned
from cervello.errors import ConfigurationError, InputError
from cervello.inferers import Choice, ModelInferer, choose
from cervello.native import Model
from cervello.native.arrays import bind_outputs, check_names, fitted
from cervello.spec import AgentId, Array, Inferer, Specs, View, Wrapper
from cervello.wrappers import Stack, propose
from cervello.wrappers.flow import check_flow

Observation = Mapping[str, Any]


class Policy:
    """One policy for many agents. Several threads may infer different agents at the same time.

    Args:
      model: many policies may share one.
      inferer: "basic", "fixed", "dynamic", "memoizing", one of `cervello.inferers`, or an object of `cervello.Inferer`.
      wrappers: outermost first; "auto" takes what `cervello api` proposes.
      seed: of all noise; an agent's noise depends only on seed, stream, agent, episode and its step.
      threads: large batches are split over this many.
    Raises:
      ConfigurationError, WrapperError: the options make no sense, or not for this model.
    """

    def __init__(self, model: Model, *, inferer: str | Choice | Inferer = "memoizing", wrappers: Sequence[Wrapper] | str = (),
                 seed: int = 0, threads: int = 1):
        if not isinstance(model, Model):
            raise ConfigurationError(f"policy: expected a cervello.Model, got {model!r}; cervello.load makes a policy from a file")
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 64:
            raise ConfigurationError(f"policy {model.name!r}: expected a seed 0 ≤ seed < 2⁶⁴, got {seed!r}")
        self.model = model
        self.name = model.name
        self.wrappers = _listed(wrappers, model)
        self.inferer = choose(inferer, model, threads)
        self.version = 1
        self._stack = Stack(self.wrappers, model.spec)
        self._foreign = not isinstance(self.inferer, ModelInferer)
        self._turn = Turn(self.name)
        self._holder = self._turn.holder
        self._table = AgentTable(int(seed))
        # The short way, when there is one: a single compiled call, wrappers included.
        self._swift = self.inferer.swift(self._stack.moves) if isinstance(self.inferer, ModelInferer) and self._stack.movable else None
        self._membership = Membership(self._table, self._stack, self.inferer, self._turn, self._swift)
        spec = self._stack.spec
        self._inputs, self._outputs = spec.inputs, spec.outputs
        self._keys = frozenset(spec.inputs)
        # A wrapper that may look at what the caller gives needs arrays that fit; the library's own leave that to the compiled door.
        self._looks = self._foreign or self._stack.looks
        self._pads: list[ScratchPad] = []
        self._odd = odd_axes(spec.outputs)

    # What it takes and gives --------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> Specs:
        """What the caller gives: the model's inputs less those that wrappers provide."""
        return self._inputs

    @property
    def outputs(self) -> Specs:
        """What the caller gets."""
        return self._outputs

    @property
    def constants(self) -> Mapping[str, Array]:
        """Outputs that no input reaches."""
        return self.model.constants

    @property
    def seed(self) -> int:
        return self._table.seed

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """Agents that have begun, oldest first."""
        return tuple(self._table.slots)

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self._table

    def __repr__(self) -> str:
        return f"Policy({self.name!r}, agents={len(self)}, wrappers={list(self.wrappers)!r})"

    # Begin and end ------------------------------------------------------------------------------------------------------

    def begin_agent(self, agent: AgentId, stream: int = 0, episode: int = 0) -> None:
        """An agent's episode begins: fresh state, noise of (seed, stream, agent, episode) from step 0.

        Raises:
          AgentError: it has begun already, or the id is no int (0 ≤ id < 2⁶³) or string.
        """
        self.begin_agents((agent,), stream, episode)

    def begin_agents(self, ids: Ids, stream: Numbers = 0, episode: Numbers = 0) -> None:
        """Begins many, or none when one cannot begin or a wrapper's hook fails. Streams and episodes: one number for all or one per
        agent."""
        self._membership.begin(ids, stream, episode)

    def end_agent(self, agent: AgentId) -> None:
        """An agent's episode ends; its state is forgotten.

        Raises:
          AgentError: it has not begun.
        """
        self.end_agents((agent,))

    def end_agents(self, ids: Ids) -> None:
        """Ends many, or none when one has not begun. Every wrapper hears of it, even when the hook of another one fails."""
        self._membership.end(ids)

    def restart_agents(self, ids: Ids, stream: Numbers | None = None, episode: Numbers | None = None) -> None:
        """Ends and begins at once: the next episode of the same agents; when it cannot begin, the last one goes on.

        Args:
          stream, episode: as in `begin_agents`; None keeps an agent's stream and takes its next episode.
        """
        self._membership.restart(ids, stream, episode)

    def check_agents(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError unless all have begun."""
        if None in (births := self._table.births(ids)):
            self._table.rows([ids[births.index(None)]])

    def births(self, ids: Sequence[AgentId]) -> list[int | None]:
        """When each agent began, as a number that grows with every begin; None for one that is not there."""
        return self._table.births(ids)

    # Deciding -----------------------------------------------------------------------------------------------------------

    def infer(self, observations: Mapping[AgentId, Observation], deterministic: bool | Mapping[AgentId, bool] = False) -> Actions:
        """Decides for agents given by name.

        Args:
          observations: {agent: {input: row}}.
          deterministic: no noise, for all or by agent.
        Returns:
          Actions {agent: {output: row}}.
        Raises:
          AgentError, InputError: nothing has changed then.
        """
        if type(observations) is not dict and not isinstance(observations, Mapping):
            raise InputError(f"policy {self.name!r}: expected {{agent: {{input: row}}}}, got {type(observations).__name__}")
        ids = tuple(observations)
        flags = deterministic if deterministic is False else by_row(ids, deterministic)
        if not ids:
            self._flags(flags, 0)
            return self._actions({})
        pads = self._pads  # a pad for every thread that decides just now
        pad = pads.pop() if pads else ScratchPad(self._inputs)
        try:
            pad.fill(list(observations.values()), ids)
            columns = pad.columns(len(ids))
            results = owned(self.infer_batch(ids, columns, flags), columns)
        finally:
            pads.append(pad)
        return by_agent(ids, results, self._odd)  # type: ignore[no-any-return]

    def infer_single(self, agent: AgentId, observation: Observation, deterministic: bool = False) -> dict[str, Array]:
        """Decides for one agent: {output: row}."""
        self.check_agents((agent,))
        found: dict[str, Array] = self.infer({agent: observation}, deterministic)[agent]
        return found

    def infer_batch(self, ids: Ids, inputs: Mapping[str, Any], deterministic: bool | Array = False,
                    out: Mapping[str, Array] | None = None) -> Actions:
        """Decides for rows.

        Args:
          ids: distinct agents that have begun.
          inputs: a column [N, ...] per input; row i belongs to ids[i].
          deterministic: no noise, for all or [N] bool by row.
          out: arrays to write to, by output name; others are allocated.
        Returns:
          Actions: columns by output name.
        Raises:
          AgentError, InputError: nothing has changed then.
        """
        kind = type(ids)
        if kind is not list and kind is not tuple and kind is not np.ndarray:
            ids = listed(ids)  # once, and before anything is looked up: an iterator may do as it likes
        table, swift = self._table, self._swift
        if swift is not None and deterministic is False:
            # Whoever has the turn has the table for itself: a change of agents waits for it, other batches go the long way.
            holder = self._holder
            owner = mine = get_ident()
            try:
                owner = holder.setdefault(0, mine)
                if owner is mine:
                    last, slots, changes = table.last  # `rows`, written out for a crowd that comes again: a call less
                    if changes != table.changes or kind is not list or type(last) is not list or table.alike(0, 0, ids, last) != 2:
                        slots = table.rows(ids)
                    results = swift(len(slots), inputs, out, slots, table.steps, table.keys)
                    del holder[0]
                    if results is not None:
                        actions = Actions(results)
                        if self.version != 1:
                            actions.version = self.version
                        return actions
            except BaseException:
                if owner is mine and 0 in holder and holder[0] is mine:  # see `turn`: nothing here is a call
                    del holder[0]
                raise
        lock = self._turn.lock
        batch = object()
        try:
            with lock:
                table.enter(batch)  # first: agents that end from here on leave their slots to nobody else
                slots = table.rows(ids)
            return self._decide(slots, inputs, deterministic, out)
        finally:
            with lock:
                table.leave(batch)

    def _decide(self, slots: Array, inputs: Mapping[str, Any], deterministic: bool | Array, out: Mapping[str, Array] | None) -> Actions:
        """The long way: everything checked, wrappers and inferer one after the other. No lock is held while they run."""
        table, n_rows = self._table, len(slots)
        if not (type(inputs) is dict or isinstance(inputs, Mapping)) or not (out is None or isinstance(out, Mapping)):
            raise InputError(f"policy {self.name!r}: expected arrays by name, inputs as {{name: column}} and out as {{name: array}}, got "
                             f"{type(inputs).__name__} and {type(out).__name__}")
        if inputs.keys() != self._keys:
            check_names(self.name, self._inputs, inputs)
        columns = dict(inputs)
        flags = None if deterministic is False else self._flags(deterministic, n_rows)
        if n_rows == 0:
            for name, column in columns.items():
                fitted(self.name, self._inputs[name], column, 0)
            return self._actions(bind_outputs(self.name, self._outputs, 0, out))
        if out is not None:
            check_out(self.name, self._outputs, n_rows, out)
        if self._looks:
            for name, spec in self._inputs.items():
                columns[name] = fitted(self.name, spec, columns[name], n_rows)
        results = {} if out is None else dict(out)
        view = View(n_rows, slots, columns, results, table, flags)
        self._stack.inward(view)
        self.inferer.infer_raw(view)
        if self._foreign:
            check_flow(f"inferer {self.inferer!r}", "output", self.inferer.raw_outputs, view.outputs, n_rows,
                       "infer_raw must fill view.outputs")
        self._stack.outward(view)
        if self._foreign or self._stack.foreign:
            check_nothing_more(self.name, self._outputs, results)
        if out is not None:
            hand_over(results, out)
        with self._turn.lock:
            self._stack.commit(view)
            table.advance(slots, n_rows)
        return self._actions(results)

    def _actions(self, results: Mapping[str, Array]) -> Actions:
        actions = Actions(results)
        if self.version != 1:
            actions.version = self.version
        return actions

    def _flags(self, deterministic: bool | Array, n_rows: int) -> Array | None:
        if isinstance(deterministic, (bool, np.bool_)):
            return np.ones(n_rows, np.bool_) if deterministic else None
        try:
            flags = np.ascontiguousarray(deterministic)
            got = f"{flags.shape} {flags.dtype}"
        except ValueError:
            flags, got = np.zeros(0), "something ragged"
        if flags.shape != (n_rows,) or flags.dtype != np.bool_:
            raise InputError(f"policy {self.name!r}, deterministic: expected a bool or ({n_rows},) bools, got {got}")
        return flags


def _listed(wrappers: Any, model: Model) -> tuple[Wrapper, ...]:
    if isinstance(wrappers, str):
        if wrappers == "auto":
            return tuple(propose(model.spec))
    elif isinstance(wrappers, Sequence):
        return tuple(wrappers)
    raise ConfigurationError(f"policy {model.name!r}: expected a list of wrappers or 'auto', got {wrappers!r}; put it in a list")
