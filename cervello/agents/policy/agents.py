"""The agents of a policy: their engine and table, and how they begin and end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from cervello.agents.membership.error_context import PolicyErrorContext
from cervello.agents.membership.ids import Ids, as_id_list, check_distinct
from cervello.agents.membership.lock import ExclusiveLock
from cervello.agents.membership.table import AgentTable
from cervello.agents.policy.engine import Engine
from cervello.agents.policy.membership import Membership, Numbers
from cervello.agents.policy.spaces_binding import EnvironmentInterface
from cervello.errors import AgentError, ConfigurationError
from cervello.inferers import InfererConfig
from cervello.native import Model
from cervello.native.execution.row_reader import Directory, RowReader
from cervello.spaces import SpaceBinding
from cervello.spec import AgentId, Array, Inferer, Specs, Wrapper


class PolicyAgents:
    """The part of `PolicyCore` that makes no decisions; its arguments are those of `Policy`.

    Attributes:
      name: the model's, or the one given to `load(name=…)`; errors begin with it.
      engine: the current engine; a swap replaces it.
      table: the active agents. lock: exclusive access to them.
      membership: begins and ends agents.
      environment: the environment's spaces, and decisions without agents.
    """

    def __init__(self, model: Model, *, inferer: str | InfererConfig | Inferer = "memoizing", wrappers: Sequence[Wrapper] | str = (),
                 seed: int = 0, threads: int = 1, spaces: Any = None):
        if not isinstance(model, Model):
            raise ConfigurationError(f"policy: expected a cervello.Model, got {model!r}; cervello.load makes a policy from a file")
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 64:
            raise ConfigurationError(f"policy {model.name!r}: expected a seed 0 ≤ seed < 2⁶⁴, got {seed!r}")
        self.name = model.name
        self.environment = EnvironmentInterface.of(model, wrappers, spaces)
        self.engine = Engine(model, self.name, inferer, self.environment.wrappers, threads)
        self.environment.bind(self.name, self.engine)
        self.lock = ExclusiveLock(self.name)
        self.table = AgentTable(int(seed))
        self.lock.after_fork = self.table.clear_running_batches
        self.membership = Membership(self.table, self.engine, self.lock)

    # Inputs and outputs -------------------------------------------------------------------------------------------------

    @property
    def model(self) -> Model:
        """The current model."""
        return self.engine.model

    @property
    def version(self) -> int:
        """As `Policy.version`."""
        return self.engine.version

    @property
    def seed(self) -> int:
        """As `Policy.seed`."""
        return self.table.seed

    @property
    def all_inputs(self) -> Specs:
        """`Policy.inputs`, and the optional action mask that the head of `spaces` reads."""
        return self.engine.inputs

    @property
    def outputs(self) -> Specs:
        """As `Policy.outputs`."""
        return self.engine.outputs

    def inputs_for(self, agent: AgentId, observation: Any) -> Specs:
        """`all_inputs`, with the sizes of one agent's observation where the file leaves them open.

        Raises:
          InputError: sizes that do not fit this policy.
        """
        engine = self.engine
        return engine.inputs if engine.sizes is None else engine.sizes.for_observation(agent, observation).inputs

    @property
    def binding(self) -> SpaceBinding:
        """Converts observations and masks of the environment to columns, and outputs to its actions.

        Raises:
          ConfigurationError: the policy was loaded without `spaces`.
        """
        return self.environment.binding(self.name)

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self.table

    def __repr__(self) -> str:
        return f"<policy {self.name!r}, {len(self.table)} agents>"

    @property
    def error_context(self) -> PolicyErrorContext:
        """A context that adds this policy's name to errors."""
        return PolicyErrorContext(self.name)

    # Begin and end ------------------------------------------------------------------------------------------------------

    def begin_agents(self, ids: Ids, stream: Numbers = 0, episode: Numbers | None = None) -> None:
        """As `Policy.begin_agents`."""
        with self.error_context:
            self.membership.begin(ids, stream, episode)

    def end_agents(self, ids: Ids) -> None:
        """As `Policy.end_agents`."""
        with self.error_context:
            self.membership.end(ids)

    def restart_agents(self, ids: Ids, stream: Numbers | None = None, episode: Numbers | None = None) -> None:
        """As `Policy.restart_agents`."""
        with self.error_context:
            self.membership.restart(ids, stream, episode)

    def check_agents(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError unless all of `ids` are active."""
        with self.error_context:
            if None in (generations := self.generations(ids)):
                self.table.slots_of([ids[generations.index(None)]])

    def generations(self, ids: Sequence[AgentId]) -> list[int | None]:
        """Generation of each of the agents `ids`, a number that grows with every begin; None for an agent that is not active."""
        lock, table = self.lock, self.table
        if type(ids) is not tuple and type(ids) is not list:
            ids = as_id_list(ids)
        writes = lock.writes  # as `ExclusiveLock.read`, inlined to save a call
        if not lock.writer:
            found = table.generations(ids)
            if lock.writes == writes:
                return found
        return lock.read(table.generations, ids)

    def look_up(self, ids: tuple[AgentId, ...]) -> None:
        """Looks up distinct agents `ids` in advance, for the next batch with the same ids."""
        with suppress(KeyError):  # an agent that has ended meanwhile is reported by the batch itself
            self.lock.read(self.table.slots_of_active, ids)

    @property
    def membership_version(self) -> int:
        """Grows whenever agents begin or end."""
        return self.table.membership_version

    def check_distinct(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError if an agent occurs twice in `ids`, or cannot be an agent at all."""
        check_distinct(f"policy {self.name!r}, agents", ids)

    def make_reader(self, specs: Specs) -> RowReader | None:
        """A compiled reader of this policy's observations, for a batcher or a runtime, in the layout of `specs`; None if only Python can
        read them."""
        table = self.table
        return RowReader.of(specs, Directory(table.slots, self.lock.writer_word, table.generations_address))

    def rename(self, name: str) -> None:
        """Sets the name used in messages, before agents begin."""
        self.name = self.lock.policy = name
        self.use(self.engine.as_version(self.engine.version, name))

    def use(self, engine: Engine) -> None:
        """Decides with another engine from the next batch on; the caller holds the exclusive lock, or there are no agents."""
        raise NotImplementedError

    def number_by(self, numbering: Callable[[Sequence[AgentId]], Array]) -> None:
        """Keys the agents' noise by other numbers than their ids, for an owner that has its own agent names.

        Args:
          numbering: ids to [n] uint64, distinct or not; a pure function during an agent's lifetime.
        Raises:
          AgentError: there are active agents, whose noise is keyed already.
        """
        if len(self.table):
            raise AgentError(f"policy {self.name!r}: expected a policy without agents, got {len(self.table)}; number them before they "
                             "begin")
        self.table.numbering = numbering
