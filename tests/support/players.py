"""Policies for whatever spaces the agents of a game have, with random weights; and what they were asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from small_models import FLOAT, graph, node

import cervello
from cervello import envs


def model(observation: Any, action: Any, name: str = "obs", gain: float = 1.0, favoured: Sequence[int] = (),
          squashed: bool = False) -> bytes:
    """name [N, *shape of a Box] → logits [N, n] for a Discrete, or action [N, *shape] for a Box, linear in the observation.

    Args:
      gain: what is given has about this deviation for observations that fill their bounds.
      favoured: actions whose logits are larger by 5.
      squashed: whether tanh comes last, as in SAC and TD3.
    """
    row = tuple(observation.shape)
    size, scale = int(np.prod(row)), float(np.abs(observation.high).max())
    discrete = hasattr(action, "n")
    shape = (int(action.n),) if discrete else tuple(action.shape)
    bias = np.zeros(shape, np.float32)
    bias[list(favoured)] = 5
    weights = np.random.default_rng(0).standard_normal((size, bias.size)) * gain / np.sqrt(size) / (scale if np.isfinite(scale) else 1)
    out = "logits" if discrete else "action"
    nodes = [node("Flatten", name, "rows"), node("MatMul", "rows w", "z"), node("Reshape", "z shape", "shaped"),
             node("Add", "shaped b", "sum"), node("Tanh" if squashed else "Identity", "sum", out)]
    return graph(nodes, {name: (FLOAT, ("N", *row))}, {out: (FLOAT, ("N", *shape))},
                 {"w": weights.astype(np.float32), "b": bias, "shape": np.array([-1, *shape], np.int64)})


class Players:
    """Gives each agent of a PettingZoo environment a policy that fits its spaces; agents of equal spaces share one.

    Args:
      env: whose spaces are asked for at each birth.
      gain: of the policies.
      favour: {how agents' names begin: actions that they favour}; these agents have a policy of their own.
      options: of `Spaces`.

    Attributes:
      policies: so far.
      inferred: agents that were decided for, by their names within the policies, one list for each batch.
    """

    def __init__(self, env: Any, *, gain: float = 1.0, favour: Mapping[str, Sequence[int]] | None = None, **options: Any):
        self._env, self._gain, self._favour, self._options = env, gain, favour or {}, options
        self.policies: dict[str, cervello.Policy] = {}
        self.inferred: list[list[str]] = []

    def __call__(self, agent: str) -> cervello.Policy:
        observation, action = self._env.observation_space(agent), self._env.action_space(agent)
        team = next((each for each in self._favour if agent.startswith(each)), "")
        key = f"{team} {observation} {action}"
        if key not in self.policies:
            self.policies[key] = self._load(observation, action, self._favour.get(team, ()))
        return self.policies[key]

    def _load(self, observation: Any, action: Any, favoured: Sequence[int]) -> cervello.Policy:
        name, part = ("observation", observation["observation"]) if hasattr(observation, "spaces") else ("obs", observation)
        data = model(part, action, name, self._gain, favoured, self._options.get("box") == "unscale")
        policy = cervello.load(data, wrappers="auto", seed=1, spaces=envs.Spaces((observation, action), **self._options))
        decide = policy.infer_batch

        def listening(ids: Any, *arguments: Any, **options: Any) -> Any:
            self.inferred.append(list(ids))
            return decide(ids, *arguments, **options)

        policy.infer_batch = listening  # type: ignore[method-assign]
        return policy

    @property
    def alive(self) -> int:
        """Agents that have begun in the policies and not ended."""
        return sum(map(len, self.policies.values()))

    def heard(self) -> int:
        """How many agents were decided for since the last call."""
        count = sum(map(len, self.inferred))
        self.inferred.clear()
        return count


def checked_step(crowd: envs.Crowd, players: Players) -> int:
    """One step of a parallel game: all who lived were decided for, once each, and as many have begun and not ended as live now.

    Returns:
      how many live.
    """
    before = len(crowd.env.agents)
    crowd.step()
    assert players.heard() == before
    assert crowd.begun - crowd.ended == players.alive == len(crowd.env.agents) == len(crowd.agents)
    return players.alive


def checked_turn(crowd: envs.Crowd, players: Players) -> bool:
    """One turn of a turn-based game: a dead agent is not decided for, and leaves.

    Returns:
      whether it was a dead one's.
    """
    env = crowd.env
    agent = env.agent_selection
    dead = bool(env.terminations[agent] or env.truncations[agent])
    crowd.step()
    assert players.heard() == (not dead)
    assert crowd.begun - crowd.ended == players.alive
    assert (agent in env.agents) != dead
    return dead
