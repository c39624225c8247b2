"""A policy whose `predict` tells recorders what it decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.envs.decision import Decision, decision_of, find_game_recorder, find_recorders
from cervello.errors import ConfigurationError, InputError
from cervello.spec import Array


class RecordedPolicy:
    """A policy for a loop of `predict` and `step`, of which sampled actions and log-probabilities are recorded.

        env = envs.Recorder(gymnasium.make("CartPole-v1"), "play.log")
        policy = envs.RecordedPolicy(policy, env)
        action, state = policy.predict(observation, state)
        observation, reward, terminated, truncated, info = env.step(action)

    `evaluate_policy` of Stable-Baselines3 takes it in the policy's place.

    Args:
      policy: loaded with the environment's spaces.
      env: an environment with a `Recorder` around it or within its wrappers.

    Attributes:
      policy: as given.
      decision: what the last call of `predict` decided; None before the first.

    Raises:
      ConfigurationError: there is no recorder, or the policy was loaded without `spaces`.
    """

    def __init__(self, policy: Policy, env: Any):
        core_of(policy).binding  # noqa: B018  (raises, with the remedy)
        self.policy = policy
        self._recorders, self._of_agents = find_recorders(env), find_game_recorder(env)
        if not self._recorders and self._of_agents is None:
            raise ConfigurationError(f"RecordedPolicy, env: expected an environment with a Recorder, got {type(env).__name__} without one; "
                                     "wrap it, envs.Recorder(env, path)")
        self.decision: Decision | None = None

    def predict(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False,
                action_masks: Any = None, *, agents: str | Sequence[str] | None = None) -> tuple[Array, Any]:
        """As `Policy.predict`; the recorders are told before it returns.

        Args:
          observation, state, episode_start, deterministic, action_masks: as in `Policy.predict`.
          agents: in an environment of several agents, whose observations these are: a name, or one for each row.
        Raises:
          InputError: as `Policy.predict`; agents that are missing, of another number, or in an environment of one.
        """
        if (agents is None) != (self._of_agents is None):
            expected = "the agents' names" if agents is None else "none in an environment of one agent"
            raise InputError(f"RecordedPolicy, predict, agents: expected {expected}, got {agents!r}")
        policy = self.policy
        found = core_of(policy).decide(observation, state, episode_start, deterministic, action_masks)
        rows = found.n_rows
        names = [] if agents is None else [agents] if isinstance(agents, str) else list(agents)
        if agents is not None and len(names) != rows:
            raise InputError(f"RecordedPolicy, predict, agents: expected {rows}, one for each observation, got {len(names)}")
        stream = None if found.state is None else found.state.stream
        self.decision = decision = decision_of(policy, found.outputs, np.arange(rows), bool(deterministic), stream=stream)
        for recorder in self._recorders:
            recorder.tell(decision)
        if self._of_agents is not None:
            self._of_agents.tell_agents(names, decision)
        return found.actions, found.state
