"""`Runtime`: many policies, many agents, one frame."""

from __future__ import annotations

import gc
import os
import sys
import time
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any

import numpy as np

from cervello.agents.membership.deferred import deferred_calls, run_deferred, writers
from cervello.agents.membership.ids import Ids, as_id_list, builtin_id
from cervello.agents.runtime import snapshot
from cervello.agents.runtime.frame import Frame
from cervello.agents.runtime.frame_state import FrameState
from cervello.agents.runtime.in_place_frame import decide_in_place, waiting_queues
from cervello.agents.runtime.scheduler import Picked, choose_by_rows, choose_by_time
from cervello.agents.runtime.workers import Workers
from cervello.errors import ConfigurationError, InputError
from cervello.native.execution.counts import thread_count
from cervello.spec import AgentId, Array

Observation = Mapping[str, Any]
_runtimes: weakref.WeakSet[Runtime] = weakref.WeakSet()


class Runtime(FrameState):
    """Named policies and their waiting agents. Observations are pushed one by one; `run` decides for all agents, or for as many as a budget
    allows. Skipped agents have waited longer, and so are more urgent, in the next frame.

        runtime = cervello.Runtime()
        runtime.add("npc", policy)
        runtime.begin_agent("npc", 7)
        runtime.push("npc", 7, {"obs": x})
        frame = runtime.run(budget_s=0.001)
        frame["npc"][7]["action"]

    Where a file leaves sizes open, agents may differ in them: agents of one size share a batch.

    An error in one policy does not affect the others: its agents keep waiting, and the error is in the frame. Several threads may push
    while a frame runs.

    No agent starves: as long as every frame has time for its most urgent agent, one of priority p among n waiting ones decides within
    2 (n - 1 + Σ pᵢ / p) frames, whatever the others do. The estimate of a policy too slow for the budget is lowered from frame to frame,
    until it runs.

    Args:
      threads: number of policies that may run in parallel, if there is at least a millisecond of work; threads within a policy are
        `Policy(threads=…)`.
    """

    def __init__(self, *, threads: int = 1):
        super().__init__()
        self.threads = thread_count("runtime, threads", threads)
        self._reenable_gc = False  # whether to enable garbage collection again after this frame
        self._initialize()
        _runtimes.add(self)

    def _initialize(self) -> None:
        super()._initialize()
        self._resume_gc()
        self._submitting: ThreadPoolExecutor | None = None
        self._workers = Workers(self._lock, self.threads)

    # Observations -------------------------------------------------------------------------------------------------------

    def push(self, name: str, agent: AgentId, observation: Observation, deterministic: bool = False) -> None:
        """Queues an agent's newest observation. An agent that is already queued keeps its place and decides on the newest.

        Args:
          name: of the policy.
          agent, observation, deterministic: as in `Policy.infer_single`.
        Raises:
          ConfigurationError: an unknown policy.
          AgentError, InputError: an unknown agent, or an observation that does not fit. Nothing has changed then.
        """
        queue = self._queues.get(name) if type(name) is str else None
        if queue is None or deterministic is not False or not queue.fast_push(0, 0, agent, observation, self.frame, self._lock):
            self._push(name, agent, observation, deterministic)

    def _push(self, name: str, agent: AgentId, observation: Observation, deterministic: bool) -> None:
        """General path of `push`."""
        queue = self._queue_of(name)
        _check_flag(name, deterministic)
        agent = builtin_id(agent)
        arrays = queue.checked(agent, observation)
        lock = self._lock
        if lock._is_owned() or writers:
            self._check_outside("push")
        try:
            with lock:
                queue.push(agent, arrays, self.frame, bool(deterministic))
        finally:
            if deferred_calls:
                run_deferred()

    def push_batch(self, name: str, ids: Ids, inputs: Mapping[str, Any], deterministic: bool = False) -> None:
        """Queues the newest observations of many agents, as columns: row i belongs to ids[i]. All are queued or none.

        Args:
          name: of the policy.
          ids, inputs, deterministic: as in `Policy.infer_batch`.
        """
        queue, names = self._queue_of(name), as_id_list(ids)
        _check_flag(name, deterministic)
        arrays = queue.fitted(names, inputs)
        lock = self._lock
        if lock._is_owned() or writers:
            self._check_outside("push_batch")
        try:
            with lock:
                queue.push_batch(names, arrays, self.frame, bool(deterministic))
        finally:
            if deferred_calls:
                run_deferred()

    def waiting(self, name: str) -> tuple[AgentId, ...]:
        """Waiting agents of the policy `name`, in their current order of urgency."""
        queue = self._queue_of(name)
        with self._locked("waiting"):
            agents = queue.wait_queue.queue.ids
            if queue.is_sorted:
                return agents
            urgencies = queue.urgencies(self.frame)
            return tuple(agent for _, agent in sorted(zip(urgencies, agents, strict=True), key=lambda pair: -pair[0]))

    def infer_single(self, name: str, agent: AgentId, observation: Observation, deterministic: bool = False) -> dict[str, Array]:
        """Decides for one agent at once, outside of frames; its queued observation stays.

        Args:
          name: of the policy.
          agent, observation, deterministic: as in `Policy.infer_single`.
        Returns:
          {output: row}
        Raises:
          ConfigurationError: an unknown policy.
        """
        policy = self._policies.get(name) if isinstance(name, str) else None
        if policy is None:
            self._queue_of(name)  # raises for an unknown name
            raise ConfigurationError(f"runtime, infer_single: expected a policy of this runtime, got {name!r}, which another thread "
                                     "is removing")
        return policy.infer_single(agent, observation, deterministic)

    # Frames -------------------------------------------------------------------------------------------------------------

    def run(self, budget_s: float | None = None, rows: int | None = None) -> Frame:
        """Decides for waiting agents, the most urgent first.

        Args:
          budget_s: time limit in seconds; None is no limit.
          rows: maximum number of decisions, for games in lockstep: the choice depends only on what was pushed.
        Returns:
          Frame {policy: {agent: {output: row}}}; `frame[policy].skipped` has the agents that still wait, `.errors` those whose policy
          failed.
        Raises:
          ConfigurationError: a budget or a number of rows that is not above 0, or a frame is already in flight.
        """
        start = time.perf_counter()
        if budget_s is None and rows is None:
            plain = self._run_in_place(sys._getframe())
            if plain is not None:
                plain.elapsed_s = time.perf_counter() - start
                return plain
        frame = self._open(budget_s, rows, sys._getframe())
        self._reenable_gc = budget_s is not None and gc.isenabled()
        try:
            if self._reenable_gc:  # garbage collection may wait, a short budget may not
                gc.disable()
            deadline = None if frame.budget_s is None else start + frame.budget_s - self._closing_s
            self._workers.run(frame, self._picks(frame, rows, deadline), deadline, self._expected_s())
        finally:
            try:
                self._close(frame)
            finally:
                self._resume_gc()
        self._record_elapsed(frame, start)
        return frame

    def _run_in_place(self, flight: FrameType) -> Frame | None:
        """Fast path of `run` without limits, if only waiting agents need work; otherwise None, without any change."""
        lock = self._lock
        if self._flight is not None or self._skipped or self.threads > 1 or lock._is_owned() or writers:
            return None
        with lock:
            queues = None if self._pause else waiting_queues(self._ready_queue, self._queues.values())
            if queues is None or self._flight is not None:
                return None
            self._flight = flight  # first, so that an interrupt is noticed
            frame = Frame(self.frame, None, tuple(self._queues))
            self.frame += 1  # later pushes are for the next frame
            batches = [queue.read(frame.number) for queue in queues]
        try:
            decide_in_place(frame, batches, lock, self._workers)
        except BaseException:
            self._close(frame)
            raise
        with lock:
            for queue in self._queues.values():
                queue.reopen_fast_push()
            is_over = not self._ready_queue.changed
            if is_over:
                self._flight = None
        if not is_over:
            self._close(frame)
        elif deferred_calls:
            run_deferred()
        return frame

    def _resume_gc(self) -> None:
        """Enables garbage collection again, if it was enabled before."""
        if self._reenable_gc:
            self._reenable_gc = False
            gc.enable()

    def submit(self, budget_s: float | None = None, rows: int | None = None) -> Future[Frame]:
        """`run` on a thread of its own; the returned future gives the frame. Later pushes are for the next frame; with a budget, agents
        that have not run yet decide on the newest observation.

        Args:
          budget_s, rows: as in `run`.
        """
        start = time.perf_counter()
        future: Future[Frame] = Future()
        frame = self._open(budget_s, rows, future)
        try:
            future.set_running_or_notify_cancel()  # not cancellable from here on: its agents are dequeued
            deadline = None if frame.budget_s is None else start + frame.budget_s - self._closing_s
            picks = self._picks(frame, rows, deadline)
            if self._submitting is None:
                self._submitting = ThreadPoolExecutor(1, "cervello runtime")
            self._submitting.submit(self._finish, future, frame, picks, deadline, start)
        except BaseException:
            self._close(frame)
            raise
        return future

    def _finish(self, future: Future[Frame], frame: Frame, picks: Iterator[Picked], deadline: float | None, start: float) -> None:
        try:
            try:
                self._workers.run(frame, picks, deadline, self._expected_s())
            finally:
                self._close(frame)
        except BaseException as error:
            future.set_exception(error)
            return
        self._record_elapsed(frame, start)
        future.set_result(frame)

    def _record_elapsed(self, frame: Frame, start: float) -> None:
        frame.elapsed_s = time.perf_counter() - start
        if frame.budget_s is not None:
            self._ready_queue.slowdown.update_margin(frame.elapsed_s, frame.budget_s)

    def _picks(self, frame: Frame, rows: int | None, deadline: float | None) -> Iterator[Picked]:
        if deadline is not None:
            return choose_by_time(self._ready_queue, frame.number, rows, deadline, frame.budget_s or 0.0)
        with self._lock:
            picks = list(choose_by_rows(self._ready_queue, list(self._queues.values()), frame.number, rows))
        return iter(picks)

    def _expected_s(self) -> float:
        """Seconds of queued work."""
        if self.threads == 1:
            return 0.0
        with self._lock:
            return sum(queue.costs.expected_s(len(queue.wait_queue)) for queue in self._queues.values() if len(queue.wait_queue))

    # Snapshots ----------------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Serializes all state that later frames depend on, except clocks: agents of every policy, queued observations, levels, the frame
        number.

        Raises:
          ConfigurationError: a frame is in flight. WrapperError: a wrapper that does not expose its state.
        """
        with self._paused("snapshot") as queues:
            return snapshot.save(self.frame, queues, self._lock)

    def restore(self, state: Any) -> None:
        """Restores a snapshot: later frames by `rows` are bitwise those that followed it.

        Args:
          state: bytes that `snapshot` returned.
        Raises:
          SnapshotError: damaged bytes, or those of a runtime with other policies; nothing has changed then.
        """
        with self._paused("restore") as queues:
            frame = snapshot.restore(state, queues, self._lock)
            with self._lock:
                self.frame = frame
                self._skipped.clear()

    def close(self) -> None:
        """Ends the threads; a later frame creates new ones."""
        pool, self._submitting = self._submitting, None
        if pool is not None:
            pool.shutdown()
        self._workers.close()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_flag(name: str, deterministic: Any) -> None:
    if not isinstance(deterministic, (bool, np.bool_)):
        raise InputError(f"policy {name!r}, push, deterministic: expected True or False, got {deterministic!r}")


def _initialize_all() -> None:
    for runtime in list(_runtimes):
        runtime._initialize()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_initialize_all)
