"""Steps of environments into a recording: which rows have an open episode, and what they were told to do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from cervello.envs.decision import Decision
from cervello.envs.info_columns import InfoLayout
from cervello.errors import AgentError, RecordingError
from cervello.recording import Writer
from cervello.recording.trees import Tree
from cervello.spec import AgentId, Array


class EpisodeLog:
    """One writer for the rows of an environment. Mutable.

    Args:
      target: a path, or a writer that others use too, which stays open.
      spaces: (observation space, action space) of one row, or None.
      durable: wait for the disk whenever an episode ends.

    A step or reset that cannot be recorded ends the recording of all episodes that are open, as truncated: with a step missing, what
    follows would be taken for what its action led to. `check` refuses further steps until the next reset.
    """

    def __init__(self, target: str | os.PathLike[str] | Writer, spaces: tuple[Any, Any] | None, durable: bool):
        self._owned = not isinstance(target, Writer)
        observation, action = spaces or (None, None)
        self.writer = target if isinstance(target, Writer) else Writer(
            target, observation_space=observation, action_space=action, durable=durable)
        self._infos = InfoLayout()
        self._handles: dict[AgentId, int] = {}
        self._cut: list[int] = []  # episodes to end as truncated
        self._failed = False
        self._decision: Decision | None = None

    def tell(self, decision: Decision) -> None:
        """Notes what a policy decided for the next step."""
        self._decision = decision

    def __contains__(self, row: object) -> bool:
        return row in self._handles

    def check(self) -> None:
        """Raises RecordingError after a step or reset that could not be recorded, until the next reset."""
        if self._failed:
            self._decision = None
            raise RecordingError(f"{self.writer.path}: expected episodes of which every step is recorded, got one that could not be; reset "
                                 "the environment to record again")

    def cut(self, rows: Sequence[AgentId] | None = None) -> None:
        """Truncates the episodes of rows, all by default, as a reset does."""
        self._cut += [self._handles.pop(row) for row in (list(self._handles) if rows is None else rows) if row in self._handles]
        if self._cut:
            self._failed = True  # unless the next lines return
            try:
                self.writer.end(np.array(self._cut), truncated=True)
            except AgentError:  # the writer had ended one of them when it failed
                for handle in self._cut:
                    with suppress(AgentError):
                        self.writer.end(np.array([handle]), truncated=True)
            self._cut = []
        self._failed = False
        self._decision = None

    @contextmanager
    def no_gaps(self) -> Iterator[None]:
        """Ends all open episodes when recording fails within it, so that no episode has a gap."""
        try:
            yield
        except BaseException:
            self._cut += self._handles.values()
            self._handles.clear()
            self._failed = True
            raise

    def begin(self, rows: Sequence[AgentId], observations: Tree, infos: Mapping[str, Tree],
              seeds: Sequence[int | None] | None = None,
              agents: Sequence[AgentId] | None = None, match: int | None = None) -> None:
        """Episodes begin in rows; one that is open there is truncated, as the reset has cut it.

        Args:
          observations: tree of [n, …]; infos: tree of [n, …].
          seeds: of the resets. agents, match: whose lives these are, and in which match.
        """
        known = None if seeds is None or any(seed is None for seed in seeds) else [int(seed) for seed in seeds if seed is not None]
        with self.no_gaps():
            self.cut(rows)
            handles = self.writer.begin(len(rows), observations, infos=self._infos.fitting(infos), seed=known, agent=agents, match=match)
        self._handles.update(zip(rows, handles.tolist(), strict=True))

    def step(self, rows: Sequence[AgentId], observations: Tree, actions: Tree, rewards: Array, terminated: Array, truncated: Array,
             infos: Mapping[str, Tree], places: Array | None = None) -> None:
        """One step of rows, [n, …]; episodes that are over end.

        Args:
          places: [n] int64, the rows' positions among those that a decision was told for.
        Raises:
          RecordingError: the file cannot be written, or a row has no episode.
        """
        missing = next((row for row in rows if row not in self._handles), None)
        if missing is not None:
            self._decision = None
            with self.no_gaps():  # the environment has moved on, so the steps of its other rows are missing too
                raise RecordingError(f"{self.writer.path}: expected a step of an episode that has begun, got one of {missing!r}; reset the "
                                     "environment first")
        decision, self._decision = self._decision, None
        n = len(rows)
        options: dict[str, Any] = {"source": "unknown", "log_prob": np.full(n, np.nan, np.float32)}
        if decision is not None:
            options = _decision_columns(decision, np.arange(n) if places is None else places, actions)
        with self.no_gaps():
            self.writer.step(np.array([self._handles[row] for row in rows]), observations, actions, rewards, terminated=terminated,
                             truncated=truncated, infos=self._infos.fitting(infos), **options)
        for row, over in zip(rows, (terminated | truncated).tolist(), strict=True):
            if over:
                del self._handles[row]

    def close(self) -> None:
        """Closes the writer, unless others use it; episodes that are open stay unfinished."""
        if self._owned:
            self.writer.close()


def _decision_columns(decision: Decision, places: Array, actions: Tree) -> dict[str, Any]:
    """Columns of a decision for rows at places; the source of rows that it does not cover is unknown."""
    index = {place: i for i, place in enumerate(decision.places.tolist())}
    found = np.array([index.get(place, -1) for place in places.tolist()])
    known = found >= 0
    columns: dict[str, Any] = {
        "source": ["policy" if each else "unknown" for each in known],
        "log_prob": np.where(known, decision.log_prob[found], np.float32(np.nan)),
        "deterministic": known & decision.deterministic[found], "version": np.where(known, decision.version, 0)}
    if decision.stream is not None:
        columns["stream"] = np.where(known, np.uint64(decision.stream), np.uint64(0))
    executed = np.asarray(decision.action)[found]
    same = np.array([np.array_equal(a, b, equal_nan=True) for a, b in zip(executed, np.asarray(actions), strict=True)])
    columns["overridden"] = known & ~same
    columns["log_prob"] = np.where(columns["overridden"], np.float32(np.nan), columns["log_prob"])
    if known.all():
        for name in ("pre_tanh", "pre_clip"):
            given = getattr(decision, name)
            if given is not None:
                columns[name] = np.asarray(given)[found]
    return columns
