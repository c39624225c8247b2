"""`Policy`: a model with agents, wrappers and noise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from cervello.agents.actions import Actions
from cervello.agents.results import check_results, hand_over
from cervello.agents.table import AgentTable, listed
from cervello.batcher import ScratchPad
from cervello.batcher.batcher import by_agent, odd_axes
from cervello.errors import ConfigurationError, InputError
from cervello.inferers import Choice, ModelInferer, choose
from cervello.inferers.swift import Swift
from cervello.native import Model
from cervello.native.arrays import bind_outputs, check_names, fitted
from cervello.spec import AgentId, Array, Inferer, Specs, View, Wrapper
from cervello.wrappers import Stack, propose

Observation = Mapping[str, Any]
Ids = Sequence[AgentId] | Array


class Policy:
    """One policy for many agents. Several threads may infer different agents at the same time.

    Args:
      model: many policies may share one.
      inferer: "basic", "fixed", "dynamic", "memoizing", one of `cervello.inferers`, or an object of `cervello.Inferer`.
      wrappers: outermost first; "auto" takes what `cervello api` proposes.
      seed: of all noise; an agent's noise depends only on seed, stream, agent, episode and its step.
      threads: large batches are split over this many.
    """

    def __init__(self, model: Model, *, inferer: str | Choice | Inferer = "memoizing", wrappers: Sequence[Wrapper] | str = (),
                 seed: int = 0, threads: int = 1):
        if isinstance(wrappers, str):
            if wrappers != "auto":
                raise ConfigurationError(f"policy {model.name!r}: expected a list of wrappers or 'auto', got {wrappers!r}")
            wrappers = propose(model.spec)
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 64:
            raise ConfigurationError(f"policy {model.name!r}: expected a seed 0 ≤ seed < 2⁶⁴, got {seed!r}")
        if isinstance(wrappers, Wrapper):
            raise ConfigurationError(f"policy {model.name!r}: expected a list of wrappers or 'auto', got {wrappers!r}; put it in a list")
        self.model = model
        self.name = model.name
        self.wrappers = tuple(wrappers)
        self.inferer = choose(inferer, model, threads)
        self.version = 1
        self._stack = Stack(self.wrappers, model.spec)
        self._foreign = not isinstance(self.inferer, ModelInferer)
        self._lock = threading.RLock()  # for membership and the storing of state; never held while an inferer runs
        self._table = AgentTable(int(seed))
        self._stack.reserve(self._table.capacity)
        spec = self._stack.spec
        self._inputs, self._outputs = spec.inputs, spec.outputs
        self._keys = frozenset(spec.inputs)
        # A wrapper that may look at what the caller gives needs arrays that fit; the library's own leave that to the compiled door.
        self._looks = self._foreign or any(getattr(wrapper, "reads_inputs", True) for wrapper in self._stack.inner_first)
        self._pads: list[ScratchPad] = []
        self._odd = odd_axes(spec.outputs)
        self._idle: list[Swift] = []  # the short way, when there is one and nobody uses it
        if isinstance(self.inferer, ModelInferer) and self._stack.movable:
            swift = self.inferer.swift(self._stack.moves)
            self._idle += [] if swift is None else [swift]
        self._short_ways = len(self._idle)
        self._changes_open = 0

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

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Alone with the table: no short way is under way, nobody else begins, ends or stores state."""
        with self._lock:
            held: list[Swift] = []
            self._changes_open += 1
            while self._changes_open == 1 and len(held) < self._short_ways:
                try:
                    held.append(self._idle.pop())
                except IndexError:
                    time.sleep(0)  # another thread is about to make its one compiled call
            try:
                yield
            finally:
                self._changes_open -= 1
                self._idle += held

    def begin_agent(self, agent: AgentId, stream: int = 0, episode: int = 0) -> None:
        """An agent's episode begins: fresh state, noise of (seed, stream, agent, episode) from step 0.

        Raises:
          AgentError: it has begun already, or the id is no int (0 ≤ id < 2⁶³) or string.
        """
        self.begin_agents((agent,), stream, episode)

    def begin_agents(self, ids: Ids, stream: int | Sequence[int] = 0, episode: int | Sequence[int] = 0) -> None:
        """Begins many, or none when one cannot begin. Streams and episodes: one number for all or one per agent."""
        names = listed(ids)
        streams, episodes = _spread("stream", stream, len(names)), _spread("episode", episode, len(names))
        with self._changing():
            numbers = self._table.check_begin(names)
            if names:
                self._begin(names, numbers, streams, episodes)

    def _begin(self, names: list[AgentId], numbers: list[int], streams: list[int], episodes: list[int]) -> None:
        slots = self._table.begin(names, numbers, streams, episodes)
        self._stack.reserve(self._table.capacity)
        self._stack.begin(slots)
        for slot in slots.tolist():
            self.inferer.begin_agent(slot)

    def end_agent(self, agent: AgentId) -> None:
        """An agent's episode ends; its state is forgotten.

        Raises:
          AgentError: it has not begun.
        """
        self.end_agents((agent,))

    def end_agents(self, ids: Ids) -> None:
        """Ends many, or none when one has not begun."""
        names = listed(ids)
        if not names:
            return
        with self._changing():
            slots = self._table.end(names)
            self._stack.end(slots)
            for slot in slots.tolist():
                self.inferer.end_agent(slot)

    def restart_agents(self, ids: Ids, stream: int | Sequence[int] | None = None, episode: int | Sequence[int] | None = None) -> None:
        """Ends and begins at once: the next episode of the same agents.

        Args:
          stream, episode: as in `begin_agents`; None keeps an agent's stream and takes its next episode.
        """
        names = listed(ids)
        if not names:
            return
        with self._changing():
            old_streams, old_episodes = self._table.history(self._table.rows(names))
            streams = old_streams if stream is None else _spread("stream", stream, len(names))
            episodes = _spread("episode", [e + 1 for e in old_episodes] if episode is None else episode, len(names))
            numbers = [_agent_number(name) for name in names]
            self.end_agents(names)
            self._begin(names, numbers, streams, episodes)

    def check_agents(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError unless all have begun."""
        slots = self._table.slots
        for agent in ids:
            if agent not in slots:
                self._table.rows(list(ids))

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
        if not observations:
            return self._actions(None)
        ids = tuple(observations)
        flags: Any = deterministic
        if isinstance(deterministic, Mapping):
            flags = np.array([bool(deterministic.get(agent, False)) for agent in ids])
        pads = self._pads  # a pad for every thread that decides just now
        pad = pads.pop() if pads else ScratchPad(self._inputs)
        try:
            pad.fill(list(observations.values()), ids)
            results = self.infer_batch(ids, pad.columns(len(ids)), flags)
        finally:
            pads.append(pad)
        return by_agent(ids, results, self._odd)  # type: ignore[no-any-return]

    def infer_single(self, agent: AgentId, observation: Observation, deterministic: bool = False) -> dict[str, Array]:
        """Decides for one agent: {output: row}."""
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
        table = self._table
        idle = self._idle
        if idle and deterministic is False:
            # Whoever holds the short way has the table for itself: `_changing` waits for it, other batches go the long way.
            try:
                swift = idle.pop()
            except IndexError:  # another thread was faster
                swift = None
            if swift is not None:
                try:
                    slots = table.rows(ids)
                    results = swift(len(slots), inputs, out, slots, table.steps, table.keys)
                finally:
                    idle.append(swift)
                if results is not None:
                    return self._actions(results)
        with self._lock:
            slots = table.rows(ids)
            n_rows = len(slots)
            table.enter()
        try:
            return self._decide(slots, n_rows, inputs, deterministic, out)
        finally:
            with self._lock:
                table.leave()

    def _decide(self, slots: Array, n_rows: int, inputs: Mapping[str, Any], deterministic: bool | Array, out: Mapping[str, Array] | None,
                ) -> Actions:
        """The long way: everything checked, wrappers and inferer one after the other. No lock is held while they run."""
        table = self._table
        if inputs.keys() != self._keys:
            check_names(self.name, self._inputs, inputs)
        columns = dict(inputs)
        if n_rows == 0:
            return self._nothing(columns, out)
        if out is not None and not self._fresh(out, n_rows):
            bind_outputs(self.name, self._outputs, n_rows, out)
        if self._looks:
            for name, spec in self._inputs.items():
                columns[name] = fitted(self.name, spec, columns[name], n_rows)
        flags = None
        if deterministic is not False:
            flags = self._flags(deterministic, n_rows)
        results = {} if out is None else dict(out)
        view = View(n_rows, slots, columns, results, table, flags)
        for wrapper in self._stack.outer_first:
            wrapper.inward(view)
        self.inferer.infer_raw(view)
        if self._foreign:
            check_results(repr(self.inferer), self.inferer.raw_outputs, view)
        for wrapper in self._stack.inner_first:
            wrapper.outward(view)
        if out is not None:
            hand_over(results, out)
        with self._lock:
            for wrapper in self._stack.inner_first:
                wrapper.commit(view)
            table.advance(slots, n_rows)
        return self._actions(results)

    def _actions(self, results: Mapping[str, Array] | None) -> Actions:
        actions = Actions() if results is None else Actions(results)
        if self.version != 1:
            actions.version = self.version
        return actions

    def _fresh(self, out: Mapping[str, Array], n_rows: int) -> bool:
        """Whether `out` needs no second look: plain arrays of the right shape for every output."""
        specs = self._outputs
        for name, array in out.items():
            spec = specs.get(name)
            if spec is None or type(array) is not np.ndarray or array.shape != spec.batched(n_rows) or array.dtype != spec.dtype:
                return False
            if not array.flags.writeable:
                return False
        return True

    def _nothing(self, columns: dict[str, Any], out: Mapping[str, Array] | None) -> Actions:
        for name, column in columns.items():
            fitted(self.name, self._inputs[name], column, 0)
        return self._actions(bind_outputs(self.name, self._outputs, 0, out))

    def _flags(self, deterministic: bool | Array, n_rows: int) -> Array | None:
        if isinstance(deterministic, (bool, np.bool_)):
            return np.ones(n_rows, np.bool_) if deterministic else None
        flags = np.ascontiguousarray(deterministic)
        if flags.shape != (n_rows,) or flags.dtype != np.bool_:
            raise InputError(f"policy {self.name!r}, deterministic: expected a bool or ({n_rows},) bools, got {flags.shape} {flags.dtype}")
        return flags


def _agent_number(agent: AgentId) -> int:
    from cervello.noise import agent_number

    return agent_number(agent)


def _spread(what: str, value: int | Sequence[int], n: int) -> list[int]:
    values = list(value) if isinstance(value, (Sequence, np.ndarray)) else [value] * n
    if len(values) != n:
        raise InputError(f"{what}: expected one number or {n}, got {len(values)}")
    for number in values:
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < 1 << 63:
            raise InputError(f"{what}: expected 0 ≤ {what} < 2⁶³, got {number!r}")
    return [int(number) for number in values]
