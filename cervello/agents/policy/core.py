"""`PolicyCore`: the part of a policy that batchers, runtimes and the bridge use."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cervello.agents.membership.deferred import deferred_calls, holds_leaf_lock, run_deferred
from cervello.agents.membership.ids import Ids, Subset, as_id_list
from cervello.agents.policy.actions import Actions
from cervello.agents.policy.agents import PolicyAgents
from cervello.agents.policy.engine import Engine
from cervello.agents.policy.prepared_call import PreparedCall
from cervello.agents.policy.repeated import Call, RepeatedBatch
from cervello.agents.policy.spaces_binding import Prediction
from cervello.batcher.rows import completed
from cervello.errors import AgentError, CervelloError, ExecutionError
from cervello.inferers import InfererConfig
from cervello.inferers.deadline_path import Limit
from cervello.inferers.nonfinite import NonFiniteState
from cervello.spec import AgentId, Array

if TYPE_CHECKING:
    from cervello.agents.policy.policy import Policy

Measured = tuple[tuple[int, float], tuple[int, float]]  # (rows, seconds) of a small batch and of a larger one


class Measure(Protocol):
    """Times an engine for a policy before it decides."""

    def __call__(self, policy: PolicyCore, engine: Engine | None = None) -> Measured | None: ...


class SwapListener(Protocol):
    """Is notified of the measured costs after a swap."""

    measure: Measure | None

    def on_swap(self, version: int, measured: Measured | None) -> None: ...


class PolicyCore(PolicyAgents):
    """A policy without its public face. Its arguments are those of `Policy`; `core_of` gets that of a policy.

    Attributes:
      swap_listeners: notified of swaps for as long as they are alive.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.swap_listeners: weakref.WeakSet[Any] = weakref.WeakSet()  # of the kind SwapListener
        self._holder = self.lock.holder
        self._call = PreparedCall.of(self.engine, self.table, self._holder)
        self._prepared: PreparedCall | None = None  # `_call`, if the last batch had the agents that it knows

    def clone_without_agents(self, engine: Engine | None = None) -> PolicyCore | None:
        """The same policy without agents, on the same model, for trial runs; None if custom parts cannot be cloned.

        Args:
          engine: the engine of the clone; None for the current one.
        """
        engine = self.engine if engine is None else engine
        if engine.stack.custom or not isinstance(engine.inferer_choice, (str, InfererConfig)):
            return None
        clone = PolicyCore(engine.model, inferer=engine.inferer_choice, wrappers=engine.wrappers, seed=self.seed, threads=engine.threads)
        clone.engine.stack.disable_reports()
        return clone

    def use(self, engine: Engine) -> None:
        """Decides with another engine from the next batch on; the caller holds the exclusive lock, or there are no agents."""
        call, old = PreparedCall.of(engine, self.table, self._holder), self.engine
        if old.fast_path is not None:
            old.fast_path.invalidate()  # first: compiled code that knows its plan asks no further; the lock keeps it invalid
        self.engine = self.membership.engine = engine  # no call from here on: an interrupt comes before or after all of it
        self._call, self._prepared = call, None

    # Snapshots ----------------------------------------------------------------------------------------------------------

    def snapshot(self, ids: Ids | None = None, out: Any = None) -> bytes | memoryview:
        """As `Policy.snapshot`."""
        with self.error_context:
            return self.membership.save(ids, out)

    def restore(self, state: Any, ids: Ids | None = None) -> None:
        """As `Policy.restore`."""
        with self.error_context:
            self.membership.restore(state, ids)

    # Deciding -----------------------------------------------------------------------------------------------------------

    def infer_batch(self, ids: Ids, inputs: Mapping[str, Any], deterministic: bool | Array = False,
                    out: Mapping[str, Array] | None = None, expected_version: int | None = None) -> Actions:
        """As `Policy.infer_batch`.

        Args:
          expected_version: the caller's `membership_version`: if agents have begun or ended since, the call decides nothing.
            It then relies on a tuple of ids to name distinct active agents.
        """
        prepared = self._prepared
        if prepared is not None and (deterministic is False or deterministic is True):
            version = -1 if expected_version is None else expected_version
            actions: Any = Actions() if out is None else out
            if deterministic:
                status = prepared.decide(version, 0, ids, inputs, actions, prepared.fast_path.all_true)
            else:
                status = prepared.decide(version, 0, ids, inputs, actions)
            if status == 0:
                if out is not None:
                    actions = Actions(out)
                if prepared.version != 1:
                    actions.version = prepared.version
                return actions  # type: ignore[no-any-return]
            if status > 0:
                error = prepared.fast_path.error(status, actions)
                if isinstance(error, NonFiniteState):
                    prepared.engine.report()
                    return prepared.engine.actions(error.outputs)
                # Nothing has happened; it fails again below, where the error names the agent.
            self._prepared = None
        return self._infer_batch(ids, inputs, deterministic, out, expected_version)

    def _infer_batch(self, ids: Ids, inputs: Mapping[str, Any], deterministic: bool | Array, out: Mapping[str, Array] | None,
                     expected_version: int | None) -> Actions:
        """As `infer_batch`, for any agents."""
        kind = type(ids)
        if kind is not list and kind is not tuple and kind is not np.ndarray and kind is not Subset:
            with self.error_context:
                ids = as_id_list(ids)  # once, and before any lookup: an iterator may run any code
        engine = self.engine
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
                    engine = self.engine  # read here: a swap waits for the lock too
                    results = self._infer_fast(engine, ids, inputs, deterministic, out, expected_version)
                    del holder[0]
                    if deferred_calls:
                        run_deferred()
                    if results is not None:
                        actions = results if type(results) is Actions else Actions(results)
                        if engine.version != 1:
                            actions.version = engine.version
                        return actions
            except NonFiniteState as found:
                del holder[0]
                if deferred_calls:
                    run_deferred()
                engine.report()
                return engine.actions(found.outputs)
            except ExecutionError:  # nothing has happened; it fails again below, where the error names the agent
                del holder[0]
                if deferred_calls:
                    run_deferred()
            except BaseException as error:
                if owner is mine and 0 in holder and holder[0] is mine:  # see `lock`: nothing here is a call
                    del holder[0]
                if deferred_calls:
                    run_deferred()
                if isinstance(error, CervelloError):
                    error.name_policy(self.name, engine.model.name)
                raise
        return self._infer_general(ids, inputs, deterministic, out, expected_version)

    def _infer_fast(self, engine: Engine, ids: Ids, inputs: Mapping[str, Any], deterministic: bool | Array,
                    out: Mapping[str, Array] | None, expected_version: int | None) -> Any:
        """Outputs by name of the fast path; None if the batch needs the general path. This thread holds the exclusive lock."""
        table, fast_path, kind = self.table, engine.fast_path, type(ids)
        table.check_version(expected_version)
        if fast_path is None:
            return None
        last, slots, version = table.last  # `slots_of`, inlined to save a call
        same = (version == table.slots_version and (kind is list or kind is tuple)
                and table.equal_ids(kind is tuple, 0, ids, last) == 2)
        if not same:
            slots = table.slots_of(ids) if expected_version is None or kind is not tuple else table.slots_of_active(ids)  # type: ignore[arg-type]
        n_rows = len(slots)
        flags = None if deterministic is False else engine.fast_path_flags(deterministic, n_rows)
        results = fast_path.infer(n_rows, inputs, out, slots, table.steps, table.keys, flags)
        if same and self._prepared is None and results is not None and self._call is not None:
            self._call.prepare(last, slots, table.steps, table.keys)
            self._prepared = self._call
        return results

    def _infer_general(self, ids: Ids, inputs: Mapping[str, Any], deterministic: bool | Array, out: Mapping[str, Array] | None,
                       expected_version: int | None) -> Actions:
        """As `infer_batch`, for any arrays and wrappers: `Engine.decide`, without the exclusive lock while it runs."""
        table, lock, batch = self.table, self.lock.state_lock, object()
        engine = self.engine
        if holds_leaf_lock():
            raise AgentError(f"policy {self.name!r}: expected a decision while this thread changes neither agents nor a runtime's queues, "
                             "got one from a finalizer or a signal handler that interrupted such a change; decide afterwards")
        try:
            with lock:
                table.begin_batch(batch)  # first: slots of agents that end from here on are not reused
                table.check_version(expected_version)
                slots, engine = table.slots_of(ids), self.engine
            return engine.decide(table, self.lock, slots, inputs, deterministic, out)
        except CervelloError as error:
            error.name_policy(self.name, engine.model.name)
            raise
        finally:
            with lock:
                table.end_batch(batch)
            if deferred_calls:
                run_deferred()

    def decide(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False,
               action_masks: Any = None) -> Prediction:
        """As `Policy.predict`, with all outputs besides the actions; `envs.RecordedPolicy` converts them to a `Decision`."""
        return self.environment.decide(self.name, self.engine, self.seed, observation, state, episode_start, deterministic, action_masks)

    def repeat(self, ids: list[int], deterministic: Array | None) -> RepeatedBatch | None:
        """A batch to be run repeatedly; None if it does not fit into one compiled call.

        Args:
          ids: active agents. deterministic: [N] bool; None if no row is deterministic.
        """
        engine = self.engine
        if engine.fast_path is None or engine.sizes is not None:
            return None
        return RepeatedBatch(engine, self.table, self._holder, ids, deterministic)

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
            if batch.engine is not self.engine:
                return 0, True
            address = batch.look_up()
            return (call(address, word, *batch.arguments) if address else 0), False

        try:
            return self.lock.try_exclusive(run) or (0, False)
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
        table = self.table

        def decide() -> Actions | None:
            table.check_version(expected_version)
            engine = self.engine
            if engine.deadline_path is None:
                return None
            results = engine.deadline_path.infer(len(ids), limit, inputs, table.slots_of_active(ids), table.steps, table.keys)
            return None if results is None else engine.actions(results)

        try:
            return self.lock.try_exclusive(decide)
        except NonFiniteState as found:
            engine = self.engine
            engine.report()
            return engine.actions(found.outputs)
        except ExecutionError as error:
            error.name_policy(self.name, self.engine.model.name)
            raise

    @property
    def supports_deadline(self) -> bool:
        """Whether `infer_within` is available."""
        return self.engine.deadline_path is not None


def core_of(policy: Policy) -> PolicyCore:
    """The internal object of a policy."""
    return policy._core
