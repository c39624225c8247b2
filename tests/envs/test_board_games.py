"""Games of PettingZoo in which moves are legal or not: boards and cards, turn by turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from players import Players, checked_turn

from cervello import envs

pettingzoo = pytest.importorskip("pettingzoo")
pytest.importorskip("pettingzoo.classic.tictactoe_v3", reason="pettingzoo's classic games")
pytestmark = pytest.mark.filterwarnings("ignore:.*precision lowered by casting")  # of the games' own spaces
GAMES = ("tictactoe_v3", "connect_four_v3", "leduc_holdem_v4", "texas_holdem_no_limit_v6", "hanabi_v5")


class Judge(pettingzoo.utils.BaseWrapper):  # type: ignore[name-defined, misc]
    """Lets no illegal move pass.

    Attributes:
      seed: of the last reset. moves: since then, (agent, action).
      choices: how many actions masks have left open.
    """

    def __init__(self, env: Any):
        super().__init__(env)
        self.moves: list[tuple[str, int]] = []
        self.choices = 0

    def reset(self, seed: Any = None, options: Any = None) -> None:
        super().reset(seed=seed, options=options)
        self.seed, self.moves = seed, []

    def step(self, action: Any) -> None:
        if action is not None:
            mask = self.observe(self.agent_selection)["action_mask"]
            assert mask[action], f"an illegal move: {action}"
            self.moves.append((self.agent_selection, int(action)))
            self.choices += int(mask.sum())
        super().step(action)


def game(name: str) -> Judge:
    return Judge(pytest.importorskip(f"pettingzoo.classic.{name}", reason="pettingzoo's classic games").env())


@pytest.mark.parametrize("name", GAMES)
def test_no_illegal_move_is_made_and_the_dead_make_none(name: str) -> None:
    env = game(name)
    env.reset(seed=0)
    players = Players(env)
    crowd, made = envs.Crowd(env, players, seed=1), 0
    for seed in range(12):
        crowd.reset(seed=seed)
        while crowd.agents:
            checked_turn(crowd, players)
        made += len(env.moves)
        if name != "hanabi_v5":  # where all win together
            assert sum(crowd.returns.values()) == 0
    assert players.alive == 0
    assert env.choices > made  # there was something to choose
    assert crowd.empty_masks == 0


@pytest.mark.parametrize("name", GAMES)
def test_a_learner_gets_what_the_game_pays_whoever_ends_it(name: str) -> None:
    """The game itself, given the same moves, pays the learner the same, in its own moves and in those of others."""
    env, again = game(name), game(name)
    env.reset(seed=0)
    learner = env.possible_agents[0]
    played = envs.Opponents(env, learner=learner, policies=Players(env), seed=2)
    last = set()
    for seed in range(12):
        played.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            legal = np.flatnonzero(played.action_masks())
            _, reward, terminated, truncated, _ = played.step(int(legal[(seed + len(env.moves)) % len(legal)]))
            total, over = total + reward, terminated or truncated
        assert played.begun == played.ended
        again.reset(seed=env.seed)
        paid = 0.0
        for agent, action in env.moves:
            assert again.agent_selection == agent
            again.step(action)
            paid += again.rewards[learner]
        assert total == paid
        last.add(env.moves[-1][0] == learner)
    assert last == {True, False}  # the learner ended some games and others ended some


@pytest.mark.parametrize("name", ["tictactoe_v3", "connect_four_v3"])
def test_gymnasium_finds_nothing_to_complain_about(name: str) -> None:
    from gymnasium.utils.env_checker import check_env

    env = game(name).env  # without the judge: any action may be tried
    env.reset(seed=0)
    check_env(envs.Opponents(env, learner=env.possible_agents[0], policies=Players(env)), skip_render_check=True)


def test_an_episode_that_ends_before_the_learner_s_first_turn_is_counted_and_the_next_one_begun() -> None:
    """A fold in poker: there is nothing to decide, so the learner never sees it."""
    def played() -> tuple[envs.Opponents, list[bytes]]:
        env = game("leduc_holdem_v4")
        env.reset(seed=0)
        opponents = envs.Opponents(env, learner="player_0", policies=Players(env), seed=1)
        seen = []
        for seed in range(60):
            before = opponents.skipped_episodes
            observation, _ = opponents.reset(seed=seed)
            seen.append(observation["observation"].tobytes())
            assert (env.seed == seed) == (opponents.skipped_episodes == before)
            assert opponents.begun - opponents.ended == 1
            assert env.agent_selection == "player_0"
            assert not env.terminations["player_0"]
        return opponents, seen

    first, seen = played()
    assert first.skipped_episodes > 3
    assert first.match.dropped_rewards > 0  # what the folds have brought
    second, again = played()
    assert again == seen
    assert second.skipped_episodes == first.skipped_episodes


def test_rows_play_legal_games_of_their_own() -> None:
    """Ends of episodes fall on different steps; a mask is always that of the row's own board."""
    first = game("connect_four_v3")
    first.reset(seed=0)
    players = Players(first)
    vector = envs.VectorOpponents(lambda: game("connect_four_v3"), 4, learner="player_0", policies=players, seed=3)
    vector.reset(seed=0)
    rng = np.random.default_rng(0)
    ends, returns = [], np.zeros(4)
    for _ in range(120):
        masks = vector.action_masks()
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])
        observations, rewards, terminated, truncated, _ = vector.step(actions)
        assert (observations["action_mask"].astype(bool) == vector.action_masks()).all()
        assert vector.observation_space.contains(observations)
        returns += rewards
        for row in np.flatnonzero(terminated | truncated):
            ends.append(returns[row])
            returns[row] = 0.0
    assert set(ends) >= {1.0, -1.0}
    assert set(ends) <= {1.0, -1.0, 0.0}
    vector.close()
    assert players.alive == 0
