"""Records many episodes at once into a crash-safe log."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from types import TracebackType
from typing import Any, Self

import msgpack
import numpy as np

from cervello.errors import AgentError, InputError, RecordingError
from cervello.recording.arguments import as_handles, check_count, count_rows, decision_columns, scalar_column
from cervello.recording.log_file import LogFile
from cervello.recording.open_episodes import DECISIONS, STEPS, OpenEpisodes, slots_of
from cervello.recording.records import Kind, encode_record
from cervello.recording.schemas import Columns, Schemas
from cervello.recording.spaces import describe
from cervello.recording.trees import Tree, as_columns
from cervello.spec import AgentId, Array


class Writer:
    """A crash-safe, append-only log of episodes. One call writes one record of columns with rows of many episodes.

    An episode is recorded in one of two ways:

    - by whole steps, as environments do: `begin(observation=…)` at the reset, then `step(…)` with the action, its outcome and the
      observation after it; the step that is terminated or truncated ends the episode;
    - decisions first, as servers do: `begin()` without an observation, `decide(…)` with an observation and the action chosen for it,
      `outcome(…)` when a reward is known, `end(…)` with the final observation where there is one.

    A column is an array with a row for each episode of the call; an observation or action may be a tree of columns (a dict or tuple of
    them). Within an episode the shapes and dtypes of observations, and of actions, stay the same; different episodes may differ.

    Each record is passed to the operating system before the call returns: a killed process loses at most the current call. A call that
    raises has recorded nothing and may be repeated. All methods may be called from several threads; calls that concern one episode must
    come in order. A writer that was open when the process forked belongs to the parent.

    Attributes:
      path: the file.
      cut_bytes: bytes of a torn tail that were cut when the file was opened.
      continues: whether the file held records before.
      n_episodes, n_steps: begun and recorded by this writer. n_recorded: episodes with a step, those that readers give. n_empty: episodes
        that ended without a step.
      match_numbers: 0, 1, …: the numbers of matches of recorders that share this writer.
    """

    def __init__(self, path: str | os.PathLike[str], *, observation_space: Any = None, action_space: Any = None,
                 metadata: Mapping[str, Any] | None = None, durable: bool = False, policy: Any = None):
        """Opens or creates a log. An existing log is continued; its open episodes stay unfinished.

        Args:
          path: the file.
          observation_space, action_space: Gymnasium spaces of one agent, kept for `to_minari`; None where agents differ.
          metadata: values that msgpack can encode; `read` returns them.
          policy: a `Policy` whose decisions are recorded. Its version, fingerprint and head are kept with the episodes of this writer
            (`Episode.policies`), so that an evaluation can check recorded log-probabilities against computed ones. Versions
            swapped in later are not known.
          durable: wait for the disk whenever an episode ends; then a failing machine too loses no finished episode. A call whose
            wait fails raises after it has recorded.
        Raises:
          RecordingError: the file cannot be written, or another writer has it open. FormatError: the file is no log, or the head of a
            record is damaged; the bodies are not read.
          InputError: a space or metadata that cannot be encoded.
        """
        session = {"metadata": dict(metadata or {}),
                   "observation_space": None if observation_space is None else describe(observation_space),
                   "action_space": None if action_space is None else describe(action_space),
                   **({} if policy is None else {"policies": _described(policy)})}
        try:
            body = encode_record(Kind.SESSION, {}, session)
        except (TypeError, ValueError, OverflowError, msgpack.PackException) as error:
            raise InputError(f"recording {os.fspath(path)!r}, metadata: expected values that msgpack takes, got {error}") from error
        self.path = FilePath(path)
        self.n_episodes = self.n_recorded = self.n_steps = self.n_empty = 0
        self.match_numbers = itertools.count()
        self._durable = durable
        self._lock = threading.Lock()
        self._open_episodes = OpenEpisodes()
        self._schemas = Schemas(self._open_episodes, self._where)
        self._file: LogFile | None = LogFile(self.path)
        self.cut_bytes, self.continues = self._file.cut_bytes, self._file.has_records
        try:
            self._file.write(body)
        except BaseException:
            self.close()
            raise

    # Recording -------------------------------------------------------------------------------------------------------

    def begin(self, n: int | None = None, observation: Tree = None, *, agent: AgentId | Sequence[AgentId] | None = None,
              match: AgentId | Sequence[AgentId] | None = None, seed: int | Sequence[int] | None = None,
              infos: Mapping[str, Tree] | None = None) -> Array:
        """Begins n episodes.

        Args:
          n: how many; None for one row per row of `observation`.
          observation: tree of [n, …], the first observations; None for episodes that are recorded decisions first.
          agent, match, seed: agents, matches and seeds of the resets; one for all or one for each.
          infos: tree of [n, …], the reset's infos; a bool column `_key` beside a key says which rows have the key.
        Returns:
          [n] int64, handles of the episodes, for the other methods of this writer.
        Raises:
          InputError: columns that do not fit. RecordingError: the file cannot be written, or the writer is closed.
        """
        n = count_rows(observation) if n is None else check_count(n)
        found: Columns = {}
        if observation is not None:
            found |= as_columns(observation, n, ("observation",))
        for name, value in (("agent", agent), ("match", match), ("seed", seed)):
            if value is not None:
                found[name,] = scalar_column(name, value, n, np.int64 if name == "seed" else None)
        found |= as_columns(infos, n, ("infos",)) if infos else {}
        with self._lock:
            handles = self._open_episodes.next_handles(n)
            checked = self._schemas.check(found, None)
            if n:
                self._write(Kind.BEGIN, handles, found)
            self._open_episodes.begin(handles, DECISIONS if observation is None else STEPS)
            self._schemas.commit(slots_of(handles), checked)
            self.n_episodes += n
        return handles

    def step(self, episodes: Any, observation: Tree, action: Tree, reward: Any, *, terminated: Any = False, truncated: Any = False,
             infos: Mapping[str, Tree] | None = None, log_prob: Any = None, deterministic: Any = None, pre_tanh: Tree = None,
             pre_clip: Tree = None, source: str | Sequence[str] | None = None, overridden: Any = None, version: Any = None,
             stream: Any = None, tick: Any = None) -> None:
        """Records a whole step of each episode, and ends those that are terminated or truncated.

        Args:
          episodes: [n] handles, each once.
          observation: tree of [n, …], after the action, of the same episode; None where unknown, allowed only where every row ends.
          action: tree of [n, …], executed.
          reward: [n]. terminated, truncated: [n] bool, or one for all.
          infos: as in `begin`.
          log_prob, deterministic, pre_tanh, pre_clip, source, overridden, version, stream, tick: columns as `Episode` describes them, or
            one value for all; None where unknown.
        Raises:
          InputError: columns that do not fit. AgentError: episodes that are not open, or not recorded by whole steps.
          RecordingError: the file cannot be written, or the writer is closed.
        """
        handles = as_handles(episodes)
        n = len(handles)
        found = decision_columns(n, action, log_prob, deterministic, pre_tanh, pre_clip, source, overridden, version, stream, tick)
        found["reward",] = scalar_column("reward", reward, n, np.float64)
        found["terminated",] = scalar_column("terminated", terminated, n, np.bool_)
        found["truncated",] = scalar_column("truncated", truncated, n, np.bool_)
        ends = found["terminated",] | found["truncated",]
        if observation is not None:
            found |= as_columns(observation, n, ("observation",))
        elif not ends.all():
            raise InputError("recording, 'observation': expected the observations after the step where an episode goes on, got None")
        found |= as_columns(infos, n, ("infos",)) if infos else {}
        self._record(Kind.STEP, handles, found, STEPS, ends)

    def decide(self, episodes: Any, observation: Tree, action: Tree, *, infos: Mapping[str, Tree] | None = None, log_prob: Any = None,
               deterministic: Any = None, pre_tanh: Tree = None, pre_clip: Tree = None, source: str | Sequence[str] | None = None,
               overridden: Any = None, version: Any = None, stream: Any = None, tick: Any = None) -> None:
        """Records a decision of each episode: an observation and the action chosen for it. Its reward is 0 until `outcome` adds some.

        Args:
          observation: before the action; required.
          episodes, action, infos, log_prob, deterministic, pre_tanh, pre_clip, source, overridden, version, stream, tick: as in `step`,
            with its errors.
        """
        handles = as_handles(episodes)
        n = len(handles)
        found = decision_columns(n, action, log_prob, deterministic, pre_tanh, pre_clip, source, overridden, version, stream, tick)
        found |= as_columns(observation, n, ("observation",))
        found |= as_columns(infos, n, ("infos",)) if infos else {}
        self._record(Kind.DECIDE, handles, found, DECISIONS)

    def outcome(self, episodes: Any, *, reward: Any = None, action: Tree = None, step: Any = None) -> None:
        """Adds rewards or executed actions to recorded steps.

        Args:
          episodes: [n] handles; one may occur several times.
          reward: [n], added to the reward of the step.
          action: tree of [n, …] that replaces the recorded action, or of some of its keys; the step is then `overridden` and has a
            log-probability of NaN.
          step: [n] int, which step of the episode, from 0; None for the last one.
        Raises:
          InputError: columns that do not fit, or no such step. AgentError: episodes that are not open.
          RecordingError: the file cannot be written, or the writer is closed.
        """
        handles = as_handles(episodes)
        n = len(handles)
        found: Columns = {}
        if reward is not None:
            found["reward",] = scalar_column("reward", reward, n, np.float64)
        if action is not None:
            found |= as_columns(action, n, ("action",))
        with self._lock:
            slots = self._open_episodes.find(handles, self._where, once=False)
            steps = self._open_episodes.n_steps[slots]
            chosen = steps - 1 if step is None else scalar_column("step", step, n, np.int64)
            wrong = (chosen < 0) | (chosen >= steps)
            if wrong.any():
                i = int(np.flatnonzero(wrong)[0])
                raise InputError(f"{self._where}, 'step': expected a step below {steps[i]}, got {chosen[i]}; record the step first")
            found["step",] = chosen
            if action is not None:
                self._schemas.check_action(found, slots)
            if n and len(found) > 1:
                self._write(Kind.OUTCOME, handles, found)

    def end(self, episodes: Any, observation: Tree = None, *, terminated: Any = False, truncated: Any = False) -> None:
        """Ends episodes; each is terminated, truncated or both.

        Args:
          episodes: [n] handles, each once.
          observation: tree of [n, …], the final observations of episodes that were recorded decisions first; None without one:
            the last one is repeated and `final_obs_missing` is set. Episodes recorded by whole steps have theirs already.
          terminated, truncated: [n] bool, or one for all.
        Raises:
          InputError: columns that do not fit. AgentError: episodes that are not open.
          RecordingError: the file cannot be written, or the writer is closed.
        """
        handles = as_handles(episodes)
        n = len(handles)
        found: Columns = {("terminated",): scalar_column("terminated", terminated, n, np.bool_),
                           ("truncated",): scalar_column("truncated", truncated, n, np.bool_)}
        if not (found["terminated",] | found["truncated",]).all():
            raise InputError("recording, end: expected each episode to be terminated or truncated, got neither; say which")
        if observation is not None:
            found |= as_columns(observation, n, ("observation",))
        self._record(Kind.END, handles, found, DECISIONS if observation is not None else None, np.ones(n, np.bool_))

    # Closing ---------------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Returns when all records so far are on the disk.

        Raises:
          RecordingError: the disk reports a failure, or the writer is closed.
        """
        with self._lock:
            self._open().sync()

    def close(self) -> None:
        """Closes the file; open episodes stay unfinished. May be called again."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Inside ----------------------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"recording {str(self.path)!r}"

    def _open(self) -> LogFile:
        if self._file is None:
            raise RecordingError(f"{self._where}: expected a writer that is open, got one that was closed; open another one")
        return self._file

    def _write(self, kind: Kind, handles: Array, found: Columns) -> None:
        self._open().write(encode_record(kind, {("episode",): handles, **found}))

    def _record(self, kind: Kind, handles: Array, found: Columns, phase: int | None, ends: Array | None = None) -> None:
        """Checks and writes a record of episodes in a phase, then updates their state."""
        with self._lock:
            slots = self._open_episodes.find(handles, self._where)
            is_other = self._open_episodes.phase[slots] != phase
            if phase is not None and is_other.any():
                wrong = int(handles[is_other][0])
                raise AgentError(f"{self._where}: expected episodes begun {'with' if phase == STEPS else 'without'} an observation for "
                                 f"{kind.name.lower()}, got episode {wrong}; record an episode by step, or by decide and end")
            checked = self._schemas.check(found, slots)
            if len(slots):
                self._write(kind, handles, found)
            self._schemas.commit(slots, checked)
            if kind in (Kind.STEP, Kind.DECIDE):
                self.n_recorded += int((self._open_episodes.n_steps[slots] == 0).sum())
                self._open_episodes.n_steps[slots] += 1
                self.n_steps += len(slots)
            if ends is not None and ends.any():
                ended = slots[ends]
                self.n_empty += int((self._open_episodes.n_steps[ended] == 0).sum())
                self._open_episodes.end(ended)
                if self._durable:
                    self._open().sync()


def _described(policy: Any) -> dict[str, Any]:
    """{version: fingerprint and head} of a Policy."""
    heads = [repr(wrapper.head) for wrapper in policy.wrappers if hasattr(wrapper, "head")]
    return {str(policy.version): {"fingerprint": policy.model.fingerprint, "head": heads[0] if heads else ""}}
