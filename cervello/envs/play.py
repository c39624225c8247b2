"""Policies compared in an environment on the same episodes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cervello.agents import Policy, load
from cervello.envs.actor import Actor, checked_policy
from cervello.envs.counts import checked_count
from cervello.envs.cross_play import cross_play
from cervello.envs.decision import draws_actions
from cervello.envs.named import imported_maker, is_game, makes_environments
from cervello.envs.play_result import PlayResult, Returns
from cervello.envs.seeding import checked_seed, episode_seed
from cervello.envs.sources import Source, TimeStep, open_source
from cervello.errors import ConfigurationError
from cervello.recording.finite import finite_rows, is_finite
from cervello.spaces import Spaces
from cervello.spec import Array

T = TypeVar("T")
Progress = Callable[[int, int, str], None]  # episodes done, in all, and whose


def play(env: Any, policies: Any, *, episodes: int = 100, seed: int = 0, n_envs: int | None = None, deterministic: bool = False,
         max_steps: int | None = None, autoreset: Any = None, seats: Sequence[str] | None = None, progress: Progress | None = None,
         ) -> PlayResult:
    """Plays episodes with each policy, all on the same seeds, and compares their returns.

    In a PettingZoo environment each policy meets each other: a pair plays every episode in all ways to share the seats; see
    `PlayResult.matrix` and `ratings`. A policy is then a policy or path for all seats, or {seat: policy or path}.

    Row i of N environments plays episodes i, i + N, i + 2 N, … Where rows are reset here (an id, a function, a single environment, a
    vector environment with DISABLED), episode k begins with `episode_seed(seed, k)` whatever N is.

    Args:
      env: an id, "module:function", a function that makes an environment, an environment, or a vector environment of Gymnasium,
        Stable-Baselines3 or EnvPool; an environment of PettingZoo, parallel or turn-based. One that is given stays open.
      policies: a policy or a path, or several by name. Paths are loaded with wrappers="auto" and the environment's spaces.
      episodes: of each policy.
      seed: 0 ≤ seed < 2⁶³.
      n_envs: how many environments are made of an id or a function.
      deterministic: no noise.
      max_steps: episodes are truncated after so many steps, for environments that never end; not for vector environments, which cut
        their episodes themselves.
      autoreset: what a vector environment does when an episode ends, where its metadata do not say it.
      seats: of a PettingZoo environment: patterns of agents' names, each played by one policy; None for each possible agent.
      progress: called as (episodes done, episodes in all, policy's name), in games of several with the games and both names.
    Raises:
      ConfigurationError: a policy without spaces, options that make no sense, or policies that cannot meet.
    """
    episodes = checked_count("play, episodes", episodes)
    if max_steps is not None:
        max_steps = checked_count("play, max_steps", max_steps)
    start = checked_seed("play", seed)
    named = _named(policies)
    title = _title(env)
    if isinstance(env, str):
        env = imported_maker("play", env) or env
    first, env = _peeked(env)
    own = first if env is not first else None
    several = is_game(first)
    for name, given in (("n_envs", n_envs), ("autoreset", autoreset)) if several else (("seats", seats),):
        if given is not None:
            if own is not None:
                own.close()
            which = "of PettingZoo, which plays game after game" if several else "in which one policy plays"
            raise ConfigurationError(f"play, {name}: expected none for an environment {which}, got {given!r}")
    if several:
        title = str((getattr(first, "metadata", None) or {}).get("name") or title)
        return _games(title, first, own is not None, named, seats, episodes, start, bool(deterministic), max_steps, progress)
    source = open_source(env, n_envs, autoreset, innermost=True, max_steps=max_steps)
    try:
        ready = {name: _loaded(name, given, source) for name, given in named.items()}
        found = {name: _Play(source, policy, episodes, start, deterministic, name, progress).run()
                 for name, policy in ready.items()}
    finally:
        source.close()
    seeds = [episode_seed(start, k) for k in range(episodes)] if source.seeds_rows else None
    return PlayResult(title, found, seeds, start, bool(deterministic), source.innermost_missing)


def _games(title: str, env: Any, close: bool, named: dict[str, Any], seats: Sequence[str] | None, episodes: int, seed: int,
           deterministic: bool, max_steps: int | None, progress: Progress | None) -> PlayResult:
    """`play` in an environment of PettingZoo."""
    try:
        found, met = cross_play(env, named, seats, episodes, seed, deterministic, max_steps, progress)
    finally:
        if close:
            env.close()
    wrapped = getattr(env, "unwrapped", env) is not env
    note = "those within wrappers of PettingZoo are not shown" if wrapped else ""
    return PlayResult(title, found, [episode_seed(seed, k) for k in range(episodes)], seed, deterministic, note, met)


def _peeked(env: Any) -> tuple[Any, Any]:
    """(environment, env): of a function the first environment that it makes, and a function that returns this one first."""
    if not makes_environments(env):
        return env, env
    made = [first := env()]
    return first, lambda: made.pop() if made else env()


def _named(policies: Any) -> dict[str, Any]:
    if isinstance(policies, Mapping):
        if not policies:
            raise ConfigurationError("play, policies: expected at least one policy, got none")
        return dict(policies)
    if isinstance(policies, Policy):
        return {policies.name: policies}
    return {Path(policies).stem if isinstance(policies, (str, os.PathLike)) else "policy": policies}


def _loaded(name: str, given: Any, source: Source) -> Policy:
    if isinstance(given, Policy):
        return checked_policy(f"play, policy {name!r}", given, source)
    return load(given, wrappers="auto", spaces=Spaces((source.observation_space, source.action_space)))


def _title(env: Any) -> str:
    if isinstance(env, str):
        return env
    spec = getattr(env, "spec", None)
    return str(getattr(spec, "id", None) or getattr(env, "__name__", type(env).__name__))


class _Play:
    """One policy's episodes."""

    def __init__(self, source: Source, policy: Policy, episodes: int, seed: int, deterministic: bool, name: str,
                 progress: Progress | None):
        self._source, self._seed = source, seed
        self._actor = Actor(policy, "play", seed, source.seeds_rows, bool(deterministic))
        self._name, self._progress = name, progress
        n = source.n_envs
        self._quota = np.array([-(-max(episodes - i, 0) // n) for i in range(n)])
        self._begun = np.zeros(n, np.int64)
        self._running, self._lengths = np.zeros(n), np.zeros(n, np.int64)
        self._returns, self._steps = np.zeros(episodes), np.zeros(episodes, np.int64)
        self._terminated = np.zeros(episodes, np.bool_)
        self._done = 0
        self._empty_masks = self._not_finite = 0
        self._drawn = not deterministic and draws_actions(policy)
        self._times = {"environment": 0.0, "policy": 0.0}

    def run(self) -> Returns:
        try:
            timestep = self._timed("environment", lambda: self._source.reset(self._seeds if self._source.seeds_rows else None, self._seed))
            self._begin(timestep)
            while self._done < len(self._returns):
                timestep = self._step(self._unfinished(timestep))
        finally:
            self._actor.close()
        return Returns(self._name, self._returns, self._steps, self._terminated, self._times["environment"], self._times["policy"],
                       self._empty_masks, self._drawn, self._not_finite)

    def _unfinished(self, timestep: TimeStep) -> TimeStep:
        """The rows that have episodes left to play, where the others need not be stepped."""
        if not self._source.steps_rows_apart:
            return timestep
        left = np.flatnonzero(self._begun[timestep.rows] <= self._quota[timestep.rows])
        return timestep if len(left) == len(timestep.rows) else timestep.some(left)

    def _step(self, timestep: TimeStep) -> TimeStep:
        decision = self._timed("policy", lambda: self._actor.decide(timestep))
        self._empty_masks += decision.empty_masks
        if not is_finite(timestep.observation):
            self._not_finite += int((timestep.acts & ~finite_rows(timestep.observation, len(timestep.rows))).sum())
        actions = self._actor.actions(timestep, decision)
        self._source.tell(timestep.rows, decision)
        after = self._timed("environment", lambda: self._source.step(timestep.rows, actions))
        rewards = after.reward if after.innermost is None else after.innermost
        rows = after.rows
        self._running[rows] += np.where(after.valid, rewards, 0.0)
        self._lengths[rows] += after.valid
        if after.mid_episode:
            return after
        over = after.ended
        for row, terminated in zip(rows[over].tolist(), after.terminated[over].tolist(), strict=True):
            self._finish(row, terminated)
        self._begin(after)
        return after

    def _finish(self, row: int, terminated: bool) -> None:
        number = self._begun[row] - 1
        if number < self._quota[row]:
            k = row + self._source.n_envs * number
            self._returns[k], self._steps[k], self._terminated[k] = self._running[row], self._lengths[row], terminated
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, len(self._returns), self._name)
        self._running[row], self._lengths[row] = 0.0, 0

    def _seeds(self, rows: Array) -> list[int]:
        return [episode_seed(self._seed, k) for k in (rows + self._source.n_envs * self._begun[rows]).tolist()]

    def _begin(self, timestep: TimeStep) -> None:
        if np.count_nonzero(timestep.fresh):
            rows = timestep.rows[timestep.fresh]
            self._actor.begin(rows, rows + self._source.n_envs * self._begun[rows] if self._source.seeds_rows else self._begun[rows])
            self._begun[rows] += 1

    def _timed(self, what: str, act: Callable[[], T]) -> T:
        start = time.perf_counter()
        found = act()
        self._times[what] += time.perf_counter() - start
        return found
