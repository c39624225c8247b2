"""Environments by name, and which kind an environment is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import gymnasium

from cervello.errors import ConfigurationError


def makes_environments(env: Any) -> bool:
    """Whether it is a function or class that makes an environment, and not one itself."""
    return isinstance(env, type) or (callable(env) and not hasattr(env, "step"))


def is_game(env: Any) -> bool:
    """Whether it is a parallel or turn-based environment of PettingZoo: one with spaces for each agent."""
    if isinstance(env, (gymnasium.Env, gymnasium.vector.VectorEnv)):
        return False
    return hasattr(env, "agent_iter") or (hasattr(env, "step") and callable(getattr(env, "observation_space", None)))


def is_envpool(env: Any) -> bool:
    """Whether it is a pool of EnvPool."""
    return "envpool" in _packages(env) or hasattr(env, "async_reset")


def is_vec_env(env: Any) -> bool:
    """Whether it is a vector environment of Stable-Baselines3."""
    return "stable_baselines3" in _packages(env) and hasattr(env, "step_async")


def _packages(env: Any) -> set[str]:
    """Names of the packages that define an object's classes."""
    return {kind.__module__.split(".")[0] for kind in type(env).__mro__}


def imported_maker(where: str, name: str) -> Callable[..., Any] | None:
    """The function or class that "module:name" names; None for an id of Gymnasium, with or without a module to import first.

    Raises:
      ConfigurationError: the module cannot be imported, or has no such function and registers no such id.
    """
    module, _, attribute = name.partition(":")
    if not attribute.isidentifier():
        return None
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise ConfigurationError(f"{where}, env: expected module:function of a module that can be imported, got {name!r}: {error}"
                                 ) from error
    if attribute in gymnasium.registry:
        return None
    if not callable(found):
        raise ConfigurationError(f"{where}, env: expected module:function or module:id, got {name!r}; {module} has no function "
                                 f"{attribute!r} and registers no such id")
    return found  # type: ignore[no-any-return]
