"""Experience for training: a policy acts in environments, one vector step at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.envs.actor import Actor, checked_policy
from cervello.envs.counts import checked_count
from cervello.envs.decision import Decision
from cervello.envs.seeding import checked_seed, episode_seed
from cervello.envs.sources import Source, TimeStep, open_source
from cervello.envs.sources.base import put, stack, take
from cervello.envs.spreading import spread
from cervello.errors import ConfigurationError
from cervello.recording.trees import Tree, map_tree
from cervello.spec import Array

_Sent = tuple[Tree, Array, Array, Array, Array, dict[str, Array]]  # observation, sampled action, action, log_prob, version, outputs


@dataclass(slots=True)
class Step:
    """One step of N environments, [N, …]; or T of them, [T, N, …], from `Rollout.columns`.

    Attributes:
      observation: tree of what the action was decided on.
      sampled_action: what was drawn, before clipping or unscaling; `log_prob` belongs to it.
      action: what the environment executed.
      log_prob: float32; 0 for deterministic rows, NaN where unknown and in rows that are not valid.
      reward: float64, as the environment gives it.
      terminated, truncated: bool.
      next_observation: tree of what followed in the same episode; the true last observation where it ended.
      valid: bool, False for a row whose environment only reset itself.
      version: int64, of the policy that decided.
      outputs: by name, all that the policy gave.
      env_id: int64, which environments these are.
    """

    observation: Tree
    sampled_action: Array
    action: Array
    log_prob: Array
    reward: Array
    terminated: Array
    truncated: Array
    next_observation: Tree
    valid: Array
    version: Array
    outputs: dict[str, Array]
    env_id: Array


class Rollout:
    """An iterator over steps; iterating again goes on where it stopped. Made by `rollout`.

    What was yielded has happened, and nothing more: after a break, environments and agents are as the last step left them. The last of all
    steps closes it, as do `close`, the end of a `with` block, and the end of its life.

    Attributes:
      seeds: of the episodes that have begun; None where the environment resets itself and was seeded once.
      empty_masks: rows so far whose mask allowed nothing; it counted as no mask.
    """

    def __init__(self, source: Source, policy: Policy, steps: int, seed: int, deterministic: bool):
        self._source, self._seed, self._left = source, seed, steps
        self._actor = Actor(policy, "rollout", seed, source.seeds_rows, deterministic)
        self._episodes = np.zeros(source.n_envs, np.int64)  # begun in each row
        self._timestep: TimeStep | None = None
        self._sent: _Sent | None = None  # what was sent to every environment last, where only some answer at a time
        self._open = True
        self.seeds: list[int] | None = [] if source.seeds_rows else None
        self.empty_masks = 0

    def __iter__(self) -> Iterator[Step]:
        while self._left > 0:
            step = self._step()
            self._left -= 1
            if not self._left:
                self.close()
            yield step

    def columns(self, steps: int | None = None) -> Step:
        """The next T steps, [T, N, …]: so many, or those that are left.

        Raises:
          ConfigurationError: a number below 1, or no steps are left.
        """
        found = list(islice(self, None if steps is None else checked_count("rollout, columns, steps", steps)))
        if not found:
            raise ConfigurationError("rollout, columns: expected steps that are left, got none; call rollout again")
        return Step(*(stack([getattr(step, each.name) for step in found]) for each in fields(Step)))

    def close(self) -> None:
        """Ends the agents, and closes environments that were made here."""
        if self._open:
            self._open, self._left = False, 0
            self._actor.close()
            self._source.close()

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of a process, or of one that was not made completely
            self.close()

    def __enter__(self) -> Rollout:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _step(self) -> Step:
        before = self._timestep
        if before is None:
            before = self._timestep = self._source.reset(self._seeds if self._source.seeds_rows else None, self._seed)
            self._begin(before)
        rows, decision = before.rows, self._actor.decide(before)
        self.empty_masks += decision.empty_masks
        actions = self._actor.actions(before, decision)
        self._source.tell(rows, decision)
        after = self._timestep = self._source.step(rows, actions)
        if not after.mid_episode:
            self._begin(after)
        sent = _sent(before, decision, actions)
        if len(rows) != self._source.n_envs or (rows is not after.rows and not np.array_equal(rows, after.rows)):
            sent = self._remember(rows, sent, after)
        observation, sampled, action, log_prob, version, outputs = sent
        return Step(observation, sampled, action, log_prob, after.reward, after.terminated, after.truncated, after.next_observation,
                    after.valid, version, outputs, after.rows)

    def _remember(self, rows: Array, sent: _Sent, after: TimeStep) -> _Sent:
        """Keeps what was sent to some environments, and returns what was sent last to those that have answered."""
        if self._sent is None:
            self._sent = map_tree(lambda column: np.zeros((self._source.n_envs, *column.shape[1:]), column.dtype), sent)
        self._sent = put(self._sent, rows, sent)
        observation, sampled, action, log_prob, version, outputs = take(self._sent, after.rows)
        return observation, sampled, action, np.where(after.valid, log_prob, np.float32(np.nan)), version, outputs

    def _seeds(self, rows: Array) -> list[int]:
        """Seeds of the episodes that begin next in rows."""
        assert self.seeds is not None
        found = [episode_seed(self._seed, number) for number in self._numbers(rows).tolist()]
        self.seeds += found
        return found

    def _numbers(self, rows: Array) -> Array:
        """[m] int64: row i's episodes are i, i + N, i + 2 N, …, so that N does not matter."""
        return rows + self._source.n_envs * self._episodes[rows]

    def _begin(self, timestep: TimeStep) -> None:
        """Begins the agents of rows whose episode has just begun; those of the episodes before end."""
        if np.count_nonzero(timestep.fresh):
            rows = timestep.rows[timestep.fresh]
            self._actor.begin(rows, self._numbers(rows) if self._source.seeds_rows else self._episodes[rows])
            self._episodes[rows] += 1


def rollout(env: Any, policy: Policy, *, steps: int, seed: int = 0, n_envs: int | None = None, deterministic: bool = False,
            autoreset: Any = None) -> Rollout:
    """Lets a policy act and yields what happened, step by step. New weights count from the next step on.

        for step in rollout(venv, policy, steps=10_000, seed=0):
            learn(step.observation, step.sampled_action, step.log_prob, step.reward, step.terminated, step.next_observation)

    Args:
      env: an id, a function that makes an environment, an environment, or a vector environment of Gymnasium, Stable-Baselines3 or
        EnvPool. One that is given stays open.
      policy: loaded with `spaces`.
      steps: vector steps; each is N environment steps.
      seed: 0 ≤ seed < 2⁶³; of the episodes, see `episode_seed`, and of the policy's noise beside its own seed.
      n_envs: how many environments are made of an id or a function.
      deterministic: no noise.
      autoreset: what a vector environment does when an episode ends, where its metadata do not say it.
    Raises:
      ConfigurationError: a policy without spaces, or an environment that cannot be stepped.
    """
    n_steps = checked_count("rollout, steps", steps)
    number = checked_seed("rollout", seed)
    source = open_source(env, n_envs, autoreset)
    try:
        checked_policy("rollout, policy", policy, source)
    except ConfigurationError:
        source.close()
        raise
    return Rollout(source, policy, n_steps, number, bool(deterministic))


def _sent(timestep: TimeStep, decision: Decision, actions: Array) -> _Sent:
    """What is sent to rows and the decision behind it, [n, …]; rows that do not act have zeros and NaN."""
    n = len(timestep.rows)
    version = np.empty(n, np.int64)
    version.fill(decision.version)
    drawn, log_prob, outputs = decision.sampled, decision.log_prob, decision.outputs
    if len(decision.places) == n:
        return timestep.observation, drawn, actions, log_prob, version, outputs
    spread_drawn, spread_log_prob = np.zeros((n, *drawn.shape[1:]), drawn.dtype), np.empty(n, np.float32)
    spread_log_prob.fill(np.nan)
    pairs, found = [drawn, spread_drawn, log_prob, spread_log_prob], dict(outputs)
    for name, column in outputs.items():
        if column is drawn:
            found[name] = spread_drawn
        else:
            found[name] = np.zeros((n, *column.shape[1:]), column.dtype)
            pairs += column, found[name]
    spread(timestep.acts, *pairs)
    return timestep.observation, spread_drawn, actions, spread_log_prob, version, found
