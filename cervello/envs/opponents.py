"""A game of several agents as an environment for the learner: policies play the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from cervello.envs.multiagent.assignment import PolicyCache
from cervello.envs.multiagent.inference import Coroutine, run_match
from cervello.envs.multiagent.making import Match, check_action, make_game, make_match, spaces_of
from cervello.envs.multiagent.masks import allowed_actions
from cervello.envs.multiagent.match_mixin import MatchMixin
from cervello.envs.multiagent.parallel_match import LearnerView
from cervello.envs.multiagent.pool import Pool
from cervello.envs.opponents_spec import opponents_spec
from cervello.errors import ConfigurationError


class Opponents(MatchMixin, gymnasium.Env[Any, Any]):
    """A Gymnasium environment out of a PettingZoo one: the caller plays one agent, policies play the others.

        env = envs.Opponents(simple_tag_v3.parallel_env(), learner="agent_0", policies={"adversary_*": {"old.onnx": 1, "new.onnx": 3}})
        PPO("MlpPolicy", env).learn(100_000)
        env.pool("adversary_*").add("newest.onnx", weight=2)

    The learner's end ends the episode. Its reward holds what the others' moves bring, also when one of them ends the game.

    Args:
      env: a parallel or turn-based (AEC) environment of PettingZoo, a function that makes one, or its name, "module:function". It is
        closed with this one.
      learner: the agent that the caller plays; of several, [names], the environment is a smaller `pettingzoo.ParallelEnv` for them
        (`ParallelOpponents`), and the end of the last one ends the episode.
      policies: {pattern: policy, path, `Pool` or {policy or path: weight}}, or a function agent → one of these, called at its birth.
        Paths are loaded with wrappers="auto", the agent's spaces and `seed`; a Policy is used as it is, and needs `spaces`.
      seed: of the draws from pools and of the policies' noise, beside the seed of `reset` and the resets since; a number or several.
      deterministic: the others take no draws.
      per: "episode" draws from a pool once for each pattern and episode, "agent" for each agent at its birth.
      env_kwargs: keyword arguments of the function that makes the environment.
      library: policies that are loaded already; `VectorOpponents` gives its rows the same.

    Attributes:
      learner: as given.
      render_mode: the environment's.
      spec: makes an environment like this one by `gymnasium.make(env.spec)`, also after `to_json` and `from_json`, where `env` is a
        module's function or its name and policies are paths; it refuses Policy objects, and is None for an `env` without a name.
      begun, ended: opponents so far; their difference is how many are alive.

    Raises:
      ConfigurationError: a learner that does not exist, patterns that match no agent or one agent twice, a policy that does not fit.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (Gymnasium reads it from the class)

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        learner = kwargs["learner"] if "learner" in kwargs else args[1] if len(args) > 1 else None
        if isinstance(learner, (list, tuple)) and cls is Opponents:
            from cervello.envs.parallel_opponents import ParallelOpponents  # PettingZoo is an extra

            return ParallelOpponents(*args, **kwargs)
        return super().__new__(cls)

    def __init__(self, env: Any, learner: str | Sequence[str], policies: Any, *, seed: int | Sequence[int] = 0, deterministic: bool = False,
                 per: str = "episode", env_kwargs: Mapping[str, Any] | None = None, library: PolicyCache | None = None):
        if not isinstance(learner, str):
            several = "or several in a list" if type(self) is Opponents else "Opponents itself takes several in a list"
            raise ConfigurationError(f"{type(self).__name__}, learner: expected an agent's name, got {learner!r}; name one of "
                                     f"possible_agents, {several}")
        self.learner = learner
        self._match, self._assignment = make_match(make_game(env, env_kwargs, "Opponents"), (learner,), policies, seed, deterministic, per,
                                                "Opponents", library)
        self.spec = opponents_spec(env, env_kwargs, learner, policies, seed, deterministic, per)
        game = self._match.env
        self.metadata = {"render_modes": [], **(getattr(game, "metadata", None) or {}), "autoreset": False}
        self.render_mode = getattr(game, "render_mode", None)
        self.observation_space, self.action_space = spaces_of(game, learner, "Opponents")
        self._over = True

    @property
    def env(self) -> Any:
        """The PettingZoo environment."""
        return self._match.env

    @property
    def skipped_episodes(self) -> int:
        """Episodes that an opponent ended before the learner's first turn; `reset` began the next one instead."""
        return self._match.skipped_episodes

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        seen = run_match(self._match.reset(seed, options))
        return self.reset_result(seen)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.step_result(run_match(self.step_coroutine(action)))

    def action_masks(self) -> Any:
        """[K] bool, the learner's allowed actions, as sb3-contrib asks for them; all where the game gives no mask or one that allows
        nothing.
        """
        allowed = allowed_actions("Opponents, learner", self.action_space, self._match.learner_masks(self.learner))
        return np.ones(_width(self.action_space), np.bool_) if allowed is None else allowed

    def render(self) -> Any:
        return self._match.env.render()

    def close(self) -> None:
        self._match.close()

    # For VectorOpponents ------------------------------------------------------------------------------------------------

    @property
    def match(self) -> Match:
        """The game that is played."""
        return self._match

    @property
    def pools(self) -> dict[str, Pool]:
        """Pools by pattern."""
        return dict(self._assignment.pools)

    def step_coroutine(self, action: Any) -> Coroutine[LearnerView]:
        """The learner's step as a coroutine, which `run_matches` runs together with those of other games."""
        if self._over:
            raise gymnasium.error.ResetNeeded("Opponents: expected reset before step, got the end of an episode")
        check_action(self.action_space, action, self.learner, "Opponents")
        return self._match.step({self.learner: action})

    def reset_result(self, seen: LearnerView) -> tuple[Any, dict[str, Any]]:
        """The result of `reset`, from what the learner has `seen`. Raises ConfigurationError when the learner's spaces have changed."""
        spaces = spaces_of(self._match.env, self.learner, "Opponents")
        if spaces != (self.observation_space, self.action_space):
            raise ConfigurationError(f"Opponents, learner {self.learner!r}: expected the same spaces after each reset, got "
                                     f"{spaces}, before {(self.observation_space, self.action_space)}; choose a learner whose spaces stay")
        self._over = False
        return seen.observations[self.learner], seen.infos[self.learner]

    def step_result(self, seen: LearnerView) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The result of `step`, from what the learner has `seen`. Raises ConfigurationError when the learner is absent."""
        learner = self.learner
        if learner not in seen.observations:
            self._match.roster.end_all()
            self._over = True
            raise ConfigurationError(f"Opponents, learner {learner!r}: expected its last observation and flags, got it absent after a step")
        terminated, truncated = seen.terminated[learner], seen.truncated[learner]
        if terminated or truncated:
            self._match.roster.end_all()
            self._over = True
        return seen.observations[learner], seen.rewards[learner], terminated, truncated, seen.infos[learner]


def _width(space: Any) -> int:
    """Elements of a mask: actions of a Discrete, those of all choices of a MultiDiscrete."""
    return int(space.n) if hasattr(space, "n") else int(np.sum(getattr(space, "nvec", 1)))
