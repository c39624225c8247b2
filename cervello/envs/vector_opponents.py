"""Many games against policies at once: one batch per policy across all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from cervello.envs.autoreset import checked_mode
from cervello.envs.counts import checked_count
from cervello.envs.multiagent.assignment import PolicyCache
from cervello.envs.multiagent.inference import run_matches
from cervello.envs.multiagent.making import make_game
from cervello.envs.multiagent.pool import Pool
from cervello.envs.named import makes_environments
from cervello.envs.opponents import Opponents
from cervello.envs.seeding import checked_seeds, row_seeds
from cervello.errors import ConfigurationError, InputError
from cervello.spec import Array


class VectorOpponents(VectorEnv[Any, Any, Any]):
    """n games as a vector environment of Gymnasium. Row i is `Opponents(make_env(), …, seed=(seed, i))`, bit for bit.

    `gymnasium.make_vec` makes one of the `spec` of an `Opponents`, or of a registration whose `vector_entry_point` is
    "cervello.envs:make_vector_opponents".

    Args:
      make_env: makes one PettingZoo environment.
      n: how many.
      learner, policies, deterministic, per: as in `Opponents`; pools are shared by all rows.
      seed: of all rows; of several numbers, row i has (*seed, i).
      autoreset: "next_step" or "same_step", or a mode of Gymnasium.

    Attributes:
      render_mode: the environments'.
      innermost_rewards: [N] float64, the learners' of the last step, whatever wrappers around this make of them.

    Raises:
      ConfigurationError: as in `Opponents`; an n below 1, or another mode.
    """

    def __init__(self, make_env: Callable[[], Any], n: int, *, learner: str, policies: Any, seed: int | Sequence[int] = 0,
                 deterministic: bool = False, per: str = "episode", autoreset: Any = AutoresetMode.NEXT_STEP):
        n = checked_count("VectorOpponents, n", n)
        if not isinstance(learner, str):
            raise ConfigurationError(f"VectorOpponents, learner: expected an agent's name, got {learner!r}; Opponents takes several "
                                     "learners, as a parallel environment")
        self._mode = checked_mode("VectorOpponents, autoreset", autoreset)
        if self._mode is AutoresetMode.DISABLED:
            raise ConfigurationError("VectorOpponents, autoreset: expected 'next_step' or 'same_step', got 'disabled'")
        base = checked_seeds("VectorOpponents", seed)
        library = PolicyCache(base[0])
        pools: Any = policies
        self.envs: list[Opponents] = []
        for i in range(n):
            env = Opponents(make_env(), learner, pools, seed=(*base, i), deterministic=deterministic, per=per, library=library)
            if not callable(policies):
                pools = env.pools  # the same objects for all rows
            self.envs.append(env)
        first = self.envs[0]
        self.num_envs = n
        self.metadata = {**first.metadata, "autoreset_mode": self._mode}
        self.render_mode = first.render_mode
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)
        self._ended = np.zeros(n, np.bool_)
        self.innermost_rewards: Array = np.zeros(n)

    def pool(self, pattern: str) -> Pool:
        """The pool of a pattern, as `Opponents.pool`; one for all rows."""
        return self.envs[0].pool(pattern)

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        seeds = row_seeds(seed, self.num_envs)
        if len(seeds) != self.num_envs:
            raise ConfigurationError(f"VectorOpponents, reset: expected {self.num_envs} seeds, got {len(seeds)}")
        found = self._reset_rows(range(self.num_envs), seeds, options)
        self._ended[:] = False
        infos: dict[str, Any] = {}
        for i, (_, info) in enumerate(found):
            infos = self._add_info(infos, info, i)
        return self._joined([observation for observation, _ in found]), infos

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """One step of every game. Raises InputError for another number of actions, or one outside the space."""
        n = self.num_envs
        given = list(iterate(self.action_space, actions))
        if len(given) != n:
            raise InputError(f"VectorOpponents, step: expected {n} actions, one for each game, got {len(given)}")
        reward, terminated, truncated = np.zeros(n), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        observations: list[Any] = [None] * n
        infos: dict[str, Any] = {}
        # Rows that only begin another episode ask together with those that step.
        matches = [env.match.reset(None, None) if self._ended[i] else env.step_coroutine(given[i]) for i, env in enumerate(self.envs)]
        later: list[tuple[int, dict[str, Any]]] = []
        for i, (env, seen) in enumerate(zip(self.envs, run_matches(matches), strict=True)):
            if self._ended[i]:
                observations[i], info = env.reset_result(seen)
            else:
                observations[i], reward[i], terminated[i], truncated[i], info = env.step_result(seen)
            later.append((i, info))
        self.innermost_rewards = reward.copy()
        ended = terminated | truncated
        if self._mode is AutoresetMode.SAME_STEP and ended.any():
            rows = np.flatnonzero(ended).tolist()
            for row, (observation, info) in zip(rows, self._reset_rows(rows, [None] * len(rows), None), strict=True):
                infos = self._add_info(infos, {"final_obs": observations[row], "final_info": later[row][1]}, row)
                observations[row], later[row] = observation, (row, info)
        self._ended = ended if self._mode is AutoresetMode.NEXT_STEP else np.zeros(n, np.bool_)
        for i, info in later:
            infos = self._add_info(infos, info, i)
        return self._joined(observations), reward, terminated, truncated, infos

    def action_masks(self) -> Array:
        """[N, K] bool, the learners' allowed actions."""
        return np.stack([env.action_masks() for env in self.envs])

    def _reset_rows(self, rows: Sequence[int], seeds: Sequence[int | None], options: dict[str, Any] | None) -> list[tuple[Any, Any]]:
        seen = run_matches([self.envs[row].match.reset(seed, options) for row, seed in zip(rows, seeds, strict=True)])
        return [self.envs[row].reset_result(each) for row, each in zip(rows, seen, strict=True)]

    def _joined(self, observations: list[Any]) -> Any:
        out = create_empty_array(self.single_observation_space, self.num_envs)
        return concatenate(self.single_observation_space, observations, out)  # type: ignore[arg-type]

    def render(self) -> Any:
        return tuple(env.render() for env in self.envs)

    def close_extras(self, **_: Any) -> None:
        """Ends all agents and closes the environments."""
        for env in self.envs:
            env.close()


def make_vector_opponents(num_envs: int = 1, *, env: Any, env_kwargs: Mapping[str, Any] | None = None, max_episode_steps: int | None = None,
                          **options: Any) -> VectorOpponents:
    """The `vector_entry_point` for `gymnasium.register("…", "cervello.envs:Opponents", …)`: takes the arguments of `Opponents`.

    Args:
      num_envs: how many games.
      env: a function that makes an environment, or its name, "module:function".
      env_kwargs: keyword arguments of that function.
      max_episode_steps: None; games that must end sooner say so in `env_kwargs`.
      options: of `VectorOpponents`.

    Raises:
      ConfigurationError: an environment that is there already, or a limit of steps.
    """
    if max_episode_steps is not None:
        raise ConfigurationError(f"make_vector_opponents, max_episode_steps: expected None, got {max_episode_steps}; limit the game by its "
                                 "env_kwargs, or use vectorization_mode='sync'")
    if not isinstance(env, str) and not makes_environments(env):
        raise ConfigurationError(f"make_vector_opponents, env: expected a function that makes an environment, or its name, got "
                                 f"{env!r:.100}; every game needs one of its own")
    return VectorOpponents(partial(make_game, env, env_kwargs, "VectorOpponents"), num_envs, **options)
