"""What Gymnasium needs to make a game against policies once more: names and paths, no objects."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from gymnasium.envs.registration import EnvSpec

from cervello.agents import Policy
from cervello.envs.multiagent.pool import Pool
from cervello.envs.named import makes_environments
from cervello.errors import ConfigurationError

ID = "cervello/Opponents-v0"
_MAKER, _VECTOR_MAKER = "cervello.envs:Opponents", "cervello.envs:make_vector_opponents"


class _NotRecorded(Exception):
    """Policies that are not paths; holds what was expected instead of them."""


class Refused:
    """An entry point that cannot make the environment, and says why. Immutable."""

    def __init__(self, message: str):
        self._message = message

    def __repr__(self) -> str:
        return f"<{self._message}>"

    def __call__(self, **_: Any) -> NoReturn:
        raise ConfigurationError(self._message)


def opponents_spec(env: Any, env_kwargs: Mapping[str, Any] | None, learner: str, policies: Any, seed: int | Sequence[int],
                   deterministic: bool, per: str) -> EnvSpec | None:
    """The spec with which `gymnasium.make` makes an `Opponents` like this one, bit for bit, and `gymnasium.make_vec` many of them; entries
    added to pools later are not in it.

    It is None where the environment is an object, or a function that no module names. Where policies are not paths, its entry point
    refuses, with the remedy.
    """
    name = _name(env)
    if name is None:
        return None
    try:
        options: dict[str, Any] = {"env": name, "learner": learner, "policies": _paths(policies),
                                   "seed": [int(each) for each in seed] if isinstance(seed, Sequence) else int(seed),
                                   "deterministic": bool(deterministic), "per": per}
    except _NotRecorded as missing:
        refused = Refused(f"Opponents, spec: {missing}")
        return EnvSpec(ID, entry_point=refused, vector_entry_point=refused, order_enforce=False, disable_env_checker=True)
    if env_kwargs:
        options["env_kwargs"] = dict(env_kwargs)
    return EnvSpec(ID, entry_point=_MAKER, vector_entry_point=_VECTOR_MAKER, order_enforce=False, disable_env_checker=True, kwargs=options)


def _name(env: Any) -> str | None:
    """The environment's function as "module:function"; None where there is no such name."""
    if isinstance(env, str):
        return env
    if not makes_environments(env):
        return None
    module, name = getattr(env, "__module__", None), getattr(env, "__qualname__", "")
    if module and getattr(sys.modules.get(module), name, None) is env:
        return f"{module}:{name}"
    # The functions of PettingZoo's games are made by another function, so that they do not know their own names.
    for name in ("parallel_env", "env"):
        owners = [each for each, loaded in list(sys.modules.items()) if getattr(loaded, "__dict__", {}).get(name) is env]
        if owners:
            return f"{min(owners)}:{name}"
    return None


def _paths(policies: Any) -> dict[str, Any]:
    """{pattern: path or {path: weight}}."""
    if not isinstance(policies, Mapping):
        raise _NotRecorded(f"expected policies as {{pattern: path}}, got {policies!r:.100}")
    found: dict[str, Any] = {}
    for pattern, given in policies.items():
        entries = list(given) if isinstance(given, Pool) else list(given.items()) if isinstance(given, Mapping) else [(given, 1.0)]
        paths: dict[str, float] = {}
        for entry, weight in entries:
            if isinstance(entry, Policy):
                raise _NotRecorded(f"expected paths, which can be loaded once more, got the policy {entry.name!r} for {pattern!r}; give "
                                   "its file's path")
            paths[os.fspath(entry)] = float(weight)
        found[pattern] = paths
    return found
