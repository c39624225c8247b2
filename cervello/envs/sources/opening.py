"""Which source an environment is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.wrappers import TimeLimit

from cervello.envs.autoreset import autoreset_mode
from cervello.envs.sources.base import Source
from cervello.envs.sources.env_list import EnvList
from cervello.envs.sources.envpool import EnvPool
from cervello.envs.sources.gymnasium_vector import GymnasiumVector
from cervello.envs.sources.stable_baselines import StableBaselinesVector
from cervello.errors import ConfigurationError


def open_source(env: Any, n_envs: int | None = None, autoreset: Any = None, innermost: bool = False,
                max_steps: int | None = None) -> Source:
    """The environments to step.

    Args:
      env: the id of a registered environment, a function that makes one, an environment, or a vector environment of Gymnasium,
        Stable-Baselines3 or EnvPool.
      n_envs: how many are made of an id or a function; 1 when not given.
      autoreset: what a vector environment does when an episode ends, where its metadata do not say.
      innermost: whether rewards within all wrappers are asked for.
      max_steps: single environments are truncated after so many steps.
    Raises:
      ConfigurationError: it is none of these, or n_envs is given for one that is made already.
    """
    if isinstance(env, str) or (callable(env) and not hasattr(env, "step")):
        make: Callable[[], Any] = env if callable(env) else lambda: gymnasium.make(env)
        return EnvList([_single(make(), max_steps) for _ in range(_count(1 if n_envs is None else n_envs))], True, innermost)
    if n_envs is not None:
        raise ConfigurationError(f"n_envs: expected none for an environment that is there, got {n_envs}; give an id or a function")
    if max_steps is not None and not isinstance(env, gymnasium.Env):
        raise ConfigurationError(f"max_steps: expected none for a vector environment, got {max_steps}; give its parts a TimeLimit")
    modules = {kind.__module__.split(".")[0] for kind in type(env).__mro__}
    if "envpool" in modules or (hasattr(env, "async_reset") and hasattr(env, "recv")):
        return EnvPool(env)
    if "stable_baselines3" in modules and hasattr(env, "step_async"):
        return StableBaselinesVector(env, innermost)
    if isinstance(env, gymnasium.vector.VectorEnv):
        return GymnasiumVector(env, autoreset_mode(env, autoreset), innermost)
    return EnvList([_single(env, max_steps)], False, innermost)


def _single(env: Any, max_steps: int | None) -> Any:
    if not isinstance(env, gymnasium.Env):
        raise ConfigurationError(f"env: expected an id, a function that makes an environment, an environment or a vector environment of "
                                 f"Gymnasium, Stable-Baselines3 or EnvPool, got {type(env).__name__}")
    return env if max_steps is None else TimeLimit(env, max_steps)


def _count(n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConfigurationError(f"n_envs: expected at least 1, got {n!r}")
    return n
