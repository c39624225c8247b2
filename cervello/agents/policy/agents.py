"""The agents of a policy: its inputs and outputs, and how agents begin and end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import get_ident
from typing import Any

import numpy as np

from cervello.agents.membership.ids import Ids, as_id_list, first_duplicate
from cervello.agents.membership.lock import ExclusiveLock
from cervello.agents.membership.naming import NamesPolicy
from cervello.agents.membership.table import AgentTable
from cervello.agents.policy.engine import Engine
from cervello.agents.policy.membership import Membership, Numbers
from cervello.agents.policy.open_sizes import OpenSizes
from cervello.agents.policy.spaces_binding import GameInterface
from cervello.errors import AgentError, ConfigurationError
from cervello.inferers import InfererConfig
from cervello.native import Model
from cervello.native.execution.row_reader import Directory, RowReader
from cervello.spaces import SpaceBinding, Spaces
from cervello.spec import AgentId, Array, Inferer, Specs, Wrapper


class PolicyAgents:
    """The part of `Policy` that makes no decisions; its arguments are those of `Policy`."""

    def __init__(self, model: Model, *, inferer: str | InfererConfig | Inferer = "memoizing", wrappers: Sequence[Wrapper] | str = (),
                 seed: int = 0, threads: int = 1, spaces: Any = None):
        if not isinstance(model, Model):
            raise ConfigurationError(f"policy: expected a cervello.Model, got {model!r}; cervello.load makes a policy from a file")
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 64:
            raise ConfigurationError(f"policy {model.name!r}: expected a seed 0 ≤ seed < 2⁶⁴, got {seed!r}")
        self.name = model.name
        self._game = GameInterface.of(model, wrappers, spaces)
        self._engine = Engine(model, self.name, inferer, self._game.wrappers, threads)
        self._game.bind(self.name, self._engine)
        self._turn = ExclusiveLock(self.name)
        self._holder = self._turn.holder
        self._table = AgentTable(int(seed))
        self._turn.after_fork = self._table.forget_running
        self._membership = Membership(self._table, self._engine, self._turn)

    # Inputs and outputs -------------------------------------------------------------------------------------------------

    @property
    def model(self) -> Model:
        """The current model; replaced by a swap."""
        return self._engine.model

    @property
    def metadata(self) -> Mapping[str, str]:
        """`metadata_props` of the model's file; see `Model.metadata`."""
        return self._engine.model.metadata

    @property
    def inferer(self) -> Inferer:
        """The inferer: it runs the model and determines the number of rows per call."""
        return self._engine.inferer

    @property
    def wrappers(self) -> tuple[Wrapper, ...]:
        """The wrappers as given, outermost first."""
        return self._engine.wrappers

    @property
    def version(self) -> int:
        """1 at first; every swap adds 1."""
        return self._engine.version

    @property
    def inputs(self) -> Specs:
        """The caller's inputs: the model's inputs without those that wrappers supply."""
        return self._game.shown(self._engine.inputs)

    @property
    def all_inputs(self) -> Specs:
        """`inputs`, and the optional action mask that the head of `spaces` reads."""
        return self._engine.inputs

    def inputs_for(self, agent: AgentId, observation: Any) -> Specs:
        """`all_inputs`, with the sizes of one agent's observation where the file leaves them open.

        Raises:
          InputError: sizes that this policy cannot take.
        """
        engine = self._engine
        return engine.inputs if engine.sizes is None else engine.sizes.for_observation(agent, observation).inputs

    @property
    def open_sizes(self) -> OpenSizes | None:
        """State of observations of open sizes; None for nearly all policies."""
        return self._engine.sizes

    @property
    def spaces(self) -> Spaces | None:
        """The environment spaces that the policy was loaded for."""
        return self._game.spaces

    @property
    def binding(self) -> SpaceBinding:
        """Converts observations and masks of the environment to columns, and outputs to its actions.

        Raises:
          ConfigurationError: the policy was loaded without `spaces`.
        """
        return self._game.binding(self.name)

    @property
    def outputs(self) -> Specs:
        """The outputs that the caller gets."""
        return self._engine.outputs

    @property
    def constants(self) -> Mapping[str, Array]:
        """Outputs that depend on no input: arrays of the shapes in the file, by name."""
        return self.model.constants

    @property
    def seed(self) -> int:
        """Seed of all noise, 0 ≤ seed < 2⁶⁴."""
        return self._table.seed

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """Active agents, oldest first."""
        return tuple(self._table.slots)

    def __len__(self) -> int:
        return len(self._table)

    def __bool__(self) -> bool:
        """Always True: `if policy:` asks whether there is a policy, not whether it has agents."""
        return True

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self._table

    def __repr__(self) -> str:
        return f"Policy({self.name!r}, agents={len(self)}, wrappers={list(self.wrappers)!r})"

    def _repr_html_(self) -> str:
        from cervello.pictures import notebook  # imported on use, to keep start-up short

        specs = [(what, spec.name, "×".join(map(str, spec.shape)) or "scalar", str(spec.dtype))
                 for what, own in (("input", self.inputs), ("output", self.outputs)) for spec in own.values()]
        return "".join([
            notebook.heading(self.name, f"version {self.version}"), notebook.table(("", "name", "row", "type"), specs),
            notebook.facts({"agents": f"{len(self):,}", "wrappers": ", ".join(map(repr, self.wrappers)) or "none",
                            "inferer": repr(self.inferer), "seed": self.seed, "spaces": "" if self.spaces is None else repr(self.spaces)})])

    @property
    def _naming(self) -> NamesPolicy:
        """A context that adds this policy's name to errors."""
        return NamesPolicy(self.name)

    # Begin and end ------------------------------------------------------------------------------------------------------

    def begin_agent(self, agent: AgentId, stream: int = 0, episode: int | None = None) -> None:
        """Begins an agent's episode: initial state, noise of (seed, stream, agent, episode) from step 0.

        Args:
          stream, episode: as in `begin_agents`.

        Raises:
          AgentError: it is already active, or the id is no int (0 ≤ id < 2⁶³) or string.
        """
        self.begin_agents((agent,), stream, episode)

    def begin_agents(self, ids: Ids, stream: Numbers = 0, episode: Numbers | None = None) -> None:
        """Begins many agents, or none if one cannot begin or a wrapper's hook fails.

        Args:
          ids: [n] of the agents, distinct: a list or an array of integers, or a list of strings.
          stream, episode: one number for all or one per agent. An episode of None is 0 for an agent that begins for the first time and
            the next one for an agent that has ended, whatever its stream. Of agents that ended long ago only a floor is remembered, see
            `agents.membership.episodes.PastEpisodes`: their episodes may skip numbers and never repeat one.
        """
        with self._naming:
            self._membership.begin(ids, stream, episode)

    def end_agent(self, agent: AgentId) -> None:
        """Ends an agent's episode and discards its state.

        Raises:
          AgentError: it is not active.
        """
        self.end_agents((agent,))

    def end_agents(self, ids: Ids) -> None:
        """Ends the agents `ids`, or none if one is not active. Every wrapper's hook is called, even if the hook of another one fails.

        A finalizer, a signal handler or a hook may call it inside a decision or a change of the same policy. The end is then deferred
        until that operation is over, before it returns.
        """
        with self._naming:
            self._membership.end(ids)

    def restart_agents(self, ids: Ids, stream: Numbers | None = None, episode: Numbers | None = None) -> None:
        """Ends and begins agents in one step: the next episode of the same agents. If it cannot begin, the last one continues.

        Args:
          ids: [n] of the agents, distinct.
          stream, episode: as in `begin_agents`; None keeps an agent's stream and takes its next episode.
        """
        with self._naming:
            self._membership.restart(ids, stream, episode)

    def check_agents(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError unless all of `ids` are active."""
        with self._naming:
            if None in (generations := self.generations(ids)):
                self._table.rows([ids[generations.index(None)]])

    def generations(self, ids: Sequence[AgentId]) -> list[int | None]:
        """Generation of each of the agents `ids`, a number that grows with every begin; None for an agent that is not active."""
        turn, table = self._turn, self._table
        if type(ids) is not tuple and type(ids) is not list:
            ids = as_id_list(ids)
        writes = turn.writes  # as `ExclusiveLock.read`, inlined to save a call
        if not turn.writer:
            found = table.generations(ids)
            if turn.writes == writes:
                return found
        return turn.read(table.generations, ids)

    def look_up(self, ids: tuple[AgentId, ...]) -> None:
        """Looks up distinct agents `ids` in advance, for the next batch with the same ids."""
        with suppress(KeyError):  # an agent that has ended meanwhile is reported by the batch itself
            self._turn.read(self._table.known, ids)

    @property
    def must_defer(self) -> bool:
        """Whether this thread is inside an operation that a change of agents has to wait for."""
        return self._turn.must_defer()

    @property
    def is_changing(self) -> bool:
        """Whether this thread is writing to the table of agents."""
        return self._turn.writer == get_ident()

    @property
    def membership_version(self) -> int:
        """Grows whenever agents begin or end."""
        return self._table.membership_version

    def check_distinct(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError if an agent occurs twice in `ids`."""
        if len(set(ids)) != len(ids):
            raise AgentError(f"policy {self.name!r}, agents: expected distinct agents, got {first_duplicate(ids)!r} twice")

    def make_reader(self, specs: Specs) -> RowReader | None:
        """A compiled reader of this policy's observations, for a batcher or a runtime, in the layout of `specs`; None if only Python can
        read them."""
        table = self._table
        return RowReader.of(specs, Directory(table.slots, self._turn.writer_word, table.births_at))

    def rename(self, name: str) -> None:
        """Sets the name used in messages, before agents begin."""
        self.name = self._turn.where = name
        self._engine = self._membership.engine = self._engine.as_version(self._engine.version, name)

    def number_by(self, numbering: Callable[[Sequence[AgentId]], Array]) -> None:
        """Keys the agents' noise by other numbers than their ids, for an owner that has its own agent names.

        Args:
          numbering: ids to [n] uint64, distinct or not; a pure function during an agent's lifetime.
        Raises:
          AgentError: there are active agents, whose noise is keyed already.
        """
        if len(self):
            raise AgentError(f"policy {self.name!r}: expected a policy without agents, got {len(self)}; number them before they begin")
        self._table.numbering = numbering
