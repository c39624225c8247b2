"""A turn-based game in which every move pays everybody: what is paid between two turns of an agent belongs to its last action."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import games
import gymnasium
import numpy as np
import pytest

from cervello import envs, recording

pettingzoo = pytest.importorskip("pettingzoo")
AGENTS, MOVES = ["a", "b", "c"], 7


def paid(move: int, agent: str) -> float:
    """Of no two moves and agents the same, nor of any two sums of moves."""
    return 2.0**move * 1000.0 ** AGENTS.index(agent)


class Paying(pettingzoo.AECEnv):  # type: ignore[misc, name-defined]
    """Agents move in turn; the seventh move ends the game for all."""

    metadata = {"name": "paying"}  # noqa: RUF012
    possible_agents = AGENTS
    render_mode = None

    def observation_space(self, agent: str) -> Any:
        return gymnasium.spaces.Box(-1, 9, (2,))

    def action_space(self, agent: str) -> Any:
        return gymnasium.spaces.Discrete(3)

    def reset(self, seed: Any = None, options: Any = None) -> None:
        self.agents, self.moves, self.agent_selection = list(AGENTS), 0, "a"
        self.rewards, self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0), dict.fromkeys(AGENTS, 0.0)
        self.terminations, self.truncations = dict.fromkeys(AGENTS, False), dict.fromkeys(AGENTS, False)
        self.infos: dict[str, Any] = {agent: {} for agent in AGENTS}

    def observe(self, agent: str) -> Any:
        return np.array([self.moves, AGENTS.index(agent)], np.float32)

    def step(self, action: Any) -> None:
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0.0
        self.rewards = {each: paid(self.moves, each) for each in AGENTS}
        self.moves += 1
        self.terminations = dict.fromkeys(AGENTS, self.moves == MOVES)
        self.agent_selection = AGENTS[self.moves % 3]
        self._accumulate_rewards()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(games.linear(2, 3))
    return path


def from_first_turn(agent: str) -> float:
    """What an agent gets for its actions; what is paid before its first turn is paid for none."""
    return sum(paid(move, agent) for move in range(AGENTS.index(agent), MOVES))


@pytest.mark.parametrize("learner", AGENTS)
def test_a_learner_is_paid_once_for_every_move_since_its_first_one(model: Path, learner: str) -> None:
    env = envs.Opponents(Paying(), learner, {f"[!{learner}]": model})
    for _ in range(2):
        env.reset()
        rewards, over = [], False
        while not over:
            _, reward, over, _, _ = env.step(0)
            rewards.append(reward)
        first = AGENTS.index(learner)
        assert rewards[0] == sum(paid(move, learner) for move in range(first, first + 3))
        assert sum(rewards) == from_first_turn(learner)


def test_a_crowd_counts_every_payment_once(model: Path) -> None:
    crowd = envs.Crowd(Paying(), {"*": model})
    for _ in range(2):
        steps = list(crowd)
        assert crowd.returns == {agent: sum(paid(move, agent) for move in range(MOVES)) for agent in AGENTS}
        assert [step.rewards["b"] for step in steps[:MOVES]] == [paid(move, "b") for move in range(MOVES)]


def test_recorded_rewards_are_those_of_the_actions_beside_them(model: Path, tmp_path: Path) -> None:
    crowd = envs.Crowd(envs.Recorder(Paying(), tmp_path / "log"), {"*": model})
    list(crowd)
    crowd.close()
    lives = {str(each.agent): each for each in recording.read(tmp_path / "log")}
    assert sorted(lives) == AGENTS
    for first, agent in enumerate(AGENTS):
        turns = [*range(first, MOVES, 3), MOVES]
        expected = [sum(paid(move, agent) for move in range(turn, min(turn + 3, MOVES))) for turn in turns[:-1]]
        assert lives[agent].rewards.tolist() == expected
        assert lives[agent].observations[:, 0].tolist() == turns
        assert lives[agent].terminations.tolist() == [False] * (len(expected) - 1) + [True]
