"""One learner in a game of several agents: rewards, births and deaths, pools, patterns, noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import games
import numpy as np
import pytest

import cervello
from cervello import AgentError, ConfigurationError, envs

pytest.importorskip("pettingzoo")

def tictactoe() -> Any:
    module = pytest.importorskip("pettingzoo.classic.tictactoe_v3", reason="pettingzoo's classic games")
    return module.env()


def tag() -> Any:
    return pytest.importorskip("mpe2.simple_tag_v3", reason="mpe2").parallel_env(max_cycles=20)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Plays the lowest free cell."""
    path = tmp_path / "first.onnx"
    path.write_bytes(games.preferring(list(range(9)), (3, 3, 2)))
    return path


@pytest.fixture
def chaser(tmp_path: Path) -> Path:
    path = tmp_path / "chaser.onnx"
    path.write_bytes(games.linear(16, 5))
    return path


def played(env: envs.Opponents, cells: list[int], seed: int = 0) -> tuple[float, bool]:
    """(summed reward, terminated) of a game in which the learner takes these cells."""
    env.reset(seed=seed)
    total = 0.0
    for cell in cells:
        _, reward, terminated, truncated, _ = env.step(cell)
        total += reward
        if terminated or truncated:
            return total, terminated
    return total, False


def test_the_learner_gets_what_it_wins_and_what_it_loses(first: Path) -> None:
    """Cells count down columns; the opponent takes the lowest free one."""
    env = envs.Opponents(tictactoe(), learner="player_1", policies={"player_2": first}, deterministic=True)
    assert played(env, [8, 7, 6]) == (1.0, True)
    # The opponent ends the game with cells 0, 1, 2, in its own move: the loss reaches the learner all the same.
    assert played(env, [4, 8, 3]) == (-1.0, True)
    second = envs.Opponents(tictactoe(), learner="player_2", policies={"player_1": first}, deterministic=True)
    assert played(second, [8, 4]) == (-1.0, True)
    assert env.begun == env.ended
    assert second.begun == second.ended


def test_an_illegal_move_of_an_opponent_is_never_made(first: Path) -> None:
    env = envs.Opponents(tictactoe(), learner="player_1", policies={"player_2": first})
    for seed in range(20):
        env.reset(seed=seed)
        done = False
        while not done:
            free = np.flatnonzero(env.action_masks())
            _, _, terminated, truncated, _ = env.step(int(free[seed % len(free)]))
            done = terminated or truncated


def test_begun_less_ended_are_alive_at_each_step(chaser: Path) -> None:
    env = envs.Opponents(tag(), learner="agent_0", policies={"adversary_*": chaser}, seed=7)
    for seed in range(3):
        env.reset(seed=seed)
        assert env.begun - env.ended == 3
        done = False
        while not done:
            _, _, terminated, truncated, _ = env.step(0)
            done = terminated or truncated
            assert env.begun - env.ended == (0 if done else 3)


def test_vector_rows_are_single_games_bit_for_bit(chaser: Path) -> None:
    rows = 4
    options: dict[str, Any] = {"learner": "agent_0", "policies": {"adversary_*": chaser}}
    vector = envs.VectorOpponents(tag, rows, seed=7, **options)
    singles = [envs.Opponents(tag(), seed=(7, i), **options) for i in range(rows)]
    observations, _ = vector.reset(seed=3)
    for i, single in enumerate(singles):
        assert observations[i].tobytes() == single.reset(seed=3 + i)[0].tobytes()
    ended = [False] * rows
    for step in range(50):  # through two ends of episodes
        actions = np.array([(step + i) % 5 for i in range(rows)])
        observations, rewards, terminated, truncated, _ = vector.step(actions)
        for i, single in enumerate(singles):
            if ended[i]:
                expected, ended[i] = single.reset()[0], False
                assert rewards[i] == 0
            else:
                expected, reward, over, cut, _ = single.step(int(actions[i]))
                assert (rewards[i], terminated[i], truncated[i]) == (reward, over, cut)
                ended[i] = over or cut
            assert observations[i].tobytes() == expected.tobytes()
    vector.close()


def test_same_step_gives_the_same_games(chaser: Path) -> None:
    options: dict[str, Any] = {"learner": "agent_0", "policies": {"adversary_*": chaser}, "seed": 1}
    found = {}
    for mode in ("next_step", "same_step"):
        vector = envs.VectorOpponents(tag, 2, autoreset=mode, **options)
        vector.reset(seed=0)
        rewards = []
        for _ in range(63):
            _, reward, terminated, truncated, infos = vector.step(np.array([1, 2]))
            rewards.append(reward)
            if mode == "same_step" and (terminated | truncated).any():
                assert infos["final_obs"][0] is not None
        found[mode] = np.array(rewards)
    next_step = np.delete(found["next_step"], [20, 41, 62], axis=0)  # steps that only reset
    assert (next_step == found["same_step"][:len(next_step)]).all()


def test_the_same_seed_is_the_same_game_through_ends_and_resets(chaser: Path) -> None:
    def trace(seed: int) -> list[bytes]:
        env = envs.Opponents(tag(), learner="agent_0", policies={"adversary_*": chaser}, seed=seed)
        found = []
        for reset_seed in (5, None, None):
            found.append(env.reset(seed=reset_seed)[0].tobytes())
            for _ in range(20):
                found.append(env.step(1)[0].tobytes())
        env.close()
        return found

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_a_pool_is_drawn_by_weight_and_may_grow(chaser: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(games.linear(16, 5, seed=1))
    env = envs.Opponents(tag(), learner="agent_0", policies={"adversary_*": {chaser: 1, other: 3}}, seed=0)
    seen = []
    for seed in range(200):
        env.reset(seed=seed)
        names = {env.match.roster.player(agent)[0].name for agent in env.env.agents if agent != "agent_0"}
        assert len(names) == 1  # once for the pattern
        seen += names
    assert 0.6 < seen.count("other") / len(seen) < 0.9
    env.pool("adversary_*").add(other, weight=0)
    for seed in range(20):
        env.reset(seed=seed)
        assert {env.match.roster.player(f"adversary_{i}")[0].name for i in range(3)} == {"chaser"}
    each = envs.Opponents(tag(), learner="agent_0", policies={"adversary_*": {chaser: 1, other: 1}}, seed=0, per="agent")
    mixed = set()
    for seed in range(20):
        each.reset(seed=seed)
        mixed.add(len({each.match.roster.player(f"adversary_{i}")[0].name for i in range(3)}))
    assert mixed == {1, 2}


def test_policies_may_be_a_function_or_policies_themselves(chaser: Path) -> None:
    game = tag()
    policy = cervello.load(chaser, wrappers="auto", spaces=envs.Spaces(game, agent="adversary_0"))
    asked: list[str] = []

    def choose(agent: str) -> Any:
        asked.append(agent)
        return policy

    env = envs.Opponents(game, learner="agent_0", policies=choose)
    env.reset(seed=0)
    assert asked == ["adversary_0", "adversary_1", "adversary_2"]
    assert len(policy) == 3
    env.close()
    assert len(policy) == 0


@pytest.mark.parametrize(("learner", "policies", "message"), [
    ("agent_9", {"adversary_*": "chaser"}, r"expected an agent among .*got 'agent_9'"),
    ("agent_0", {"adversary_*": "chaser", "advers*": "chaser"}, "agent 'adversary_0', got 'adversary_.' and 'advers.'"),
    ("agent_0", {"adversary_0": "chaser"}, "agent 'adversary_1', got none"),
    ("agent_0", {"adversary_*": "chaser", "ghost_*": "chaser"}, "got 'ghost_.', which matches none"),
    ("agent_0", {"adversary_*": {}}, "expected at least one policy"),
    ("agent_0", {"adversary_*": 3}, "expected a cervello.Policy or a path, got 3"),
    ("agent_0", "chaser", r"for one policy for all: \{'\*': policy\}"),
    ("agent_0", {"adversary_*": {"chaser": -1}}, "expected a finite number of at least 0"),
    (3, {"adversary_*": "chaser"}, "expected an agent's name, got 3"),
])
def test_what_makes_no_sense_is_refused_at_once(chaser: Path, learner: Any, policies: Any, message: str) -> None:
    def placed(given: Any) -> Any:
        if isinstance(given, dict):
            return {placed(key) if key == "chaser" else key: placed(value) for key, value in given.items()}
        return chaser if given == "chaser" and isinstance(policies, dict) else given

    with pytest.raises(ConfigurationError, match=message):
        envs.Opponents(tag(), learner=learner, policies=placed(policies))


@pytest.mark.parametrize(("seed", "message"), [([], "a whole number or several, got none"), ((7, -1), "got -1"), (True, "got True")])
def test_seeds_are_whole_numbers_of_which_there_is_one(chaser: Path, seed: Any, message: str) -> None:
    options: dict[str, Any] = {"learner": "agent_0", "policies": {"adversary_*": chaser}, "seed": seed}
    for make in (lambda: envs.Opponents(tag(), **options), lambda: envs.VectorOpponents(tag, 2, **options)):
        with pytest.raises(ConfigurationError, match=f"Opponents.*seed: expected.*{message}"):
            make()


def test_a_step_before_reset_and_after_the_end_is_refused(chaser: Path) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    env = envs.Opponents(tag(), learner="agent_0", policies={"adversary_*": chaser})
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


def test_gymnasium_finds_nothing_to_complain_about(chaser: Path) -> None:
    from gymnasium.utils.env_checker import check_env

    with pytest.warns(UserWarning, match="infinity"):  # unbounded observations
        check_env(envs.Opponents(tag(), learner="agent_0", policies={"adversary_*": chaser}), skip_render_check=True)


class Revived:
    """A parallel environment in which an agent comes back from the dead."""

    possible_agents = ["learner", "ghost"]  # noqa: RUF012
    metadata: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        from gymnasium import spaces

        self._spaces = spaces.Box(-1, 1, (4,)), spaces.Discrete(3)
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        return self._spaces[0]

    def action_space(self, agent: str) -> Any:
        return self._spaces[1]

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        self.agents, self._tick = ["learner", "ghost"], 0
        return {a: np.zeros(4, np.float32) for a in self.agents}, {a: {} for a in self.agents}

    def step(self, actions: Any) -> Any:
        self._tick += 1
        there = ["learner", "ghost"] if self._tick != 2 else ["learner"]
        dead = {a: a == "ghost" and self._tick == 1 for a in there}
        self.agents = [a for a in there if not dead[a]]
        no = dict.fromkeys(there, False)
        return {a: np.zeros(4, np.float32) for a in there}, dict.fromkeys(there, 1.0), dead, no, {a: {} for a in there}

    def close(self) -> None: ...


def test_an_environment_that_revives_the_dead_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.onnx"
    path.write_bytes(games.linear(4, 3))
    env = envs.Opponents(Revived(), learner="learner", policies={"ghost": path})
    env.reset(seed=0)
    env.step(0)
    assert env.begun - env.ended == 0
    env.step(0)
    with pytest.raises(AgentError, match="have not died in this episode, got 'ghost' again"):
        env.step(0)


def test_a_learner_that_is_absent_after_reset_is_refused_and_nobody_is_left(tmp_path: Path) -> None:
    """In the first reset and in a later one, of a game in parallel and in turns."""
    from pettingzoo.utils import parallel_to_aec

    class Late(Revived):
        """The learner is there in every other episode."""

        episodes = 0
        render_mode = None

        def reset(self, seed: Any = None, options: Any = None) -> Any:
            super().reset()
            self.episodes += 1
            self.agents = ["learner", "ghost"][self.episodes % 2:]
            return {a: np.zeros(4, np.float32) for a in self.agents}, {a: {} for a in self.agents}

    (tmp_path / "p.onnx").write_bytes(games.linear(4, 3))
    for game in (Late(), parallel_to_aec(Late())):
        env = envs.Opponents(game, learner="learner", policies={"ghost": tmp_path / "p.onnx"})
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"Opponents, learner: expected it .*got 'learner' absent"):
                env.reset(seed=0)
            assert env.begun == env.ended
            assert env.reset(seed=0)[0].tolist() == [0, 0, 0, 0]  # the next episode has it
            assert env.begun - env.ended == 1
