"""Games in which policies play everybody: births and deaths are followed exactly, steps are whole."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import games
import pytest
from arena_policies import arena_policies

import cervello
from cervello import ConfigurationError, envs
from cervello.demo import policy_path

pettingzoo = pytest.importorskip("pettingzoo")


def test_a_turn_based_game_is_played_to_its_end(tmp_path: Path) -> None:
    module = pytest.importorskip("pettingzoo.classic.tictactoe_v3", reason="pettingzoo's classic games")
    path = tmp_path / "first.onnx"
    path.write_bytes(games.preferring(list(range(9)), (3, 3, 2)))
    crowd = envs.Crowd(module.env(), {"*": path}, seed=0, deterministic=True)
    steps = list(crowd)
    assert crowd.returns == {"player_1": 1.0, "player_2": -1.0}
    assert (crowd.begun, crowd.ended) == (2, 2)
    assert steps[-1].agents == []
    assert sum(step.rewards.get("player_1", 0) for step in steps) == 1.0


def test_an_agent_that_no_pattern_matches_needs_a_policy(tmp_path: Path) -> None:
    from cervello.demo.parallel_env import ArenaEnv

    (tmp_path / "plain.onnx").write_bytes(games.linear(4, 2))
    with pytest.raises(ConfigurationError, match=r"expected one pattern that matches agent 'grazer_0', got none of \['hunter_\*'\]; "
                                                 "give it a policy$"):
        envs.Crowd(ArenaEnv(5), {"hunter_*": tmp_path / "plain.onnx"}).reset()


def test_a_policy_without_spaces_is_refused_where_it_would_play(tmp_path: Path) -> None:
    from cervello.demo.parallel_env import ArenaEnv

    (tmp_path / "plain.onnx").write_bytes(games.linear(4, 2))
    plain = cervello.load(tmp_path / "plain.onnx")
    crowd = envs.Crowd(ArenaEnv(5), {"*": plain})
    opponents = envs.Opponents(ArenaEnv(5), "grazer_0", {"[!g]*": plain, "grazer_[!0]*": plain})
    for reset in (crowd.reset, opponents.reset, lambda: envs.play("CartPole-v1", {"plain": plain})):
        with pytest.raises(ConfigurationError, match=r"policy 'plain': expected the spaces of an environment, got none; load it with"):
            reset()
    assert crowd.begun == opponents.begun == len(plain) == 0


def test_the_arena_is_born_and_dies_in_step_with_its_policies() -> None:
    from cervello.demo.parallel_env import ArenaEnv

    env = ArenaEnv(60)
    policies = {}
    for species, options in (("grazer", {"box": "clip"}), ("hunter", {"box": "clip"}), ("scout", {"action": "logits"})):
        game = envs.Spaces((env.observation_space(f"{species}_0"), env.action_space(f"{species}_0")), **options)
        policies[f"{species}_*"] = cervello.load(policy_path(species), wrappers="auto", spaces=game)

    def played() -> tuple[dict[str, float], list[int]]:
        crowd = envs.Crowd(ArenaEnv(60), policies, seed=5)
        crowd.reset(seed=1)
        sizes = []
        while crowd.agents:
            step = crowd.step()
            sizes.append(len(step.agents))
            assert crowd.begun - crowd.ended == len(step.agents) == sum(map(len, policies.values()))
        crowd.close()
        return crowd.returns, sizes

    returns, sizes = played()
    assert len(set(sizes)) > 3  # agents have come and gone
    assert played() == (returns, sizes)


@pytest.mark.parametrize("seed", [7, (7, 1)])
def test_the_seed_of_a_crowd_is_that_of_its_episodes_too(seed: Any) -> None:
    """Where agents stand is drawn by the environment, at each reset."""
    from cervello.demo.parallel_env import ArenaEnv

    class Seeded(ArenaEnv):
        def reset(self, seed: Any = None, options: Any = None) -> Any:
            seeds.append(seed)
            return super().reset(seed=seed, options=options)

    def trace(given: Any) -> list[Any]:
        crowd, found = envs.Crowd(Seeded(12), policies, seed=given), []
        for _ in range(2):
            found.append([(step.agents, step.rewards) for step in crowd])
        return found

    seeds: list[Any] = []
    policies = arena_policies(ArenaEnv(12))
    first, second = trace(seed)
    assert first != second
    assert trace(seed) == [first, second]
    assert trace(8) != [first, second]
    assert seeds[:4] == [envs.episode_seed(seed, k) >> 32 for k in (0, 1, 0, 1)]


def test_the_arena_passes_the_tests_of_pettingzoo() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PettingZoo's own deprecations; it has no possible_agents, since anybody may be born
        test = pytest.importorskip("pettingzoo.test", reason="pettingzoo's tests need its classic games")
        from cervello.demo.parallel_env import ArenaEnv

        test.parallel_api_test(ArenaEnv(30), num_cycles=60)
        test.parallel_seed_test(lambda: ArenaEnv(30))


def test_the_arena_repeats_itself_through_deaths_and_a_second_reset() -> None:
    from cervello.demo.parallel_env import ArenaEnv

    def trace() -> list[object]:
        env, found = ArenaEnv(40), []
        for seed in (3, None):
            observations, _ = env.reset(seed=seed)
            while env.agents:
                actions = {agent: env.action_space(agent).low if agent[0] != "s" else 1 for agent in env.agents}
                observations, rewards, terminated, _, _ = env.step(actions)
                found.append((sorted(rewards.items()), sorted(a for a, dead in terminated.items() if dead),
                              b"".join(observations[a].tobytes() for a in sorted(observations))))
        return found

    assert trace() == trace()
