"""Which source an environment is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import TimeLimit

from cervello.envs.autoreset import autoreset_mode, checked_mode
from cervello.envs.counts import checked_count
from cervello.envs.named import is_envpool, is_game, is_vec_env
from cervello.envs.sources.base import Source
from cervello.envs.sources.env_list import EnvList
from cervello.envs.sources.envpool import EnvPool
from cervello.envs.sources.gymnasium_vector import GymnasiumVector
from cervello.envs.sources.stable_baselines import StableBaselinesVector
from cervello.envs.sources.supersuit import SuperSuitVector
from cervello.errors import ConfigurationError


def open_source(env: Any, n_envs: int | None = None, autoreset: Any = None, innermost: bool = False,
                max_steps: int | None = None) -> Source:
    """The environments to step.

    Args:
      env: the id of a registered environment, an environment, a vector environment of Gymnasium, Stable-Baselines3 or EnvPool, or a
        function that makes one of these; what a function makes is closed with the source.
      n_envs: how many are made of an id or of a function that makes single environments; 1 when not given.
      autoreset: what a vector environment does when an episode ends, where its metadata do not say.
      innermost: whether rewards within all wrappers are asked for.
      max_steps: single environments are truncated after so many steps.
    Raises:
      ConfigurationError: it is none of these, or an option does not go with it.
    """
    if isinstance(env, (str, type)) or (callable(env) and not hasattr(env, "step")):
        make: Callable[[], Any] = env if callable(env) else lambda: _registered(env)
        n = 1 if n_envs is None else checked_count("n_envs", n_envs)
        first = make()
        try:
            vector = _vector(first, autoreset, innermost, max_steps, True)
        except BaseException:
            _close([first])
            raise
        if vector is None:
            return _env_list(first, make, n, innermost, max_steps)
        if n_envs is None:
            return vector
        vector.close()
    elif n_envs is None:
        return _vector(env, autoreset, innermost, max_steps, False) or EnvList([_single(env, max_steps)], False, innermost)
    raise ConfigurationError(f"n_envs: expected none for an environment that is there or makes many, got {n_envs}; give an id, or a "
                             "function that makes a single one")


def _env_list(first: Any, make: Callable[[], Any], n: int, innermost: bool, max_steps: int | None) -> EnvList:
    """The source of n single environments, `first` and those that are made here. All are closed when one cannot be taken."""
    made = [first]
    try:
        while len(made) < n:
            made.append(make())
        return EnvList([_single(each, max_steps) for each in made], True, innermost)
    except BaseException:
        _close(made)
        raise


def _close(made: list[Any]) -> None:
    """Closes what was made here; a function may make something else than environments."""
    for each in made:
        if hasattr(each, "close"):
            each.close()


def _vector(env: Any, autoreset: Any, innermost: bool, max_steps: int | None, close: bool) -> Source | None:
    """The source of a vector environment; None for a single one."""
    from_supersuit = type(env).__module__.startswith("supersuit.vector")
    from_pool, from_sb3 = is_envpool(env), is_vec_env(env)
    if not (from_pool or from_sb3 or from_supersuit or isinstance(env, gymnasium.vector.VectorEnv)):
        if autoreset is not None:
            raise ConfigurationError(f"autoreset: expected none for single environments, which are reset here, got {autoreset!r}")
        return None
    if max_steps is not None:
        raise ConfigurationError(f"max_steps: expected none for a vector environment, got {max_steps}; give its parts a TimeLimit")
    if from_pool:
        if not isinstance(env, gymnasium.Env):
            raise ConfigurationError(f"env: expected an EnvPool of Gymnasium's interface, got {type(env).__name__}; make it with "
                                     "env_type='gymnasium'")
        _check_mode(autoreset, AutoresetMode.NEXT_STEP, "EnvPool")
        return EnvPool(env, close)
    if from_supersuit:
        _check_mode(autoreset, AutoresetMode.SAME_STEP, "SuperSuit")
        return SuperSuitVector(env, close)
    if from_sb3:
        _check_mode(autoreset, AutoresetMode.SAME_STEP, "a VecEnv")
        return StableBaselinesVector(env, innermost, close)
    return GymnasiumVector(env, autoreset_mode(env, autoreset), innermost, close)


def _check_mode(given: Any, mode: AutoresetMode, whose: str) -> None:
    if given is not None and checked_mode("autoreset", given) is not mode:
        raise ConfigurationError(f"autoreset: expected {mode.name.lower()!r}, as {whose} does, got {given!r}; leave it out")


def _registered(name: str) -> Any:
    try:
        return gymnasium.make(name)
    except gymnasium.error.Error as error:
        raise ConfigurationError(f"env: expected the id of a registered environment, got {name!r}: {error}") from error


def _single(env: Any, max_steps: int | None) -> Any:
    if not isinstance(env, gymnasium.Env):
        remedy = "; envs.Opponents and envs.VectorOpponents make one of a game, envs.Crowd plays it" if is_game(env) else ""
        raise ConfigurationError(f"env: expected an id, a function that makes an environment, an environment or a vector environment of "
                                 f"Gymnasium, Stable-Baselines3 or EnvPool, got {type(env).__name__}{remedy}")
    return env if max_steps is None else TimeLimit(env, max_steps)
