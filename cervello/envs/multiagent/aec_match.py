"""A PettingZoo turn-based environment in which policies play all agents but one learner."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from cervello.envs.decision import find_game_recorder
from cervello.envs.multiagent.inference import Coroutine, InferenceRequest
from cervello.envs.multiagent.masks import masks_in
from cervello.envs.multiagent.parallel_match import LearnerView, Outcome
from cervello.envs.multiagent.roster import Roster
from cervello.envs.seeding import episode_seed
from cervello.errors import ConfigurationError

_ATTEMPTS = 1000  # episodes in a row without a turn of the learner


class AecMatch:
    """One turn-based environment. Mutable.

    The learner's reward is what the environment has counted for it since its last action, so that it holds what the others' moves bring.
    An agent ends when its flag is seen; its last turn is passed without a decision.

    Args:
      env: of PettingZoo.
      roster: the agents that policies play.
      learners: one agent, or none when policies play all agents.
      where: what messages begin with.

    Attributes:
      agents: the agents that are alive.
      skipped_episodes: those that ended before the learner's first turn.
      dropped_rewards: the learner's in skipped episodes, and those of agents that were born and died in one step.
      empty_masks: decisions whose mask allowed nothing; it counted as no mask.
      outcome: rewards, terminated and truncated of the last turn, by agent, where policies play all agents; without agents that were born
        and died in one step.
    """

    def __init__(self, env: Any, roster: Roster, learners: Sequence[str], where: str):
        if len(learners) > 1:
            raise ConfigurationError(f"{where}, learner: expected one learner in a turn-based environment, got {list(learners)}; use the "
                                     "parallel form of the environment")
        self.env, self.roster, self._where = env, roster, where
        self._learner = learners[0] if learners else None
        self.skipped_episodes = 0
        self.dropped_rewards = 0.0
        self.empty_masks = 0
        self._masks: list[Any] = []
        self._recorder = find_game_recorder(env)
        self.outcome: Outcome = ({}, {}, {})

    @property
    def agents(self) -> list[str]:
        return list(self.env.agents)

    def reset(self, seed: int | None, options: Mapping[str, Any] | None) -> Coroutine[LearnerView]:
        """Begins an episode and plays up to the learner's first turn.

        An episode that another agent ends before the learner's first turn (a fold in poker) is counted, and the next one is begun: with
        a seed that follows from this one, where there is one.
        """
        for attempt in range(_ATTEMPTS):
            given = seed if seed is None or not attempt else episode_seed(int(seed), attempt)
            self.env.reset(seed=given, options=None if options is None else dict(options))
            self.roster.begin_episode(None if attempt else seed)
            seen = yield from self._first_turn()
            if seen is not None:
                return seen
            self.skipped_episodes += 1
        raise ConfigurationError(f"{self._where}, learner: expected a turn of {self._learner!r} after reset, got {_ATTEMPTS} episodes that "
                                 "ended before its first one; choose another learner")

    def _first_turn(self) -> Coroutine[LearnerView | None]:
        """Plays up to the learner's first turn; None where the episode has ended before it. Without a learner nothing is played."""
        if self._learner is not None and self._learner not in self.env.agents:
            raise ConfigurationError(f"{self._where}, learner: expected it among the agents after reset, got {self._learner!r} absent; the "
                                     f"environment has {list(self.env.agents)[:16]}")
        self._births()
        if self._learner is None:
            return LearnerView({}, {}, {}, {}, {})
        yield from self._others()
        seen = self._seen()
        if self._learner not in seen.observations:
            return None
        if seen.terminated[self._learner] or seen.truncated[self._learner]:
            self.dropped_rewards += seen.rewards[self._learner]
            return None
        return seen

    def step(self, actions: Mapping[str, Any]) -> Coroutine[LearnerView]:
        """The learner's action, and the turns of the others up to its next one; without a learner, one agent's turn."""
        if self._learner is None:
            yield from self._turn()
            env, lived = self.env, {agent for agent in self.env.agents if agent in self.roster or self.roster.has_died(agent)}
            rewards, terminated, truncated = ({agent: column[agent] for agent in column if agent in lived}
                                              for column in (env.rewards, env.terminations, env.truncations))
            self.outcome = rewards, terminated, truncated
            return LearnerView({}, {}, {}, {}, {})
        self.env.step(actions[self._learner])
        self._births()
        yield from self._others()
        return self._seen()

    def _others(self) -> Coroutine[None]:
        """Plays the others' turns until it is the learner's."""
        while self.env.agents and self.env.agent_selection != self._learner:
            yield from self._turn()

    def _turn(self) -> Coroutine[None]:
        env, agent = self.env, self.env.agent_selection
        if env.terminations[agent] or env.truncations[agent]:
            if agent not in self.roster:  # born and dead in one step
                self.roster.never_lived += 1
                self.dropped_rewards += float(env.last(observe=False)[1])
            self.roster.death([agent])
            env.step(None)
        else:
            observation, _, _, _, info = env.last()
            if agent not in self.roster:
                raise ConfigurationError(f"{self._where}: expected a turn of an agent that lives, got one of {agent!r}")
            policy, name = self.roster.player(agent)
            mask = info.get("action_mask") if info else None
            [response] = yield [InferenceRequest(policy, [name], [observation], None if mask is None else [mask], self.roster.deterministic,
                                       self._recorder is not None, self.roster.stream)]
            self.empty_masks += response.empty_masks
            if self._recorder is not None:
                self._recorder.tell_agents([agent], response.decision)
            env.step(response.actions[0])
        self._births()

    def _births(self) -> None:
        env = self.env
        new = [agent for agent in env.agents if agent not in self.roster and agent != self._learner]
        if new:
            self.roster.birth(agent for agent in new if not env.terminations.get(agent) and not env.truncations.get(agent))

    def _seen(self) -> LearnerView:
        """The learner's turn, or the end of its episode."""
        learner = self._learner
        assert learner is not None
        if learner not in self.env.agents:
            return LearnerView({}, {}, {}, {}, {})
        observation, reward, terminated, truncated, info = self.env.last()
        self._masks = masks_in(info, observation)
        return LearnerView({learner: observation}, {learner: float(reward)}, {learner: bool(terminated)}, {learner: bool(truncated)},
                    {learner: copy.copy(info or {})})

    def close(self) -> None:
        """Ends all agents and closes the environment."""
        self.roster.end_all()
        self.env.close()

    def learner_masks(self, agent: str) -> list[Any]:
        """The learner's masks, of its info and of its observation."""
        return self._masks
