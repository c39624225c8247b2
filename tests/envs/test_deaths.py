"""Knights, Archers, Zombies: agents die one after the other, also the learner; observations are float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from players import Players, checked_step, checked_turn

from cervello import envs, recording

knights = pytest.importorskip("pettingzoo.butterfly.knights_archers_zombies_v11", reason="pettingzoo's butterfly games")
AGENTS = ["archer_0", "archer_1", "knight_0", "knight_1"]


def game(form: str = "parallel_env") -> Any:
    """So many zombies that nobody survives for long."""
    return getattr(knights, form)(spawn_delay=4, max_zombies=40, line_death=True, max_cycles=150)


def test_the_dead_are_not_decided_for_in_the_parallel_form() -> None:
    env = game()
    players = Players(env, gain=5)
    crowd = envs.Crowd(env, players, seed=1)
    sizes = set()
    for seed in (1, None, 7):
        crowd.reset(seed=seed)
        while crowd.agents:
            sizes.add(checked_step(crowd, players))
    assert len(sizes) >= 4  # they died one after the other
    assert crowd.begun == crowd.ended == 3 * len(AGENTS)


def test_the_dead_are_not_decided_for_in_turns() -> None:
    env = game("env")
    players = Players(env, gain=5)
    crowd = envs.Crowd(env, players, seed=1)
    passed = 0
    for seed in (1, 2):
        crowd.reset(seed=seed)
        while crowd.agents:
            passed += checked_turn(crowd, players)
    assert passed == 2 * len(AGENTS) == crowd.ended


@pytest.mark.parametrize("form", ["parallel_env", "env"])
def test_the_learner_s_death_ends_the_episode_and_everybody_else(form: str) -> None:
    env = game(form)
    players = Players(env, gain=5)
    played = envs.Opponents(env, learner="knight_0", policies=players, seed=2)
    lengths, others_left = [], 0
    for seed in (3, 4, None):
        played.reset(seed=seed)
        assert played.begun - played.ended == players.alive == 3
        over, length = False, 0
        while not over:
            _, _, terminated, truncated, _ = played.step(0)  # walks towards the zombies
            over, length = terminated or truncated, length + 1
            others_left = max(others_left, players.alive if not over else 0)
            assert played.begun - played.ended == players.alive
        assert (terminated, players.alive) == (True, 0)
        lengths.append(length)
    assert len(set(lengths)) > 1
    assert others_left == 3


def trace(seeds: tuple[int | None, ...]) -> list[Any]:
    env = game()
    crowd = envs.Crowd(env, Players(env, gain=5), seed=5)
    found = []
    for seed in seeds:
        crowd.reset(seed=seed)
        while crowd.agents:
            step = crowd.step()
            found.append((step.agents, step.rewards, {a: env.aec_env.observe(a).tobytes() for a in step.agents}))
    return found


def test_the_same_seed_is_the_same_game_through_deaths_and_a_second_reset() -> None:
    found = trace((1, None))
    assert {len(agents) for agents, _, _ in found} >= {0, 3, 4}
    assert trace((1, None)) == found


def test_gymnasium_finds_nothing_to_complain_about() -> None:
    from gymnasium.utils.env_checker import check_env

    env = game()
    check_env(envs.Opponents(env, learner="archer_0", policies=Players(env, gain=5)), skip_render_check=True)


def test_what_was_recorded_plays_the_same_game_again_up_to_the_last_observations(tmp_path: Path) -> None:
    crowd = envs.Crowd(envs.Recorder(game(), tmp_path / "log"), Players(game(), gain=5), seed=1)
    returns = []
    for seed in (1, 2):
        crowd.reset(seed=seed)
        while crowd.agents:
            crowd.step()
        returns.append(dict(crowd.returns))
    crowd.close()
    recorded = {(each.match, str(each.agent)): each for each in recording.read(tmp_path / "log")}
    assert sorted(recorded) == [(match, agent) for match in (0, 1) for agent in AGENTS]
    assert len({len(each) for each in recorded.values()}) > 3
    again = game()
    for match, seed in enumerate((1, 2)):
        observations, _ = again.reset(seed=seed)
        lives = {agent: recorded[match, agent] for agent in AGENTS}
        for t in range(max(map(len, lives.values()))):
            for agent in again.agents:
                assert lives[agent].observations[t].tobytes() == observations[agent].tobytes()
            observations, *_ = again.step({agent: int(lives[agent].actions[t]) for agent in again.agents})
            for agent, observation in observations.items():
                assert lives[agent].observations[t + 1].tobytes() == observation.tobytes()
        for agent, life in lives.items():
            assert len(life.observations) == len(life) + 1
            assert life.finished
            assert life.total_reward == returns[match][agent]


def test_lives_go_to_minari_and_back_each_as_an_episode_of_its_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari", reason="the extra minari")
    pytest.importorskip("h5py", reason="the extra minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    env = game()
    crowd = envs.Crowd(envs.Recorder(env, tmp_path / "log"), Players(env, gain=5), seed=1)
    for seed in (1, 2):
        crowd.reset(seed=seed)
        while crowd.agents:
            crowd.step()
    crowd.close()
    spaces = {"observation_space": env.observation_space("archer_0"), "action_space": env.action_space("archer_0")}
    recording.to_minari(tmp_path / "log", "knights/lives-v0", **spaces)
    ours, theirs = list(recording.read(tmp_path / "log")), list(recording.read(minari="knights/lives-v0"))
    assert len(ours) == len(theirs) == 2 * len(AGENTS)
    for life, found in zip(ours, theirs, strict=True):
        assert (found.agent, found.match) == (life.agent, life.match)
        assert found.observations.tobytes() == life.observations.tobytes()
        assert found.actions.tolist() == life.actions.tolist()
        assert found.log_prob.tobytes() == life.log_prob.tobytes()
        assert (found.terminations.tolist(), found.truncations.tolist()) == (life.terminations.tolist(), life.truncations.tolist())
