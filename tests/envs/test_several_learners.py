"""Several learners in a game whose others are policies: a smaller parallel environment."""

from __future__ import annotations

import importlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import games
import gymnasium
import numpy as np
import pytest

from cervello import ConfigurationError, InputError, envs

pettingzoo = pytest.importorskip("pettingzoo")

LEARNERS = ["agent_0", "adversary_1"]


def tag() -> Any:
    return pytest.importorskip("mpe2.simple_tag_v3", reason="mpe2").parallel_env(max_cycles=20)


@pytest.fixture
def chaser(tmp_path: Path) -> str:
    path = tmp_path / "chaser.onnx"
    path.write_bytes(games.linear(16, 5))
    return str(path)


def test_learners_keep_their_order_and_pass_the_checks_of_pettingzoo(chaser: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of PettingZoo's own tests
        test = importlib.import_module("pettingzoo.test")
    env: Any = envs.Opponents(tag(), learner=LEARNERS, policies={"adversary_*": {chaser: 1}}, seed=7)
    assert isinstance(env, pettingzoo.ParallelEnv)
    assert env.possible_agents == LEARNERS
    test.parallel_api_test(env, num_cycles=50)
    env.pool("adversary_*").add(chaser, weight=2)
    env.close()
    assert env.begun == env.ended > 0


def test_vectors_and_subclasses_take_one_learner(chaser: str) -> None:
    class Own(envs.Opponents):
        pass

    for make in (lambda: envs.VectorOpponents(tag, 2, learner=LEARNERS, policies=chaser),  # type: ignore[arg-type]
                 lambda: Own(tag(), learner=LEARNERS, policies=chaser)):
        with pytest.raises(ConfigurationError, match=r"learner: expected an agent's name, got .*several"):
            make()


def test_episodes_are_the_same_for_the_same_seeds(chaser: str) -> None:
    def returns(seed: int) -> list[float]:
        env: Any = envs.Opponents(tag(), learner=LEARNERS, policies={"adversary_*": chaser}, seed=seed)
        found: list[float] = []
        for reset in (3, None):
            observations, _ = env.reset(seed=reset)
            while env.agents:
                assert list(observations) == LEARNERS
                observations, rewards, _, _, _ = env.step(dict.fromkeys(env.agents, 1))
                found += [float(np.sum(observations[name])) for name in observations] + list(rewards.values())
            assert env.begun == env.ended
        env.close()
        return found

    assert returns(7) == returns(7) != returns(8)


def test_a_dead_learner_is_absent_and_the_last_one_ends_the_episode(tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    path.write_bytes(games.linear(2, 3))
    env: Any = envs.Opponents(Mortal(), learner=["b", "a"], policies={"foe": path})
    env.reset(seed=0)
    assert env.agents == ["b", "a"]
    _, rewards, terminated, truncated, _ = env.step({"a": 0, "b": 1})
    assert (rewards, terminated, truncated) == ({"b": 1.0, "a": 1.0}, {"b": False, "a": True}, {"b": False, "a": False})
    assert env.agents == ["b"]
    assert env.begun - env.ended == 1
    with pytest.raises(InputError, match=r"expected actions of \['b'\], got those of \['a', 'b'\]"):
        env.step({"a": 0, "b": 0})
    observations, _, terminated, _, _ = env.step({"b": 0})
    assert list(observations) == ["b"]
    assert terminated == {"b": True}
    assert env.agents == []
    assert env.begun == env.ended == 1  # the foe lived on in the game
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step({})


def test_learners_that_cannot_be_are_refused(chaser: str) -> None:
    policies = {"adversary_*": chaser}
    with pytest.raises(ConfigurationError, match="each once"):
        envs.Opponents(tag(), learner=["agent_0", "agent_0"], policies=policies)
    with pytest.raises(ConfigurationError, match="expected an agent among"):
        envs.Opponents(tag(), learner=["agent_0", "agent_9"], policies=policies)
    with pytest.raises(ConfigurationError, match=r"an agent's name, got 3; .* or several in a list"):
        envs.Opponents(tag(), learner=3, policies=policies)  # type: ignore[arg-type]


def test_an_action_outside_its_space_is_refused_before_anyone_acts(tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    path.write_bytes(games.linear(2, 3))
    game = Mortal()
    one = envs.Opponents(game, learner="a", policies={"[bf]*": path})
    one.reset(seed=0)
    for action in (3, -1, 1.5, None):
        with pytest.raises(InputError, match=r"learner 'a': expected an action of Discrete\(3\), got"):
            one.step(action)
    assert game.steps == 0
    one.step(np.int64(2))
    assert game.steps == 1
    many = envs.VectorOpponents(Mortal, 2, learner="a", policies={"[bf]*": path})
    many.reset(seed=0)
    with pytest.raises(InputError, match=r"expected an action of Discrete\(3\), got"):
        many.step(np.array([0, 9]))
    assert [row.env.steps for row in many.envs] == [0, 0]


def test_a_single_learner_is_still_pickled(tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    path.write_bytes(games.linear(2, 3))
    env: Any = envs.Opponents(Mortal(), learner="a", policies={"[bf]*": str(path)})
    assert isinstance(pickle.loads(pickle.dumps(env)), envs.Opponents)


class Mortal(pettingzoo.ParallelEnv):  # type: ignore[misc, name-defined]
    """a ends in the first step, b in the second, the foe in the third."""

    metadata = {"name": "mortal"}  # noqa: RUF012
    possible_agents = ["a", "b", "foe"]  # noqa: RUF012
    render_mode = None
    steps = 0

    def observation_space(self, agent: str) -> Any:
        return gymnasium.spaces.Box(-1, 1, (2,))

    def action_space(self, agent: str) -> Any:
        return gymnasium.spaces.Discrete(3)

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        self.agents, self.steps = list(self.possible_agents), 0
        return {agent: np.zeros(2, np.float32) for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions: Any) -> Any:
        assert set(actions) <= set(self.agents)
        there = list(self.agents)
        self.steps += 1
        self.agents = self.possible_agents[self.steps:]
        return ({agent: np.zeros(2, np.float32) for agent in there}, dict.fromkeys(there, 1.0),
                {agent: agent not in self.agents for agent in there}, dict.fromkeys(there, False), {agent: {} for agent in there})
