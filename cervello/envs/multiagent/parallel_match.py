"""A PettingZoo parallel environment in which policies play all agents but the learners."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from cervello.envs.decision import find_game_recorder
from cervello.envs.multiagent.inference import Coroutine, InferenceRequest, InferenceResponse
from cervello.envs.multiagent.masks import masks_in
from cervello.envs.multiagent.roster import Roster
from cervello.errors import ConfigurationError

V = TypeVar("V")
Outcome = tuple[Mapping[str, float], Mapping[str, bool], Mapping[str, bool]]


class LearnerView(NamedTuple):
    """What learners see after a reset or step, by agent; those that are not there are left out. Infos are copies."""

    observations: dict[str, Any]
    rewards: dict[str, float]
    terminated: dict[str, bool]
    truncated: dict[str, bool]
    infos: dict[str, Any]


class ParallelMatch:
    """One parallel environment. Mutable.

    Args:
      env: of PettingZoo.
      roster: the agents that policies play.
      learners: the others; () when policies play all agents.
      where: what messages begin with.

    Attributes:
      agents: the agents that are alive.
      dropped_rewards: of agents that were born and died in one step.
      empty_masks: decisions whose mask allowed nothing; it counted as no mask.
      outcome: rewards, terminated and truncated of the last step, by agent, without those that were born and died in it.
    """

    def __init__(self, env: Any, roster: Roster, learners: Sequence[str], where: str):
        self.env, self.roster, self._learners, self._where = env, roster, tuple(learners), where
        self.agents: list[str] = []
        self.skipped_episodes = 0  # all agents act in the first step
        self.dropped_rewards = 0.0
        self.empty_masks = 0
        self._observations: dict[str, Any] = {}
        self._infos: dict[str, Any] = {}
        self.outcome: Outcome = ({}, {}, {})
        self._recorder = find_game_recorder(env)

    def reset(self, seed: int | None, options: Mapping[str, Any] | None) -> Coroutine[LearnerView]:
        """Begins an episode, also in the midst of another one."""
        observations, infos = self.env.reset(seed=seed, options=None if options is None else dict(options))
        self.roster.begin_episode(seed)
        self._observations, self._infos = observations, infos or {}
        self.agents = list(self.env.agents)
        missing = [agent for agent in self._learners if agent not in self.agents]
        if missing:
            raise ConfigurationError(f"{self._where}, learner: expected it among the agents after reset, got {missing[0]!r} absent; the "
                                     f"environment has {self.agents[:16]}")
        self.roster.birth(agent for agent in self.agents if agent not in self._learners)
        return self._seen({}, {}, {}, self._learners)
        yield  # a generator, as `step` is, that yields no request

    def step(self, actions: Mapping[str, Any]) -> Coroutine[LearnerView]:
        """One step of the environment; `actions` are the learners'."""
        requests = [InferenceRequest(policy, names, [self._observations[a] for a in agents], self._masks(agents), self.roster.deterministic,
                              self._recorder is not None, self.roster.stream)
                     for policy, agents, names in self.roster.groups]
        groups = [agents for _, agents, _ in self.roster.groups]
        responses: list[InferenceResponse] = (yield requests) if requests else []
        given = dict(actions)
        for agents, response in zip(groups, responses, strict=True):
            given.update(zip(agents, response.actions, strict=True))
            self.empty_masks += response.empty_masks
            if self._recorder is not None:
                self._recorder.tell_agents(agents, response.decision)
        there = [agent for agent in self._learners if agent in given]
        observations, rewards, terminated, truncated, infos = self.env.step(given)
        self._observations, self._infos = observations, infos or {}
        self.outcome = rewards, terminated, truncated
        self._update(rewards, terminated, truncated)
        return self._seen(rewards, terminated, truncated, there)

    def _update(self, rewards: Mapping[str, float], terminated: Mapping[str, bool], truncated: Mapping[str, bool]) -> None:
        """Births and deaths of a step."""
        after = list(self.env.agents)
        over = {agent for flags in (terminated, truncated) if any(flags.values()) for agent, flag in flags.items() if flag}
        if after == self.agents and not over:
            return
        before, remaining = set(self.agents), set(after) - over
        never_lived = {agent for agent in over - before - set(self._learners) if not self.roster.has_died(agent)}
        self.roster.death(agent for agent in self.agents if agent not in remaining)
        if never_lived:
            self.roster.never_lived += len(never_lived)
            self.dropped_rewards += sum(float(rewards.get(agent, 0.0)) for agent in never_lived)
            self.outcome = _without(rewards, never_lived), _without(terminated, never_lived), _without(truncated, never_lived)
        self.roster.birth(agent for agent in after if agent in remaining and agent not in before and agent not in self._learners)
        self.agents = [agent for agent in after if agent in remaining]

    def _seen(self, rewards: Mapping[str, float], terminated: Mapping[str, bool], truncated: Mapping[str, bool], there: Sequence[str],
              ) -> LearnerView:
        seen = LearnerView({}, {}, {}, {}, {})
        for agent in there:
            if agent not in self._observations:
                raise ConfigurationError(f"{self._where}, learner {agent!r}: expected its observation from the environment, got none")
            seen.observations[agent] = self._observations[agent]
            seen.rewards[agent] = float(rewards.get(agent, 0.0))
            seen.terminated[agent] = bool(terminated.get(agent, False))
            seen.truncated[agent] = bool(truncated.get(agent, False)) or (not seen.terminated[agent] and agent not in self.env.agents)
            seen.infos[agent] = copy.copy(self._infos.get(agent) or {})
        return seen

    def _masks(self, agents: Sequence[str]) -> list[Any] | None:
        infos = self._infos
        if not any(infos.values()):
            return None
        found = [info.get("action_mask") if (info := infos.get(agent)) else None for agent in agents]
        return found if any(mask is not None for mask in found) else None

    def close(self) -> None:
        """Ends all agents and closes the environment."""
        self.roster.end_all()
        self.env.close()

    def learner_masks(self, agent: str) -> list[Any]:
        """A learner's masks, of its info and of its observation."""
        return masks_in(self._infos.get(agent), self._observations.get(agent))


def _without(column: Mapping[str, V], agents: set[str]) -> dict[str, V]:
    return {agent: value for agent, value in column.items() if agent not in agents}
