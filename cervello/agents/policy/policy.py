"""`Policy`: a model with agents, wrappers and noise."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import get_ident
from typing import Any, Protocol

import numpy as np

from cervello.agents.membership.deferred import catch_up, holds_last, notes
from cervello.agents.membership.ids import Ids, Subset, doubled, listed
from cervello.agents.membership.lock import ExclusiveLock
from cervello.agents.membership.naming import NamesPolicy
from cervello.agents.membership.table import AgentTable, ChangedError
from cervello.agents.policy.actions import Actions
from cervello.agents.policy.engine import Engine
from cervello.agents.policy.membership import Membership, Numbers, tell, told
from cervello.agents.policy.open_sizes import decide_in_groups
from cervello.agents.policy.predictor import PredictState
from cervello.agents.policy.replacement import successor
from cervello.agents.policy.snapshot_format import Saved
from cervello.agents.policy.spaces_binding import GameInterface, Prediction
from cervello.batcher import ScratchPad
from cervello.batcher.deterministic import by_row
from cervello.batcher.rows import by_agent, completed, first_row, owned
from cervello.errors import AgentError, CervelloError, ConfigurationError, InputError
from cervello.inferers import InfererConfig
from cervello.inferers.deadline_path import Limit
from cervello.inferers.nonfinite import NonFiniteState
from cervello.native import Model
from cervello.native.execution.row_reader import Directory, RowReader
from cervello.native.frontend.importer import Source
from cervello.pictures import notebook
from cervello.spaces import SpaceBinding, Spaces
from cervello.spec import AgentId, Array, Inferer, Specs, Wrapper

Observation = Mapping[str, Any]
Measured = tuple[tuple[int, float], tuple[int, float]]  # few rows and several, with the seconds that they take


class Measure(Protocol):
    """Times what is to decide for a policy."""

    def __call__(self, policy: Policy, engine: Engine | None = None) -> Measured | None: ...


class Follower(Protocol):
    """Wants to know what a policy's batches will take after a swap."""

    measure: Measure | None

    def swapped(self, version: int, measured: Measured | None) -> None: ...


class Policy:
    """One policy for many agents. Several threads may infer different agents at the same time.

    Args:
      model: many policies may share one.
      inferer: "basic", "fixed", "dynamic", "memoizing", one of `cervello.inferers`, or an object of `cervello.Inferer`.
      wrappers: outermost first; "auto" takes what `cervello api` proposes.
      seed: of all noise; an agent's noise depends only on seed, stream, agent, episode and its step.
      threads: large batches are split over this many.
      spaces: a game, as `cervello.spaces.Spaces` or anything that it takes: how observations become inputs and outputs become actions,
        for `predict` and environments. With wrappers="auto" actions are drawn by the head of its action space.
    Raises:
      ConfigurationError, WrapperError: the options make no sense, or not for this model.
      UnsupportedError: an output whose shape depends on data.

    Attributes:
      name: the model's, or what `load(name=…)` gave; errors begin with it.
      make_reader: what a batcher reads observations with.
    """

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
        self._pads: list[ScratchPad] = []
        self._followers: weakref.WeakSet[Any] = weakref.WeakSet()  # of the kind Follower

    # What it takes and gives --------------------------------------------------------------------------------------------

    @property
    def model(self) -> Model:
        """The model that decides; another one after a swap."""
        return self._engine.model

    @property
    def metadata(self) -> Mapping[str, str]:
        """`metadata_props` of the model's file; see `Model.metadata`."""
        return self._engine.model.metadata

    @property
    def inferer(self) -> Inferer:
        """What runs the model: how many rows at a time."""
        return self._engine.inferer

    @property
    def wrappers(self) -> tuple[Wrapper, ...]:
        """The wrappers as they were given, outermost first."""
        return self._engine.wrappers

    @property
    def version(self) -> int:
        """1 at first; every swap counts one more."""
        return self._engine.version

    @property
    def inputs(self) -> Specs:
        """What the caller gives: the model's inputs less those that wrappers provide."""
        return self._game.shown(self._engine.inputs)

    @property
    def all_inputs(self) -> Specs:
        """`inputs`, and the mask of actions that the head of `spaces` takes and that may be left out."""
        return self._engine.inputs

    @property
    def spaces(self) -> Spaces | None:
        """The game that the policy was loaded for."""
        return self._game.spaces

    @property
    def binding(self) -> SpaceBinding:
        """Observations and masks of the game to columns, outputs to its actions.

        Raises:
          ConfigurationError: the policy was loaded without `spaces`.
        """
        return self._game.binding(self.name)

    @property
    def outputs(self) -> Specs:
        """What the caller gets."""
        return self._engine.outputs

    @property
    def constants(self) -> Mapping[str, Array]:
        """Outputs that no input reaches: arrays of the shapes that the file gives them, by name."""
        return self.model.constants

    @property
    def seed(self) -> int:
        """Of all noise, 0 ≤ seed < 2⁶⁴."""
        return self._table.seed

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """Agents that have begun, oldest first."""
        return tuple(self._table.slots)

    def __len__(self) -> int:
        return len(self._table)

    def __bool__(self) -> bool:
        """True, however many there are: `if policy:` asks whether there is one."""
        return True

    def __contains__(self, agent: AgentId) -> bool:
        return agent in self._table

    def __reduce__(self) -> tuple[Any, ...]:
        engine = self._engine
        return _again, (engine.model, engine.choice, engine.wrappers, self.seed, engine.threads, engine.version, self.name, self.snapshot(),
                        self._game.reduced())

    def __repr__(self) -> str:
        return f"Policy({self.name!r}, agents={len(self)}, wrappers={list(self.wrappers)!r})"

    def _repr_html_(self) -> str:
        specs = [(what, spec.name, "×".join(map(str, spec.shape)) or "scalar", str(spec.dtype))
                 for what, own in (("input", self.inputs), ("output", self.outputs)) for spec in own.values()]
        return "".join([
            notebook.heading(self.name, f"version {self.version}"), notebook.table(("", "name", "row", "type"), specs),
            notebook.facts({"agents": f"{len(self):,}", "wrappers": ", ".join(map(repr, self.wrappers)) or "none",
                            "inferer": repr(self.inferer), "seed": self.seed, "spaces": "" if self.spaces is None else repr(self.spaces)})])

    @property
    def _naming(self) -> NamesPolicy:
        """A context in which errors get this policy's name."""
        return NamesPolicy(self.name)

    # Begin and end ------------------------------------------------------------------------------------------------------

    def begin_agent(self, agent: AgentId, stream: int = 0, episode: int | None = None) -> None:
        """An agent's episode begins: fresh state, noise of (seed, stream, agent, episode) from step 0.

        Args:
          stream, episode: as in `begin_agents`.

        Raises:
          AgentError: it has begun already, or the id is no int (0 ≤ id < 2⁶³) or string.
        """
        self.begin_agents((agent,), stream, episode)

    def begin_agents(self, ids: Ids, stream: Numbers = 0, episode: Numbers | None = None) -> None:
        """Begins many, or none when one cannot begin or a wrapper's hook fails.

        Args:
          ids: [n] of the agents, distinct: a list or an array of integers, or a list of strings.
          stream, episode: one number for all or one per agent. An episode of None is 0 for an agent that begins for the first time and
            the next one for an agent that has ended, whatever its stream. Of agents that ended long ago only a floor is remembered, see
            `agents.episodes.PastEpisodes`: their episodes may skip numbers and never repeat one.
        """
        with self._naming:
            self._membership.begin(ids, stream, episode)

    def end_agent(self, agent: AgentId) -> None:
        """An agent's episode ends; its state is forgotten.

        Raises:
          AgentError: it has not begun.
        """
        self.end_agents((agent,))

    def end_agents(self, ids: Ids) -> None:
        """Ends the agents `ids`, or none when one has not begun. Every wrapper hears of it, even when the hook of another one fails.

        A finalizer, a signal handler or a hook may call it in the middle of a decision or a change of the same policy. The agents end then
        when that is over, before it returns.
        """
        with self._naming:
            self._membership.end(ids)

    def restart_agents(self, ids: Ids, stream: Numbers | None = None, episode: Numbers | None = None) -> None:
        """Ends and begins at once: the next episode of the same agents; when it cannot begin, the last one goes on.

        Args:
          ids: [n] of the agents, distinct.
          stream, episode: as in `begin_agents`; None keeps an agent's stream and takes its next episode.
        """
        with self._naming:
            self._membership.restart(ids, stream, episode)

    def check_agents(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError unless all of `ids` have begun."""
        with self._naming:
            if None in (births := self.births(ids)):
                self._table.rows([ids[births.index(None)]])

    def births(self, ids: Sequence[AgentId]) -> list[int | None]:
        """When each of the agents `ids` began, as a number that grows with every begin; None for one that is not there."""
        turn, table = self._turn, self._table
        if type(ids) is not tuple and type(ids) is not list:
            ids = listed(ids)
        writes = turn.writes  # as `ExclusiveLock.read`, written out: a call less
        if not turn.writer:
            found = table.births(ids)
            if turn.writes == writes:
                return found
        return turn.read(table.births, ids)

    def look_up(self, ids: tuple[AgentId, ...]) -> None:
        """Finds distinct agents `ids` ahead, so that the batch that names them next need not."""
        with suppress(KeyError):  # whoever has ended meanwhile is not the batch's business yet
            self._turn.read(self._table.known, ids)

    @property
    def must_defer(self) -> bool:
        """Whether this thread is in the midst of something for which a change of agents has to wait."""
        return self._turn.must_defer()

    @property
    def is_changing(self) -> bool:
        """Whether this thread is writing to the table of agents."""
        return self._turn.writer == get_ident()

    @property
    def changes(self) -> int:
        """Grows whenever agents begin or end."""
        return self._table.changes

    def check_distinct(self, ids: Sequence[AgentId]) -> None:
        """Raises AgentError when an agent is twice in `ids`."""
        if len(set(ids)) != len(ids):
            raise AgentError(f"policy {self.name!r}, agents: expected distinct agents, got {doubled(ids)!r} twice")

    def twin(self, engine: Engine | None = None) -> Policy | None:
        """The same policy without agents, on the same model, to try things with; None where parts of a user's own cannot be made twice.

        Args:
          engine: what is to decide in it; None for what decides now.
        """
        engine = self._engine if engine is None else engine
        if engine.stack.foreign or not isinstance(engine.choice, (str, InfererConfig)):
            return None
        twin = Policy(engine.model, inferer=engine.choice, wrappers=engine.wrappers, seed=self.seed, threads=engine.threads)
        twin._engine.stack.silence()
        return twin

    def follow(self, follower: Follower) -> None:
        """Tells a follower of swaps, as long as it is alive."""
        self._followers.add(follower)

    def make_reader(self, specs: Specs) -> RowReader | None:
        """What a batcher or a runtime reads observations of this policy's agents with; None where only Python can."""
        table = self._table
        return RowReader.of(specs, Directory(table.slots, self._turn.writer_word, table.births_at))

    def rename(self, name: str) -> None:
        """Another name, for people and messages, before agents begin."""
        self.name = self._turn.where = name
        self._engine = self._membership.engine = self._engine.as_version(self._engine.version, name)

    def number_by(self, numbering: Callable[[Sequence[AgentId]], Array]) -> None:
        """Keys the agents' noise by other numbers than their ids, for an owner that names agents for itself.

        Args:
          numbering: ids to [n] uint64, distinct or not; a pure function as long as an agent lives.
        Raises:
          AgentError: agents have begun, whose noise is keyed already.
        """
        if len(self):
            raise AgentError(f"policy {self.name!r}: expected a policy without agents, got {len(self)}; number them before they begin")
        self._table.numbering = numbering

    # Swaps --------------------------------------------------------------------------------------------------------------

    def replace(self, new: Model | Source, *, wrappers: Sequence[Wrapper] | None = None,
                inferer: str | InfererConfig | Inferer | None = None) -> None:
        """Another model decides from the next batch on; agents, their state and their noise stay. Other threads go on deciding meanwhile.

        Args:
          new: a model, or a file to load as this policy's was.
          wrappers: the same ones with other parameters (statistics of `Normalize`, say), which swap together with the model.
          inferer: another one than the one chosen at first.
        Raises:
          ModelError: the file cannot be used. ConfigurationError: the model takes or gives something else than the old one.
          WrapperError: the wrappers are others. The old policy goes on then.
        """
        self._turn.check_outside()
        model = new if isinstance(new, Model) else self.model.loaded(new)
        with self._turn.swapping:
            self._swap(successor(self._engine, model, wrappers, inferer))

    def update_weights(self, weights: Mapping[str, Any]) -> None:
        """Other weights in the same plan, from the next batch on; agents, their state and their noise stay.

        Args:
          weights: arrays by the names of the file's constants, all or some.
        Raises:
          ConfigurationError: a name, shape or type that the file does not have; nothing has changed then.
        """
        self._turn.check_outside()
        with self._turn.swapping:
            self._swap(successor(self._engine, self.model.updated(weights), None, None))

    def _swap(self, new: Engine) -> None:
        followers = list(self._followers)
        measured: Measured | None = None
        measure = next((follower.measure for follower in followers if follower.measure is not None), None)
        if measure is not None:  # before it goes live, on this thread
            with suppress(CervelloError):  # made-up observations need not suit it
                measured = measure(self, new)

        def change() -> None:
            old, slots = self._engine, list(self._table.slots.values())
            tell(new.inferer, slots)
            if new.stack is not old.stack:
                new.stack.transfer_state(old.stack)
                new.stack.reserve(self._table.capacity)
            if [spec.wide for spec in new.inputs.values()] != [spec.wide for spec in old.inputs.values()]:
                self._pads = []  # these know specs
            self._engine = self._membership.engine = new
            for follower in followers:
                follower.swapped(new.version, None if follower.measure is None else measured)
            for slot in told(old.inferer, slots):
                with suppress(Exception):  # it no longer decides; what it makes of the end is its own business
                    old.inferer.end_agent(slot)

        self._membership.alone(change)

    # Without agents -----------------------------------------------------------------------------------------------------

    def predict(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False,
                action_masks: Any = None) -> tuple[Array, PredictState | None]:
        """Decides for rows that are no agents, as Stable-Baselines3's `predict` does; its `evaluate_policy` takes a policy as it is.

        Rows without a state begin an episode of their own; what they draw depends on the policy's seed, the number of such calls before,
        the row and its step, so that no two episodes repeat noise.

        Args:
          observation: one of the observation space, or a batch of them [N, …].
          state: what the last call returned; None begins anew.
          episode_start: [N] bool, rows whose episode begins with this observation: their state is fresh.
          deterministic: no noise.
          action_masks: nonzero for allowed actions, [N, …]; an action must be allowed by this mask and by that of the observation.
        Returns:
          actions of the action space, [N, …] or one alone; the new state, None for policies that neither remember nor draw.
        Raises:
          ConfigurationError: the policy was loaded without `spaces`. InputError: an observation, state or mask that does not fit.
        """
        return self._game.predict(self.name, self._engine, self.seed, observation, state, episode_start, deterministic, action_masks)

    def decide(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False,
               action_masks: Any = None) -> Prediction:
        """As `predict`, with all outputs beside the actions; `envs.RecordedPolicy` makes a `Decision` of them.

        Args:
          observation, state, episode_start, deterministic, action_masks: as in `predict`.
        """
        return self._game.decide(self.name, self._engine, self.seed, observation, state, episode_start, deterministic, action_masks)

    # Snapshots ----------------------------------------------------------------------------------------------------------

    def snapshot(self, ids: Ids | None = None, out: Any = None) -> bytes | memoryview:
        """Agents as bytes: who is there, where their noise stands, what their wrappers remember. See `agents.snapshot` for the format.

        Args:
          ids: agents to save; None for all, and then all others end when it is restored.
          out: a buffer to write to, at least as large as the snapshot.
        Returns:
          bytes, or a view of what was written of `out`.
        Raises:
          AgentError: an unknown agent. WrapperError: a wrapper that does not show its state. InputError: `out` does not fit.
        """
        with self._naming:
            return self._membership.save(ids, out)

    def restore(self, state: Any, ids: Ids | None = None) -> None:
        """Puts agents back where a snapshot has them: what they decide from here is bitwise what they decided from there.

        A snapshot of all agents brings back exactly those; one of some agents puts these back, or lets them begin, and leaves others alone.

        Args:
          state: bytes that `snapshot` gave.
          ids: other ids for the snapshot's agents, one for each in its order; others are left alone then. Their noise goes on as that of
            the agents with these ids.
        Raises:
          SnapshotError: damaged bytes, or a snapshot of another policy, seed or other wrappers; nothing has changed then.
        """
        with self._naming:
            self._membership.restore(state, ids)

    def checked_snapshot(self, state: Any) -> Saved:
        """What the snapshot `state` says, when it is one of this policy; raises as `restore` does, and changes nothing."""
        return self._membership.checked(state)

    # Deciding -----------------------------------------------------------------------------------------------------------

    def infer(self, observations: Mapping[AgentId, Observation | Any], deterministic: bool | Mapping[AgentId, bool] = False) -> Actions:
        """Decides for agents given by name.

        Args:
          observations: {agent: {input: row}}, or {agent: row} where there is one input that must be given. Rows may differ in sizes
            that the file leaves open (`TensorSpec.open_axes`); agents of one size run together then.
          deterministic: no noise, for all or by agent.
        Returns:
          Actions {agent: {output: row}}.
        Raises:
          AgentError, InputError: nothing has changed then.
        """
        if type(observations) is not dict and not isinstance(observations, Mapping):
            raise InputError(f"policy {self.name!r}: expected {{agent: {{input: row}}}}, got {type(observations).__name__}")
        if len(observations) == 1:
            (agent, observation), = observations.items()
            engine = self._engine
            row = engine.one_row.columns(observation)
            if row is not None:
                results = self.infer_batch([agent], row, deterministic if deterministic is False else self._flags((agent,), deterministic))
                actions = Actions()
                actions[agent] = first_row(results, engine.odd, row)
                if results.version != 1:
                    actions.version = results.version
                return actions
        ids = tuple(observations)
        flags = deterministic if deterministic is False else self._flags(ids, deterministic)
        if not ids:
            self._engine.flags(flags, 0)
            return self._engine.actions({})
        pads = self._pads  # a pad for every thread that decides just now
        pad = pads.pop(0) if pads else ScratchPad(self._engine.inputs, make_reader=RowReader.of)  # in turn: each learns what is needed
        try:
            try:
                pad.fill(list(observations.values()), ids, self.name)
            except InputError:
                if self._engine.sizes is None:
                    raise
                return self._infer_in_groups(ids, list(observations.values()), flags)
            columns = pad.columns(len(ids))
            results = owned(self.infer_batch(ids, columns, flags), columns)
        finally:
            pad.trim(len(ids))
            pads.append(pad)
        return by_agent(ids, results, self._engine.odd)  # type: ignore[no-any-return]

    def _flags(self, ids: tuple[AgentId, ...], deterministic: Any) -> Any:
        """As `by_row`."""
        with self._naming:
            return by_row(ids, deterministic)

    def _infer_in_groups(self, ids: tuple[AgentId, ...], rows: Sequence[Any], flags: Any) -> Actions:
        """`infer` for observations that are not of the sizes that the specs show, where the file leaves these open."""
        table, lock, batch = self._table, self._turn.lock, object()
        try:
            with lock, self._naming:
                table.enter(batch)
                slots, engine = table.rows(ids), self._engine
            if engine.sizes is None:  # a swap came between
                raise InputError(f"policy {self.name!r}: expected observations of {engine.inputs}, got others")
            checked = engine.flags(flags, len(ids))
            return decide_in_groups(engine, engine.sizes, table, self._turn, ids, slots, rows, False if checked is None else checked)
        finally:
            with lock:
                table.leave(batch)

    def infer_single(self, agent: AgentId, observation: Observation | Any, deterministic: bool = False) -> dict[str, Array]:
        """Decides for one agent: {output: row}. The observation and `deterministic` are as in `infer`."""
        engine = self._engine
        row = engine.one_row.columns(observation)
        if row is not None:
            flags = deterministic if deterministic is False else self._flags((agent,), deterministic)
            return first_row(self.infer_batch([agent], row, flags), engine.odd, row)
        self.check_agents((agent,))
        found: dict[str, Array] = self.infer({agent: observation}, deterministic)[agent]
        return found

    def infer_batch(self, ids: Ids, inputs: Mapping[str, Any], deterministic: bool | Array = False,
                    out: Mapping[str, Array] | None = None, *, unchanged: int | None = None) -> Actions:
        """Decides for rows.

        Args:
          ids: distinct agents that have begun.
          inputs: a column [N, ...] per input; row i belongs to ids[i]. Open sizes are those of the column.
          deterministic: no noise, for all or [N] bool by row.
          out: arrays to write to, by output name; others are allocated.
          unchanged: the number of `changes` that the caller knows of: when agents have begun or ended since, nothing is decided. A tuple of
            ids is trusted then to name distinct agents that were there.
        Returns:
          Actions: columns by output name.
        Raises:
          AgentError, InputError: nothing has changed then.
        """
        kind = type(ids)
        if kind is not list and kind is not tuple and kind is not np.ndarray and kind is not Subset:
            with self._naming:
                ids = listed(ids)  # once, and before anything is looked up: an iterator may do as it likes
        table = self._table
        engine = self._engine
        if engine.optional and (type(inputs) is not dict or len(inputs) < len(engine.inputs)):
            inputs = completed(engine.inputs, inputs, len(ids))
        if engine.fast_path is not None:
            # Whoever has the turn has the table for itself: a change of agents waits for it, other batches go the long way.
            holder = self._holder
            owner = mine = get_ident()
            try:
                owner = holder.setdefault(0, mine)
                if owner is mine:
                    if unchanged is not None and unchanged != table.changes:
                        raise ChangedError(unchanged, table.changes)
                    engine = self._engine  # read here: a swap waits for its turn too
                    fast_path = engine.fast_path
                    last, slots, moves = table.last  # `rows`, written out for a crowd that comes again: a call less
                    alike = table.alike
                    if moves != table.moves or kind is not list or alike(0, 0, ids, last) != 2:
                        slots = table.rows(ids) if unchanged is None or kind is not tuple else table.known(ids)  # type: ignore[arg-type]
                    if fast_path is None:
                        results = None
                    elif deterministic is False:
                        results = fast_path.infer(len(slots), inputs, out, slots, table.steps, table.keys)
                    else:
                        flags = engine.fast_path_flags(deterministic, len(slots))
                        results = fast_path.infer(len(slots), inputs, out, slots, table.steps, table.keys, flags)
                    del holder[0]
                    if notes:
                        catch_up()
                    if results is not None:
                        actions = Actions(results)
                        if engine.version != 1:
                            actions.version = engine.version
                        return actions
            except NonFiniteState as found:
                del holder[0]
                engine.report()
                return engine.actions(found.outputs)
            except BaseException as error:
                if owner is mine and 0 in holder and holder[0] is mine:  # see `lock`: nothing here is a call
                    del holder[0]
                if notes:
                    catch_up()
                if isinstance(error, CervelloError):
                    error.name_policy(self.name, engine.model.name)
                raise
        lock = self._turn.lock
        batch = object()
        if holds_last():
            raise AgentError(f"policy {self.name!r}: expected a decision outside of a runtime's own work, got one from a finalizer or a "
                             "signal handler in the middle of it; decide afterwards")
        try:
            with lock:
                table.enter(batch)  # first: agents that end from here on leave their slots to nobody else
                if unchanged is not None and unchanged != table.changes:
                    raise ChangedError(unchanged, table.changes)
                slots, engine = table.rows(ids), self._engine
            return engine.decide(table, self._turn, slots, inputs, deterministic, out)
        except CervelloError as error:
            error.name_policy(self.name, engine.model.name)
            raise
        finally:
            with lock:
                table.leave(batch)
            if notes:
                catch_up()

    def infer_within(self, ids: tuple[AgentId, ...], inputs: Mapping[str, Array], unchanged: int, limit: Limit) -> Actions | None:
        """Decides for the first rows of a batch, as many as there is time for.

        Args:
          ids, inputs, unchanged: as `infer_batch` takes them.
          limit: what is asked for; it tells afterwards how many rows have run.
        Returns:
          Actions: columns of so many rows; None when this batch must take another way, and nothing has happened then.
        Raises:
          AgentError: agents have begun or ended.
        """
        table = self._table

        def decide() -> Actions | None:
            if unchanged != table.changes:
                raise ChangedError(unchanged, table.changes)
            engine = self._engine
            if engine.deadline_path is None:
                return None
            results = engine.deadline_path.infer(len(ids), limit, inputs, table.known(ids), table.steps, table.keys)
            return None if results is None else engine.actions(results)

        try:
            return self._turn.try_exclusive(decide)
        except NonFiniteState as found:
            engine = self._engine
            engine.report()
            return engine.actions(found.outputs)

    @property
    def supports_deadline(self) -> bool:
        """Whether `infer_within` has a way."""
        return self._engine.deadline_path is not None


def _again(model: Model, inferer: Any, wrappers: tuple[Wrapper, ...], seed: int, threads: int, version: int, name: str,
           state: bytes, joint: Any = None) -> Policy:
    """A pickled policy in the process that unpickles it: the file is loaded, the agents are restored."""
    policy = Policy(model, inferer=inferer, wrappers=wrappers, seed=seed, threads=threads, spaces=joint)
    policy.name = name
    policy._engine = policy._membership.engine = policy._engine.as_version(version, name)
    policy.restore(state)
    return policy
