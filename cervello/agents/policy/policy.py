"""`Policy`: a model with agents, wrappers and noise."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import get_ident
from typing import Any, Protocol

import numpy as np

from cervello.agents.membership.deferred import catch_up, holds_last, notes
from cervello.agents.membership.ids import Ids, Subset, as_id_list
from cervello.agents.membership.table import ChangedError
from cervello.agents.policy.actions import Actions
from cervello.agents.policy.agents import PolicyAgents
from cervello.agents.policy.engine import Engine
from cervello.agents.policy.membership import tell, told
from cervello.agents.policy.predictor import PredictState
from cervello.agents.policy.repeated import Call, RepeatedBatch
from cervello.agents.policy.replacement import successor
from cervello.agents.policy.snapshot_format import Saved
from cervello.agents.policy.spaces_binding import Prediction
from cervello.batcher import ScratchPad
from cervello.batcher.deterministic import by_row
from cervello.batcher.rows import by_agent, completed, first_row, owned
from cervello.errors import AgentError, CervelloError, InputError
from cervello.inferers import InfererConfig
from cervello.inferers.deadline_path import Limit
from cervello.inferers.nonfinite import NonFiniteState
from cervello.native import Model
from cervello.native.execution.row_reader import RowReader
from cervello.native.frontend.importer import Source
from cervello.spec import AgentId, Array, Inferer, Wrapper

Observation = Mapping[str, Any]
Measured = tuple[tuple[int, float], tuple[int, float]]  # (rows, seconds) of a small batch and of a larger one


class Measure(Protocol):
    """Times an engine for a policy before it decides."""

    def __call__(self, policy: Policy, engine: Engine | None = None) -> Measured | None: ...


class Follower(Protocol):
    """Is notified of the measured costs after a swap."""

    measure: Measure | None

    def swapped(self, version: int, measured: Measured | None) -> None: ...


class Policy(PolicyAgents):
    """One policy for many agents. Several threads may infer different agents at the same time.

    Args:
      model: many policies may share one.
      inferer: "basic", "fixed", "dynamic", "memoizing", one of `cervello.inferers`, or an object of `cervello.Inferer`.
      wrappers: outermost first; "auto" uses those that `cervello api` suggests.
      seed: of all noise; an agent's noise depends only on seed, stream, agent, episode and its step.
      threads: large batches are split over this many.
      spaces: an environment's spaces, as `cervello.spaces.Spaces` or anything that it accepts: they define how observations become inputs
        and outputs become actions, for `predict` and environments. With wrappers="auto" the head of its action space draws the actions.
    Raises:
      ConfigurationError, WrapperError: the options are invalid, or do not fit this model.
      UnsupportedError: an output whose shape depends on data.

    Attributes:
      name: the model's, or the one given to `load(name=…)`; errors begin with it.
      make_reader: creates a batcher's reader of observations.
    """

    def __init__(self, model: Model, *, inferer: str | InfererConfig | Inferer = "memoizing", wrappers: Sequence[Wrapper] | str = (),
                 seed: int = 0, threads: int = 1, spaces: Any = None):
        super().__init__(model, inferer=inferer, wrappers=wrappers, seed=seed, threads=threads, spaces=spaces)
        self._pads: list[ScratchPad] = []
        self._followers: weakref.WeakSet[Any] = weakref.WeakSet()  # of the kind Follower

    def __reduce__(self) -> tuple[Any, ...]:
        engine = self._engine
        return _again, (engine.model, engine.choice, engine.wrappers, self.seed, engine.threads, engine.version, self.name, self.snapshot(),
                        self._game.reduced())

    def clone_without_agents(self, engine: Engine | None = None) -> Policy | None:
        """The same policy without agents, on the same model, for trial runs; None if custom parts cannot be cloned.

        Args:
          engine: the engine of the clone; None for the current one.
        """
        engine = self._engine if engine is None else engine
        if engine.stack.custom or not isinstance(engine.choice, (str, InfererConfig)):
            return None
        clone = Policy(engine.model, inferer=engine.choice, wrappers=engine.wrappers, seed=self.seed, threads=engine.threads)
        clone._engine.stack.silence()
        return clone

    def follow(self, follower: Follower) -> None:
        """Notifies a follower of swaps for as long as it is alive."""
        self._followers.add(follower)

    # Swaps --------------------------------------------------------------------------------------------------------------

    def replace(self, new: Model | Source, *, wrappers: Sequence[Wrapper] | None = None,
                inferer: str | InfererConfig | Inferer | None = None) -> None:
        """Replaces the model from the next batch on. Agents, their state and their noise stay. Other threads continue to decide meanwhile.

        Args:
          new: a model, or a file to load with the same options.
          wrappers: the same wrappers with other parameters (statistics of `Normalize`, say), swapped together with the model.
          inferer: another inferer than the one chosen at first.
        Raises:
          ModelError: the file cannot be used. ConfigurationError: the model's inputs or outputs differ from those of the old one.
          WrapperError: the wrappers differ in kind. The old policy stays active in each case.
        """
        self._turn.check_outside()
        model = new if isinstance(new, Model) else self.model.loaded(new)
        with self._turn.swapping:
            self._swap(successor(self._engine, model, wrappers, inferer))

    def update_weights(self, weights: Mapping[str, Any]) -> None:
        """Replaces weights in the same plan, from the next batch on. Agents, their state and their noise stay.

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
            with suppress(CervelloError):  # it may reject synthetic observations
                measured = measure(self, new)

        def change() -> None:
            old, slots = self._engine, list(self._table.slots.values())
            tell(new.inferer, slots)
            if new.stack is not old.stack:
                new.stack.transfer_state(old.stack)
                new.stack.reserve(self._table.capacity)
            if [spec.wide for spec in new.inputs.values()] != [spec.wide for spec in old.inputs.values()]:
                self._pads = []  # these depend on the specs
            self._engine = self._membership.engine = new
            for follower in followers:
                follower.swapped(new.version, None if follower.measure is None else measured)
            for slot in told(old.inferer, slots):
                with suppress(Exception):  # it no longer decides; errors of its end do not matter
                    old.inferer.end_agent(slot)

        self._membership.exclusive(change)

    # Without agents -----------------------------------------------------------------------------------------------------

    def predict(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False,
                action_masks: Any = None) -> tuple[Array, PredictState | None]:
        """Decides for rows without agents, as Stable-Baselines3's `predict`; its `evaluate_policy` accepts a policy unchanged.

        Rows without a state begin an episode of their own. Their noise depends on the policy's seed, the number of such calls before,
        the row and its step, so that no two episodes repeat noise.

        Args:
          observation: one of the observation space, or a batch of them [N, …].
          state: returned by the last call; None begins new episodes.
          episode_start: [N] bool, rows whose episode begins with this observation: they get initial state.
          deterministic: no noise.
          action_masks: nonzero for allowed actions, [N, …]; an action must be allowed by this mask and by that of the observation.
        Returns:
          actions of the action space, [N, …] or a single one; the new state, None for policies without state and noise.
        Raises:
          ConfigurationError: the policy was loaded without `spaces`. InputError: an observation, state or mask that does not fit.
        """
        actions, after, _, _ = self._game.decided(False, self.name, self._engine, self._table.seed, observation, state, episode_start,
                                                  deterministic, action_masks)
        return actions, after

    def decide(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False,
               action_masks: Any = None) -> Prediction:
        """As `predict`, with all outputs besides the actions; `envs.RecordedPolicy` converts them to a `Decision`.

        Args:
          observation, state, episode_start, deterministic, action_masks: as in `predict`.
        """
        return self._game.decide(self.name, self._engine, self.seed, observation, state, episode_start, deterministic, action_masks)

    # Snapshots ----------------------------------------------------------------------------------------------------------

    def snapshot(self, ids: Ids | None = None, out: Any = None) -> bytes | memoryview:
        """Serializes agents: ids, noise counters, and wrapper state. See `agents.policy.snapshot_format`.

        Args:
          ids: agents to save; None for all, and then all others end when it is restored.
          out: a buffer to write to, at least as large as the snapshot.
        Returns:
          bytes, or a view of the written part of `out`.
        Raises:
          AgentError: an unknown agent. WrapperError: a wrapper that does not expose its state. InputError: `out` does not fit.
        """
        with self._naming:
            return self._membership.save(ids, out)

    def restore(self, state: Any, ids: Ids | None = None) -> None:
        """Restores agents from a snapshot: their later decisions are bitwise those that followed it.

        A snapshot of all agents restores exactly those. A snapshot of some agents restores or begins these and leaves others unchanged.

        Args:
          state: bytes that `snapshot` returned.
          ids: other ids for the snapshot's agents, one for each in its order; others are left unchanged then. Their noise continues as that
            of the agents with these ids.
        Raises:
          SnapshotError: damaged bytes, or a snapshot of another policy, seed or other wrappers; nothing has changed then.
        """
        with self._naming:
            self._membership.restore(state, ids)

    def checked_snapshot(self, state: Any) -> Saved:
        """Parses the snapshot `state` if it is one of this policy; raises as `restore` does, and changes nothing."""
        return self._membership.checked(state)

    # Deciding -----------------------------------------------------------------------------------------------------------

    def infer(self, observations: Mapping[AgentId, Observation | Any], deterministic: bool | Mapping[AgentId, bool] = False) -> Actions:
        """Decides for agents given by name.

        Args:
          observations: {agent: {input: row}}, or {agent: row} if there is one required input. Rows may differ in sizes
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
                actions[agent] = first_row(results, engine.non_leading_axes, row)
                if results.version != 1:
                    actions.version = results.version
                return actions
        ids = tuple(observations)
        flags = deterministic if deterministic is False else self._flags(ids, deterministic)
        if not ids:
            self._engine.flags(flags, 0)
            return self._engine.actions({})
        pads = self._pads  # one pad per thread that is currently deciding
        pad = pads.pop(0) if pads else ScratchPad(self._engine.inputs, make_reader=RowReader.of)  # in rotation, so that each one adapts
        try:
            try:
                pad.fill(list(observations.values()), ids, self.name)
                columns = pad.columns(len(ids))
            except InputError:
                sizes = self._engine.sizes
                if sizes is None:
                    raise
                columns = sizes.columns(ids, list(observations.values()))
            results = owned(self.infer_batch(ids, columns, flags), columns)
        finally:
            pad.trim(len(ids))
            pads.append(pad)
        return by_agent(ids, results, self._engine.non_leading_axes)  # type: ignore[no-any-return]

    def _flags(self, ids: tuple[AgentId, ...], deterministic: Any) -> Any:
        """As `by_row`."""
        with self._naming:
            return by_row(ids, deterministic)

    def infer_single(self, agent: AgentId, observation: Observation | Any, deterministic: bool = False) -> dict[str, Array]:
        """Decides for one agent: {output: row}. The observation and `deterministic` are as in `infer`."""
        engine = self._engine
        row = engine.one_row.columns(observation)
        if row is not None:
            flags = deterministic if deterministic is False else self._flags((agent,), deterministic)
            return first_row(self.infer_batch([agent], row, flags), engine.non_leading_axes, row)
        self.check_agents((agent,))
        found: dict[str, Array] = self.infer({agent: observation}, deterministic)[agent]
        return found

    def infer_batch(self, ids: Ids, inputs: Mapping[str, Any], deterministic: bool | Array = False,
                    out: Mapping[str, Array] | None = None, *, expected_version: int | None = None) -> Actions:
        """Decides for rows.

        Args:
          ids: distinct active agents.
          inputs: a column [N, ...] per input; row i belongs to ids[i]. Open sizes are those of the column. An input with open sizes may
            also be an [N] array of type object, of rows whose sizes differ: rows of one size run together.
          deterministic: no noise, for all or [N] bool by row.
          out: arrays to write to, by output name; others are allocated.
          expected_version: the caller's `membership_version`: if agents have begun or ended since, the call decides nothing.
            It then relies on a tuple of ids to name distinct active agents.
        Returns:
          Actions: columns by output name. For rows whose sizes differ, outputs of open size, and those whose batch axis is not 0, are
          [N] rows of type object.
        Raises:
          AgentError, InputError: nothing has changed then.
        """
        kind = type(ids)
        if kind is not list and kind is not tuple and kind is not np.ndarray and kind is not Subset:
            with self._naming:
                ids = as_id_list(ids)  # once, and before any lookup: an iterator may run any code
        table = self._table
        engine = self._engine
        if engine.optional and (type(inputs) is not dict or len(inputs) < len(engine.inputs)):
            inputs = completed(engine.inputs, inputs, len(ids))
        if engine.fast_path is not None:
            # The thread that holds the lock may use the table: a change of agents waits, other batches take the general path. This is
            # `ExclusiveLock.try_exclusive` inlined: its calls would take a fifth of the time of a small batch.
            holder = self._holder
            owner = mine = get_ident()
            try:
                owner = holder.setdefault(0, mine)
                if owner is mine:
                    if expected_version is not None and expected_version != table.membership_version:
                        raise ChangedError(expected_version, table.membership_version)
                    engine = self._engine  # read here: a swap waits for the lock too
                    fast_path = engine.fast_path
                    last, slots, moves = table.last  # `rows`, inlined to save a call
                    equal_ids = table.equal_ids
                    if moves != table.moves or (kind is not list and kind is not tuple) or equal_ids(kind is tuple, 0, ids, last) != 2:
                        slots = table.rows(ids) if expected_version is None or kind is not tuple else table.known(ids)  # type: ignore[arg-type]
                    n_rows = len(slots)
                    if fast_path is None:
                        results = None
                    elif deterministic is False:
                        results = fast_path.infer(n_rows, inputs, out, slots, table.steps, table.keys)
                    else:
                        flags = engine.fast_path_flags(deterministic, n_rows)
                        results = fast_path.infer(n_rows, inputs, out, slots, table.steps, table.keys, flags)
                    del holder[0]
                    if notes:
                        catch_up()
                    if results is not None:
                        actions = results if type(results) is Actions else Actions(results)
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
                table.enter(batch)  # first: slots of agents that end from here on are not reused
                if expected_version is not None and expected_version != table.membership_version:
                    raise ChangedError(expected_version, table.membership_version)
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

    def repeat(self, ids: list[int], deterministic: Array | None) -> RepeatedBatch | None:
        """A batch to be run repeatedly; None if it does not fit into one compiled call.

        Args:
          ids: active agents. deterministic: [N] bool; None if no row is deterministic.
        """
        engine = self._engine
        if engine.fast_path is None or engine.sizes is not None:
            return None
        return RepeatedBatch(engine, ids, deterministic)

    def run_repeated(self, batch: RepeatedBatch, call: Call, word: int) -> tuple[int, bool]:
        """Runs a batch inside a compiled call of the caller's, which itself calls `FastPath.context`.

        Args:
          call: (address of the plan, word, inputs, outputs, slots, steps, keys[, flags, None]) → 0 if it did nothing.
          word: passed on.
        Returns:
          the result of `call`, also 0 if this batch needs another path; and whether that is permanent.
        Raises:
          AgentError: agents have ended; nothing has happened then.
        """
        def run() -> tuple[int, bool]:
            table, engine = self._table, batch.engine
            if engine is not self._engine:
                return 0, True
            if batch.moves != table.moves:
                batch.slots, batch.moves = table.rows(batch.ids), table.moves
            slots, keys = batch.slots, table.keys
            address = engine.fast_path.ready_for(len(slots), len(keys))  # type: ignore[union-attr]
            if not address:
                return 0, False
            return call(address, word, batch.inputs, batch.outputs, slots, table.steps, keys, *batch.deterministic), False

        try:
            return self._turn.try_exclusive(run) or (0, False)
        except CervelloError as error:
            error.name_policy(self.name, batch.engine.model.name)
            raise

    def infer_within(self, ids: tuple[AgentId, ...], inputs: Mapping[str, Array], expected_version: int, limit: Limit) -> Actions | None:
        """Decides for the first rows of a batch, as many as there is time for.

        Args:
          ids, inputs, expected_version: as `infer_batch` takes them.
          limit: the time limit; afterwards it holds how many rows have run.
        Returns:
          Actions: columns of so many rows; None if this batch needs another path, and nothing has happened then.
        Raises:
          AgentError: agents have begun or ended.
        """
        table = self._table

        def decide() -> Actions | None:
            if expected_version != table.membership_version:
                raise ChangedError(expected_version, table.membership_version)
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
        """Whether `infer_within` is available."""
        return self._engine.deadline_path is not None


def _again(model: Model, inferer: Any, wrappers: tuple[Wrapper, ...], seed: int, threads: int, version: int, name: str,
           state: bytes, joint: Any = None) -> Policy:
    """Unpickles a policy: the file is loaded, the agents are restored."""
    policy = Policy(model, inferer=inferer, wrappers=wrappers, seed=seed, threads=threads, spaces=joint)
    policy.name = name
    policy._engine = policy._membership.engine = policy._engine.as_version(version, name)
    policy.restore(state)
    return policy
