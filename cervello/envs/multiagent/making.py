"""A match out of a PettingZoo environment, and what is checked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium.spaces import Discrete, MultiBinary, MultiDiscrete

from cervello.envs.multiagent.aec_match import AecMatch
from cervello.envs.multiagent.assignment import PolicyAssignment, PolicyCache
from cervello.envs.multiagent.parallel_match import ParallelMatch
from cervello.envs.multiagent.roster import Roster
from cervello.envs.named import imported_maker, is_game, makes_environments
from cervello.envs.seeding import checked_seeds
from cervello.errors import ConfigurationError, InputError

Match = ParallelMatch | AecMatch


def make_game(env: Any, env_kwargs: Mapping[str, Any] | None, where: str) -> Any:
    """The environment that is given, or the one that a function or name makes.

    Raises:
      ConfigurationError: no environment of PettingZoo, an unknown name, or arguments for one that is there already.
    """
    found = env
    if isinstance(env, str):
        found = imported_maker(where, env)
        if found is None:
            raise ConfigurationError(f"{where}, env: expected an environment of PettingZoo or 'module:function', got {env!r}")
    if makes_environments(found):
        found = found(**(env_kwargs or {}))
    elif env_kwargs:
        raise ConfigurationError(f"{where}, env_kwargs: expected none for an environment that is there, got {dict(env_kwargs)}; give the "
                                 "function that makes it")
    if not is_game(found):
        raise ConfigurationError(f"{where}, env: expected a parallel or turn-based environment of PettingZoo, got {type(found).__name__}")
    return found


def make_match(game: Any, learners: Sequence[str], policies: Any, seed: int | Sequence[int], deterministic: bool, per: str, where: str,
               library: PolicyCache | None = None) -> tuple[Match, PolicyAssignment]:
    """A match of a PettingZoo environment, checked as far as its possible agents allow."""
    numbers = checked_seeds(where, seed)
    turn_based = hasattr(game, "agent_iter")
    assignment = PolicyAssignment(policies, library or PolicyCache(numbers[0]), per, where)
    possible = list(getattr(game, "possible_agents", None) or ())
    if possible:
        for learner in learners:
            if learner not in possible:
                raise ConfigurationError(f"{where}, learner: expected an agent among {possible[:16]}, got {learner!r}")
        assignment.check([agent for agent in possible if agent not in learners])
    roster = Roster(game, assignment, numbers, deterministic, where)
    match: Match = AecMatch(game, roster, learners, where) if turn_based else ParallelMatch(game, roster, learners, where)
    return match, assignment


def spaces_of(env: Any, agent: str, where: str) -> tuple[Any, Any]:
    """An agent's (observation space, action space). Raises ConfigurationError when the environment has none for it."""
    try:
        return env.observation_space(agent), env.action_space(agent)
    except (KeyError, LookupError, AttributeError, AssertionError) as error:
        raise ConfigurationError(f"{where}, learner: expected an agent of the environment, got {agent!r}; spaces are missing for it "
                                 f"({error!r:.100})") from error


def check_action(space: Any, action: Any, learner: str, where: str) -> None:
    """Raises InputError for an action outside a space of whole numbers. Bounds of a Box are left to the environment, which may clip."""
    if isinstance(space, (Discrete, MultiDiscrete, MultiBinary)) and not space.contains(action):
        raise InputError(f"{where}, learner {learner!r}: expected an action of {space}, got {action!r:.100}; check what gave it")
