"""The arena as a parallel environment of PettingZoo: agents are born and die all the time.

    from cervello.demo.parallel_env import ArenaEnv
    crowd = envs.Crowd(ArenaEnv(max_ticks=200), {"grazer_*": "grazer.onnx", "hunter_*": "hunter.onnx", "scout_*": "scout.onnx"})

Needs the extra `pettingzoo`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from cervello.demo.arena import Arena
from cervello.demo.herd import FloatArray
from cervello.demo.species import SCOUT, SCOUT_DIRECTIONS, SPECIES, Species
from cervello.errors import ConfigurationError


def _spaces() -> dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]]:
    """(observation space, action space) by species; an environment's own, since a space has a random state."""
    found: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {}
    for species in SPECIES:
        action: spaces.Space[Any] = spaces.Discrete(len(SCOUT_DIRECTIONS)) if species is SCOUT else spaces.Box(-1.0, 1.0, (2,), np.float32)
        found[species.name] = spaces.Box(-np.inf, np.inf, species.observation_shape, np.float32), action
    return found


class ArenaEnv(ParallelEnv[str, Any, Any]):  # type: ignore[misc]
    """Grazers, hunters and scouts, each called species_number. A name is never used twice in an episode.

    An agent is terminated when it is caught, starves or has come of age; the others are truncated when the episode is over. There is no
    list of possible agents, since any agent may be born.

    Args:
      max_ticks: length of an episode.

    Raises:
      ConfigurationError: fewer than one tick.
    """

    metadata: dict[str, Any] = {"name": "cervello_arena_v0", "render_modes": []}  # noqa: RUF012  (PettingZoo reads it from the class)
    render_mode = None

    def __init__(self, max_ticks: int = 500):
        if isinstance(max_ticks, bool) or not isinstance(max_ticks, int) or max_ticks < 1:
            raise ConfigurationError(f"ArenaEnv, max_ticks: expected at least 1, got {max_ticks!r}")
        self.max_ticks = max_ticks
        self.agents: list[str] = []
        self._spaces = _spaces()
        self._arena = Arena(0)
        self._seeds = np.random.default_rng()

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The space of an agent's species, the same object each time."""
        return self._spaces[_species(agent)][0]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The space of an agent's species, the same object each time."""
        return self._spaces[_species(agent)][1]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        if seed is not None:
            self._seeds = np.random.default_rng(seed)
        self._arena = Arena(int(self._seeds.integers(1 << 63)))
        self.agents = self._living()
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        arena, before = self._arena, self.agents
        if not before:
            return {}, {}, {}, {}, {}
        rewarded = {species.name: arena.herds[species.name].living() for species in SPECIES}
        outcome = arena.step({species.name: self._column(species, actions) for species in SPECIES}, see=True)
        dead = {f"{name}_{life.agent_id}" for name, lives in outcome.ended.items() for life in lives}
        rewards = [reward for species in SPECIES for reward in arena.herds[species.name].reward[rewarded[species.name]].tolist()]
        seen = {f"{name}_{number}": row for name, rows in outcome.seen.items() for number, row in rows.items()}
        over = arena.tick >= self.max_ticks
        living = self._living()
        observations = {**self._observations(), **{agent: seen[agent] for agent in dead}}
        given = before if over else [*before, *(agent for agent in living if agent not in set(before))]
        self.agents = [] if over else living
        return ({agent: observations[agent] for agent in given}, {**dict.fromkeys(given, 0.0), **dict(zip(before, rewards, strict=True))},
                {agent: agent in dead for agent in given}, {agent: over and agent not in dead for agent in given},
                {agent: {} for agent in given})

    def _column(self, species: Species, actions: dict[str, Any]) -> Any:
        """The actions of a species in the order of its agents."""
        names = [agent for agent in self.agents if _species(agent) == species.name]
        missing = next((agent for agent in names if agent not in actions), None)
        if missing is not None:
            raise ConfigurationError(f"ArenaEnv, step: expected an action for every living agent, got none for {missing!r}")
        if species is SCOUT:
            return np.array([int(actions[agent]) for agent in names], np.int64)
        return np.array([actions[agent] for agent in names], np.float32).reshape(len(names), 2)

    def _living(self) -> list[str]:
        return [f"{species.name}_{number}" for species in SPECIES for number in self._arena.ids(species.name).tolist()]

    def _observations(self) -> dict[str, FloatArray]:
        columns = self._arena.observe()
        rows = [row for species in SPECIES for row in columns[species.name][species.observation_name]]
        return dict(zip(self._living(), rows, strict=True))

    def close(self) -> None:
        """Nothing is open."""

    def state(self) -> Any:
        """There is no global state. Raises NotImplementedError, as PettingZoo asks."""
        raise NotImplementedError("ArenaEnv has no global state")


def _species(agent: str) -> str:
    return agent.rsplit("_", 1)[0]
