"""`Runtime`: many policies, many agents, one frame."""

from __future__ import annotations

import gc
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from cervello.agents.membership import deferred
from cervello.agents.membership.deferred import catch_up, note, notes, register_last, writers
from cervello.agents.membership.ids import Ids, check_kinds, is_many, listed, plain
from cervello.agents.policy.membership import Numbers
from cervello.agents.policy.policy import Policy
from cervello.agents.runtime import calibration, level_of_detail, snapshot
from cervello.agents.runtime.frame import Frame, Picked, counted, timed
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.agents.runtime.ready_queue import ReadyQueue
from cervello.agents.runtime.workers import Loop
from cervello.errors import AgentError, ConfigurationError, InputError
from cervello.native.execution.counts import thread_count
from cervello.spec import AgentId, Array

Observation = Mapping[str, Any]
Flight = FrameType | Future[Frame]
Standing = tuple[Future[None], int]  # done when frames may run again, and the thread that will say so
_runtimes: weakref.WeakSet[Runtime] = weakref.WeakSet()


class Runtime:
    """Named policies and the agents that wait for them. Observations are pushed one by one, `run` decides for everybody, or for as many as
    a budget allows; who is left out is longer in waiting, and so more urgent, in the next frame.

        runtime = cervello.Runtime()
        runtime.add("npc", policy)
        runtime.begin_agent("npc", 7)
        runtime.push("npc", 7, {"obs": x})
        frame = runtime.run(budget_s=0.001)
        frame["npc"][7]["action"]

    A policy that fails harms no other: its agents keep waiting, its error is in the frame. Several threads may push while a frame runs.

    No agent starves: as long as every frame has time for its most urgent agent, one of priority p among n waiting ones decides within
    2 (n - 1 + Σ pᵢ / p) frames, whatever the others do. A policy too slow for the budget is expected to be faster from frame to frame,
    until it runs.

    Args:
      threads: policies may run on this many threads at once, when there is at least a millisecond of work; those within a policy are
        `Policy(threads=…)`.
    """

    def __init__(self, *, threads: int = 1):
        self.threads = thread_count("runtime, threads", threads)
        self.frame = 0  # the number of the next frame
        self._brains: dict[str, PolicyQueue] = {}
        self._agenda: ReadyQueue[PolicyQueue] = ReadyQueue()
        self._added = 0  # policies so far
        self._skipped: dict[str, tuple[AgentId, ...]] = {}
        self._closing_s = 5e-5  # what it takes to close a frame, lately
        self._noted: dict[tuple[PolicyQueue, AgentId], int | None] = {}  # agents that end as soon as possible, and when they had begun
        self._collects = False  # whether garbage is to be collected again when this frame is over
        self._start()
        _runtimes.add(self)

    def _start(self) -> None:
        """No thread and no frame under way, as at first and in the child of a fork."""
        self._lock: Any = threading.RLock()  # of queues; not held while a policy runs, nor while code of the caller's does
        register_last(self._lock)
        self._flight: Flight | None = None  # the frame that is under way
        self._standing: Standing | None = None  # the save or restore that is under way
        self._recover()
        self._collect()
        self._submitting: ThreadPoolExecutor | None = None
        self._loop = Loop(self._lock, self.threads)

    # Policies -----------------------------------------------------------------------------------------------------------

    @property
    def policies(self) -> dict[str, Policy]:
        """The policies by name."""
        return {name: brain.policy for name, brain in self._brains.items()}

    def __len__(self) -> int:
        return len(self._brains)

    def __bool__(self) -> bool:
        """True, however many there are: `if runtime:` asks whether there is one."""
        return True

    def __contains__(self, name: str) -> bool:
        return name in self._brains

    def __repr__(self) -> str:
        return f"Runtime({list(self._brains)}, frame={self.frame})"

    def add(self, name: str, policy: Policy, *, measure: bool = True) -> None:
        """Adds a policy.

        Args:
          measure: time a few batches of made-up agents now, so that costs are known from the first frame on; without, where a part of your
            own cannot be made twice, and where the policy refuses observations of zeros, the first row that runs is the measurement.
        Raises:
          ConfigurationError: the name is taken, or this is no policy.
        """
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"runtime, add: expected a name, got {name!r}")
        if not isinstance(policy, Policy):
            raise ConfigurationError(f"runtime, add {name!r}: expected a cervello.Policy, got {policy!r}; cervello.load makes one")
        brain = PolicyQueue(name, policy, self._agenda, calibration.measure if measure else None)
        policy.follow(brain)
        costs = brain.costs  # of the model that is measured now, should another one come meanwhile
        if measure and (measured := calibration.measure(policy)) is not None:
            costs.set(*measured)
        with self._locked("add"):
            if name in self._brains:
                raise ConfigurationError(f"runtime, add: expected a new name, got {name!r}; remove the other first, or replace its model")
            if any(policy is other.policy for other in self._brains.values()):
                raise ConfigurationError(f"runtime, add {name!r}: expected a policy of its own, got one that is here under another name; "
                                         "make a second Policy of the same model, the weights are shared")
            self._added += 1
            brain.enter(self._added)
            self._brains = {**self._brains, name: brain}

    def remove(self, name: str) -> tuple[AgentId, ...]:
        """Takes the policy `name` out; it keeps its agents.

        Returns:
          agents whose observations waited and are now orphaned.
        """
        with self._locked("remove"):
            brain = self._brain(name)
            self._brains = {key: other for key, other in self._brains.items() if key != name}
            self._skipped.pop(name, None)
            orphans = brain.line.queue.ids
            brain.leave()
        return orphans

    def clear(self) -> dict[str, tuple[AgentId, ...]]:
        """Takes all policies out; returns the orphaned agents by policy."""
        with self._locked("clear"):
            brains, self._brains = self._brains, {}
            self._skipped.clear()
            orphans = {name: brain.line.queue.ids for name, brain in brains.items() if len(brain.line)}
            for brain in brains.values():
                brain.leave()
        return orphans

    @contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        """Holds the lock, and does afterwards what had to wait for it.

        Raises:
          AgentError: as `_check_outside`.
        """
        self._check_outside(what)
        try:
            with self._lock:
                yield
        finally:
            if notes:
                catch_up()

    def _check_outside(self, what: str) -> None:
        """Raises AgentError when this thread is in the middle of this runtime's queues, or of a change of agents."""
        if self._lock._is_owned() or threading.get_ident() in writers:
            raise AgentError(f"runtime, {what}: expected a call from outside, got one from a finalizer or a signal handler that came while "
                             "this thread was in the middle of another call; set a flag there and call afterwards")

    def _brain(self, name: str) -> PolicyQueue:
        brain = self._brains.get(name) if isinstance(name, str) else None
        if brain is None:
            raise ConfigurationError(f"runtime: expected a policy among {list(self._brains)}, got {name!r}; add it first")
        return brain

    # Agents -------------------------------------------------------------------------------------------------------------

    def begin_agent(self, name: str, agent: AgentId, stream: int = 0, episode: int | None = None, *, every: int = 1,
                    priority: float = 1.0, hold: str = "none") -> None:
        """An agent begins with a policy.

        Args:
          name: of the policy.
          stream, episode: as `Policy.begin_agent`.
          every, priority, hold: as `set_level`.
        """
        self.begin_agents(name, (agent,), stream, episode, every=every, priority=priority, hold=hold)

    def begin_agents(self, name: str, ids: Ids, stream: Numbers = 0, episode: Numbers | None = None, *, every: int = 1,
                     priority: float = 1.0, hold: str = "none") -> None:
        """Begins many, or none.

        Args:
          name: of the policy.
          ids, stream, episode: as in `Policy.begin_agents`.
          every, priority, hold: of all of them, as in `set_level`.
        """
        brain = self._brain(name)
        level_of_detail.checked(f"policy {name!r}, begin", every, priority, hold)
        names = listed(ids, ordered=is_many(stream) or is_many(episode))
        before = brain.policy.changes
        brain.policy.begin_agents(names, stream, episode)
        with self._locked("begin"):
            brain.saw(before)
            if brain.levels.of or (every, priority, hold) != (1, 1.0, "none"):
                for agent in names:
                    brain.set_level(agent, int(every), float(priority), hold)

    def end_agent(self, name: str, agent: AgentId) -> None:
        """An agent of the policy `name` ends; what it waits with is forgotten."""
        self.end_agents(name, (agent,))

    def end_agents(self, name: str, ids: Ids) -> None:
        """Ends the agents `ids` of the policy `name`, or none. From the middle of another call, as `Policy.end_agents`."""
        brain, names = self._brain(name), listed(ids, ordered=False)
        if brain.policy.must_defer:
            self._note_end(brain, names)
            return
        with self._leaving(brain, names):
            brain.policy.end_agents(names)

    def _note_end(self, brain: PolicyQueue, names: Sequence[AgentId]) -> None:
        """They end when this thread gives back what it holds.

        Raises:
          AgentError: an unknown agent, or one that is named twice or has been noted before.
        """
        check_kinds(names)
        brain.policy.check_distinct(names)
        births = brain.policy.births(names)
        if not brain.policy.is_changing:  # else its table is incomplete just now; unknown agents are left out later
            unknown = [agent for agent, birth in zip(names, births, strict=True) if birth is None or (brain, agent) in self._noted]
            if unknown:
                raise AgentError(f"policy {brain.name!r}: expected agents that have begun, got {unknown[0]!r}; it has ended already, or "
                                 "never begun")
        self._noted.update(((brain, agent), birth) for agent, birth in zip(names, births, strict=True))
        note(self._catch_up)

    def _catch_up(self) -> None:
        """Ends the agents that were noted and are still there."""
        while self._noted:
            (brain, agent), then = self._noted.popitem()
            now = brain.policy.births((agent,))[0]
            if now is not None and then in (None, now):
                try:
                    with self._leaving(brain, (agent,)):
                        brain.policy.end_agents((agent,))
                except Exception as error:  # a hook's, which keeps nobody else here
                    deferred.log(error)

    def restart_agents(self, name: str, ids: Ids, stream: Numbers | None = None, episode: Numbers | None = None) -> None:
        """Ends and begins at once; levels stay, what waits is forgotten.

        Args:
          name: of the policy.
          ids, stream, episode: as in `Policy.restart_agents`.
        """
        brain, names = self._brain(name), listed(ids, ordered=is_many(stream) or is_many(episode))
        with self._leaving(brain, names, keep_levels=True):
            brain.policy.restart_agents(names, stream, episode)

    @contextmanager
    def _leaving(self, brain: PolicyQueue, names: Sequence[AgentId], keep_levels: bool = False) -> Iterator[None]:
        """Agents end or begin anew inside; what they waited with is forgotten when they have, also when a hook fails that is told of it."""
        policy = brain.policy
        with self._lock:
            brain.leaving.update(names)
        try:
            before, births = policy.changes, policy.births(names)
            try:
                yield
            finally:
                with self._lock:
                    for agent, was, now in zip(names, births, policy.births(names), strict=True):
                        if was != now:
                            self._left(brain, agent, keep_levels)
                    brain.saw(before)
        finally:
            with self._lock:
                brain.leaving -= set(names)

    def _left(self, brain: PolicyQueue, agent: AgentId, keep_level: bool) -> None:
        """An agent has ended, or begun anew."""
        kept = brain.levels.of.get(agent)
        brain.forget(agent)
        if keep_level and kept is not None:
            kept.next_frame = self.frame
            brain.levels.of[agent] = kept

    def set_level(self, name: str, agent: AgentId, *, every: int = 1, priority: float = 1.0, hold: str = "none") -> None:
        """How much attention an agent gets from here on: near the player it decides in each frame, far away in every eighth.

        Args:
          name: of the policy.
          every: frames from one of its turns to the next; turns of a crowd are spread. Observations pushed in between are not kept.
          priority: urgency grows by this much per frame of waiting.
          hold: "last" puts its last decision into the results of frames in which it was pushed and did not decide; "none" leaves it out.
        """
        brain = self._brain(name)
        level_of_detail.checked(f"policy {name!r}, agent {agent!r}", every, priority, hold)
        agent = plain(agent)
        brain.policy.check_agents((agent,))
        with self._locked("set_level"):
            brain.set_level(agent, int(every), float(priority), hold)

    # Observations -------------------------------------------------------------------------------------------------------

    def push(self, name: str, agent: AgentId, observation: Observation, deterministic: bool = False) -> None:
        """An agent's newest observation. One that waits already keeps its place, and decides on the newest.

        Args:
          name: of the policy.
          agent, observation, deterministic: as in `Policy.infer_single`.
        Raises:
          ConfigurationError: an unknown policy.
          AgentError, InputError: an unknown agent, an observation that does not fit. Nothing has changed then.
        """
        brain = self._brains.get(name) if type(name) is str else None
        if brain is None or deterministic is not False or not brain.accept(0, 0, agent, observation, self.frame, self._lock):
            self._push(name, agent, observation, deterministic)

    def _push(self, name: str, agent: AgentId, observation: Observation, deterministic: bool) -> None:
        """`push` where it has more to do than to add a row."""
        brain = self._brain(name)
        _check_flag(name, deterministic)
        agent = plain(agent)
        arrays = brain.checked(agent, observation)
        lock = self._lock
        if lock._is_owned() or writers:
            self._check_outside("push")
        try:
            with lock:
                brain.push(agent, arrays, self.frame, bool(deterministic))
        finally:
            if notes:
                catch_up()

    def push_batch(self, name: str, ids: Ids, inputs: Mapping[str, Any], deterministic: bool = False) -> None:
        """Newest observations of many agents, as columns: row i belongs to ids[i]. All are pushed or none.

        Args:
          name: of the policy.
          ids, inputs, deterministic: as in `Policy.infer_batch`.
        """
        brain, names = self._brain(name), listed(ids)
        _check_flag(name, deterministic)
        arrays = brain.fitted(names, inputs)
        lock = self._lock
        if lock._is_owned() or writers:
            self._check_outside("push_batch")
        try:
            with lock:
                brain.push_batch(names, arrays, self.frame, bool(deterministic))
        finally:
            if notes:
                catch_up()

    def waiting(self, name: str) -> tuple[AgentId, ...]:
        """Agents of the policy `name` that wait, in the order of their turn as it is now."""
        brain = self._brain(name)
        with self._locked("waiting"):
            agents = brain.line.queue.ids
            if brain.even:
                return agents
            urgencies = brain.urgencies(self.frame)
            return tuple(agent for _, agent in sorted(zip(urgencies, agents, strict=True), key=lambda pair: -pair[0]))

    def infer_single(self, name: str, agent: AgentId, observation: Observation, deterministic: bool = False) -> dict[str, Array]:
        """Decides for one agent at once, outside of frames; what it waits with stays.

        Args:
          name: of the policy.
          agent, observation, deterministic: as in `Policy.infer_single`.
        Returns:
          {output: row}
        """
        return self._brain(name).policy.infer_single(agent, observation, deterministic)

    # Frames -------------------------------------------------------------------------------------------------------------

    def run(self, budget_s: float | None = None, rows: int | None = None) -> Frame:
        """Decides for agents that wait, longest waiting first.

        Args:
          budget_s: seconds that it may take; None takes what it takes.
          rows: at most so many decisions, for games in lockstep: which ones depends on nothing but what was pushed.
        Returns:
          Frame {policy: {agent: {output: row}}}; `frame[policy].skipped` names those who wait on, `.errors` those whose policy failed.
        Raises:
          ConfigurationError: a budget or a number of rows that is not above 0, or a frame is under way already.
        """
        start = time.perf_counter()
        frame = self._open(budget_s, rows, sys._getframe())
        self._collects = budget_s is not None and gc.isenabled()
        try:
            if self._collects:  # Python's garbage can wait, a short budget cannot
                gc.disable()
            deadline = None if frame.budget_s is None else start + frame.budget_s - self._closing_s
            self._loop.fill(frame, self._picks(frame, rows, deadline), deadline, self._expected_s())
        finally:
            try:
                self._close(frame)
            finally:
                self._collect()
        self._judge(frame, start)
        return frame

    def _collect(self) -> None:
        """Garbage is collected again, if it was before."""
        if self._collects:
            self._collects = False
            gc.enable()

    def submit(self, budget_s: float | None = None, rows: int | None = None) -> Future[Frame]:
        """`run` on a thread of its own: the game goes on and asks the future for the frame. What is pushed meanwhile is for the next one;
        with a budget, agents whose turn has not come yet decide on the newest.

        Args:
          budget_s, rows: as in `run`.
        """
        start = time.perf_counter()
        future: Future[Frame] = Future()
        frame = self._open(budget_s, rows, future)
        try:
            future.set_running_or_notify_cancel()  # from here on it cannot be cancelled: its agents no longer wait
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
                self._loop.fill(frame, picks, deadline, self._expected_s())
            finally:
                self._close(frame)
        except BaseException as error:
            future.set_exception(error)
            return
        self._judge(frame, start)
        future.set_result(frame)

    def _judge(self, frame: Frame, start: float) -> None:
        frame.elapsed_s = time.perf_counter() - start
        if frame.budget_s is not None:
            self._agenda.pace.judge(frame.elapsed_s, frame.budget_s)

    def _open(self, budget_s: float | None, rows: int | None, flight: Flight) -> Frame:
        if budget_s is not None and not _above_zero(budget_s):
            raise ConfigurationError(f"runtime, budget_s: expected seconds above 0, got {budget_s!r}; None is no budget")
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, (int, np.integer)) or rows < 1):
            raise ConfigurationError(f"runtime, rows: expected at least 1, got {rows!r}; None is no limit")
        if self._lock._is_owned() or writers:
            self._check_outside("run")
        while True:
            with self._lock:
                standing = self._standing
                if standing is None:
                    frame = self._opened(budget_s, flight)
                    return frame
            self._wait_for(standing, "run")

    def _opened(self, budget_s: float | None, flight: Flight) -> Frame:
        if self._flight is not None:
            if _flies(self._flight):
                raise ConfigurationError("runtime: expected one frame at a time, got a second while one is under way; wait for its future")
            self._recover()  # an interrupt came before the frame could be closed
        if len(self._agenda.members) != len(self._brains):
            self._agenda.keep(list(self._brains.values()))
            self._skipped = {name: agents for name, agents in self._skipped.items() if name in self._brains}
        frame = Frame(self.frame, None if budget_s is None else float(budget_s), tuple(self._brains))
        self.frame += 1  # what is pushed from here on is for the next one
        self._flight = flight
        return frame

    def _recover(self) -> None:
        """Whoever was taken and has not decided waits as before."""
        self._flight = None
        for brain in list(self._agenda.dirty):
            if brain.under_way:
                for taken in brain.under_way[::-1]:
                    brain.requeue(taken, None)

    def _picks(self, frame: Frame, rows: int | None, deadline: float | None) -> Iterator[Picked]:
        if deadline is not None:
            return timed(self._agenda, frame.number, rows, deadline, frame.budget_s or 0.0)
        with self._lock:
            picks = list(counted(self._agenda, list(self._brains.values()), frame.number, rows))
        return iter(picks)

    def _expected_s(self) -> float:
        """Seconds of work that waits."""
        if self.threads == 1:
            return 0.0
        with self._lock:
            return sum(brain.costs.expected_s(len(brain.line)) for brain in self._brains.values() if len(brain.line))

    def _close(self, frame: Frame) -> None:
        """Says who was skipped, and what those hold who want that."""
        with self._lock:
            start = time.perf_counter()
            self._recover()
            if frame.budget_s is None:
                self._agenda.rest()
            else:
                self._agenda.gather()
            frame.skipped = self._skipped.copy()  # as in the frame before, but for those of whom there is news
            for brain in list(self._agenda.changed):
                if not frame.skip(brain):
                    brain.noticed()
            self._skipped = frame.skipped.copy()
            self._closing_s += 0.1 * (time.perf_counter() - start - self._closing_s)
        if notes:
            catch_up()

    # Snapshots ----------------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Everything that later frames depend on, but for clocks: every policy's agents, who waits with what, levels, the frame's number.

        Raises:
          ConfigurationError: a frame is under way. WrapperError: a wrapper that does not show its state.
        """
        with self._still("snapshot") as brains:
            return snapshot.save(self.frame, brains, self._lock)

    def restore(self, state: Any) -> None:
        """Goes back to a snapshot: frames by `rows` from here on are bitwise those that followed it.

        Args:
          state: bytes that `snapshot` gave.
        Raises:
          SnapshotError: damaged bytes, or one of a runtime with other policies; nothing has changed then.
        """
        with self._still("restore") as brains:
            frame = snapshot.restore(state, brains, self._lock)
            with self._lock:
                self.frame = frame
                self._skipped.clear()

    @contextmanager
    def _still(self, what: str) -> Iterator[list[PolicyQueue]]:
        """The policies; no frame is under way inside, and none begins. Not by a lock, since policies call hooks there."""
        self._check_outside(what)
        while True:
            with self._lock:
                other = self._standing
                if other is None:
                    self._check_idle(what)
                    standing = self._standing = Future(), threading.get_ident()
                    brains = list(self._brains.values())
                    break
            self._wait_for(other, what)
        try:
            yield brains
        finally:
            self._standing = None
            standing[0].set_result(None)
            if notes:
                catch_up()

    @staticmethod
    def _wait_for(standing: Standing, what: str) -> None:
        """Waits until another thread has saved or restored the runtime.

        Raises:
          ConfigurationError: that waits for this thread.
        """
        if standing[1] == threading.get_ident() or deferred.holds_any():
            raise ConfigurationError(f"runtime, {what}: expected a call from outside, got one from a hook, a finalizer or a signal handler "
                                     "while the runtime is saved or restored; call afterwards")
        standing[0].result()

    def _check_idle(self, what: str) -> None:
        if self._flight is not None and _flies(self._flight):
            raise ConfigurationError(f"runtime, {what}: expected no frame under way, got one; wait for its future")

    def close(self) -> None:
        """Ends the threads; a later frame makes new ones."""
        pool, self._submitting = self._submitting, None
        if pool is not None:
            pool.shutdown()
        self._loop.close()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _flies(flight: Flight) -> bool:
    """Whether a frame is still under way: its future is not done, or its call is on the stack of some thread."""
    if isinstance(flight, Future):
        return not flight.done()
    for top in sys._current_frames().values():
        call: FrameType | None = top
        while call is not None:
            if call is flight:
                return True
            call = call.f_back
    return False


def _above_zero(seconds: Any) -> bool:
    number = isinstance(seconds, (int, float, np.integer, np.floating)) and not isinstance(seconds, bool)
    return bool(number and seconds > 0 and math.isfinite(seconds))


def _check_flag(name: str, deterministic: Any) -> None:
    if not isinstance(deterministic, (bool, np.bool_)):
        raise InputError(f"policy {name!r}, push, deterministic: expected True or False, got {deterministic!r}")


def _start_all() -> None:
    for runtime in list(_runtimes):
        runtime._start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_all)
