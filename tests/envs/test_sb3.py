"""Stable-Baselines3 and sb3-contrib: the same actions as their own `predict`, and a Policy in their own functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cartpole
import gymnasium
import numpy as np
import onnx
import pytest
import small_models
from counting_game import CountingGame, drawing_policy

import cervello
from cervello import ConfigurationError, InputError, Normalize, envs
from cervello.wrappers import EpisodeStart, Recurrent

DATA = Path(__file__).resolve().parent.parent / "data" / "sb3"
Array = np.ndarray[Any, Any]
PENDULUM = (gymnasium.spaces.Box(-np.array([1, 1, 8], np.float32), np.array([1, 1, 8], np.float32)),
            gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32))
BLIND = (gymnasium.spaces.Box(-10, 10, (2,), np.float32), gymnasium.spaces.Discrete(2))
SIX = (gymnasium.spaces.Box(-1, 1, (6,), np.float32), gymnasium.spaces.Discrete(6))
NAMES = ("ppo_box", "ppo_discrete", "a2c", "sac", "td3", "dqn", "recurrent_ppo", "maskable_ppo")


def spaces_of(name: str) -> envs.Spaces:
    """What each of the policies was trained in, said as its user would say it."""
    if name in ("ppo_box", "sac", "td3"):
        return envs.Spaces(PENDULUM, box="clip" if name == "ppo_box" else "unscale")
    if name == "dqn":
        return envs.Spaces(gymnasium.make("CartPole-v1"), greedy=0.0)
    return envs.Spaces({"recurrent_ppo": BLIND, "maskable_ppo": SIX}.get(name) or gymnasium.make("CartPole-v1"))


def loaded(name: str) -> cervello.Policy:
    statistics = DATA / f"{name}.pkl"
    policy = cervello.load(DATA / f"{name}.onnx", wrappers="auto", spaces=spaces_of(name))
    if not statistics.exists():
        return policy
    wrappers = [*policy.wrappers, Normalize.from_vecnormalize(statistics, "obs")]
    return cervello.load(DATA / f"{name}.onnx", wrappers=wrappers, spaces=spaces_of(name))


def recorded(name: str) -> dict[str, Array]:
    with np.load(DATA / f"{name}.npz") as found:
        return dict(found)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "recurrent_ppo"])
def test_actions_are_those_of_the_library_s_own_predict(name: str) -> None:
    known, policy = recorded(name), loaded(name)
    masks = known.get("masks")
    actions, state = policy.predict(known["observations"], deterministic=True, action_masks=masks)
    assert (actions.dtype, actions.shape) == (known["actions"].dtype, known["actions"].shape)
    if actions.dtype.kind == "f":
        np.testing.assert_allclose(actions, known["actions"], rtol=0, atol=2e-6)
        assert len(np.unique(actions)) > 30
    else:
        assert actions.tolist() == known["actions"].tolist()
        assert len(set(actions.tolist())) > 1
    for i in range(5):  # one observation without a batch gives one action without one
        single, _ = policy.predict(known["observations"][i], deterministic=True, action_masks=None if masks is None else masks[i])
        assert single.shape == actions.shape[1:]
        assert single.tobytes() == actions[i].tobytes()
    assert state is None or len(state) == len(actions)


def test_the_actions_of_ppo_in_a_box_are_clipped() -> None:
    """So that the equality above says something about it."""
    policy = loaded("ppo_box")
    drawn = [float(policy.model.run({"obs": np.float32([[a, b, c]])})["action"][0, 0]) for a, b, c in ((1, 1, 8), (-1, 0, -8), (0, -1, 3))]
    wide = cervello.load(DATA / "ppo_box.onnx", spaces=envs.Spaces((PENDULUM[0], gymnasium.spaces.Box(-0.01, 0.01, (1,))), box="clip"))
    assert max(map(abs, drawn)) > 0.01
    assert max(abs(float(wide.predict(np.float32(row))[0][0])) for row in ((1, 1, 8), (-1, 0, -8), (0, -1, 3))) == np.float32(0.01)


def test_memory_is_carried_and_cleared_as_the_library_does() -> None:
    known, policy = recorded("recurrent_ppo"), loaded("recurrent_ppo")
    assert {type(wrapper) for wrapper in policy.wrappers} >= {Recurrent, EpisodeStart}
    state, found, alone = None, [], []
    for observation, starts in zip(known["observations"], known["starts"], strict=True):
        actions, state = policy.predict(observation, state, starts, deterministic=True)
        found.append(actions)
        alone.append(policy.predict(observation, deterministic=True)[0])
    assert np.array_equal(found, known["actions"])
    assert not np.array_equal(alone, known["actions"])  # without its memory it acts otherwise


def test_the_second_episode_acts_as_a_new_process_would() -> None:
    known, policy = recorded("recurrent_ppo"), loaded("recurrent_ppo")
    episodes = []
    state = None
    for _ in range(2):
        acted = []
        for t, observation in enumerate(known["observations"][:10]):
            actions, state = policy.predict(observation, state, np.full(4, t == 0), deterministic=True)
            acted.append(actions.tolist())
        episodes.append(acted)
    assert episodes[0] == episodes[1]


def test_statistics_do_not_move_in_predict() -> None:
    """That they give what the library gives: the equality above, of `ppo_box`, and tests/wrappers/test_normalize.py."""
    policy = loaded("ppo_box")
    before = policy.wrappers[-1]
    means = before.mean.copy()
    policy.predict(recorded("ppo_box")["observations"])
    assert np.array_equal(before.mean, means)


# Beside the libraries themselves ----------------------------------------------------------------------------------------


def vec_envs() -> Any:
    return pytest.importorskip("stable_baselines3.common.vec_env")


def test_evaluate_policy_accepts_a_policy() -> None:
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    monitor = pytest.importorskip("stable_baselines3.common.monitor")
    policy = cartpole.policy(gain=20.0)
    env = monitor.Monitor(gymnasium.make("CartPole-v1"))
    env.reset(seed=3)
    rewards, lengths = evaluation.evaluate_policy(policy, env, n_eval_episodes=4, return_episode_rewards=True)
    assert rewards == lengths
    assert min(rewards) > 30
    many = vec_envs().DummyVecEnv([lambda: monitor.Monitor(gymnasium.make("CartPole-v1"))] * 3)
    rewards, _ = evaluation.evaluate_policy(policy, many, n_eval_episodes=7, deterministic=False, return_episode_rewards=True)
    assert len(rewards) == 7


def test_evaluate_policy_carries_the_memory_of_a_recurrent_policy() -> None:
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    box = gymnasium.spaces.Box(-1e6, 1e6, (1,), np.float32)

    class Summing(gymnasium.Env[Any, Any]):
        """The reward is the action, which is the sum of the episode's ones."""

        observation_space = action_space = box

        def reset(self, **_: Any) -> Any:
            self._t = 0
            return np.ones(1, np.float32), {}

        def step(self, action: Any) -> Any:
            self._t += 1
            return np.ones(1, np.float32), float(action[0]), self._t == 4, False, {}

    policy = cervello.load(small_models.counter(), wrappers="auto", spaces=envs.Spaces(Summing(), box="clip"))
    env = vec_envs().DummyVecEnv([Summing] * 2)
    rewards, _ = evaluation.evaluate_policy(policy, env, n_eval_episodes=6, return_episode_rewards=True, warn=False)
    assert rewards == [10.0] * 6


def test_the_masked_evaluate_policy_accepts_a_policy() -> None:
    evaluation = pytest.importorskip("sb3_contrib.common.maskable.evaluation")

    class WithMasks(CountingGame):
        def action_masks(self) -> Array:
            return self.allowed().astype(bool)

        def step(self, action: Any) -> Any:
            assert self.allowed()[int(action)], "a forbidden action"
            return super().step(action)

    policy = drawing_policy(CountingGame())
    rewards, lengths = evaluation.evaluate_policy(policy, WithMasks(), n_eval_episodes=8, deterministic=False, warn=False,
                                                  return_episode_rewards=True)
    assert sorted(lengths) == [2, 2, 3, 3, 4, 4, 5, 5]
    assert len(rewards) == 8


@pytest.mark.parametrize(("name", "algorithm", "game"), [
    ("ppo_box", "PPO", "Pendulum-v1"), ("ppo_discrete", "PPO", "CartPole-v1"), ("a2c", "A2C", "CartPole-v1"),
    ("sac", "SAC", "Pendulum-v1"), ("td3", "TD3", "Pendulum-v1"), ("dqn", "DQN", "CartPole-v1")])
def test_fresh_weights_of_a_live_algorithm_act_as_it_does(name: str, algorithm: str, game: str) -> None:
    stable_baselines3, torch = pytest.importorskip("stable_baselines3"), pytest.importorskip("torch")
    torch.set_num_threads(1)
    options = {} if algorithm in ("PPO", "A2C") else {"buffer_size": 10}
    model = getattr(stable_baselines3, algorithm)("MlpPolicy", game, seed=3, device="cpu", policy_kwargs={"net_arch": [32, 32]}, **options)
    weights = {f"policy.{key}": value.numpy() for key, value in model.policy.state_dict().items()}
    policy = cervello.load(DATA / f"{name}.onnx", wrappers="auto", spaces=spaces_of(name))
    names = [each.name for each in onnx.load(DATA / f"{name}.onnx").graph.initializer if each.name in weights]
    assert len(names) == 6
    policy.update_weights({each: weights[each] for each in names})
    space = model.observation_space
    seen = np.random.default_rng(1).uniform(np.clip(space.low, -3, 3), np.clip(space.high, -3, 3), (200, *space.shape)).astype(np.float32)
    mine, theirs = policy.predict(seen, deterministic=True)[0], model.predict(seen, deterministic=True)[0]
    assert mine.dtype == theirs.dtype
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-6)
    assert len(np.unique(mine)) > 1


# VecNormalize -----------------------------------------------------------------------------------------------------------


def normalized(n: int = 3) -> Any:
    made = vec_envs()
    env = made.VecNormalize(made.DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * n))
    env.reset()
    for _ in range(30):
        env.step(np.zeros(n, np.int64))
    return env


def statistics(env: Any) -> list[Any]:
    return [env.obs_rms.mean.tolist(), env.obs_rms.var.tolist(), env.obs_rms.count, float(env.ret_rms.mean), float(env.ret_rms.var)]


def test_statistics_around_the_environment_never_move() -> None:
    env = normalized()
    before = statistics(env)
    list(envs.rollout(env, cartpole.policy(lean=3.0), steps=40))
    envs.play(env, cartpole.policy(lean=3.0), episodes=4)
    assert statistics(env) == before
    assert env.training  # as it was found
    env.step(np.zeros(3, np.int64))
    assert statistics(env) != before


def test_observations_are_normalised_once() -> None:
    policy = loaded("ppo_discrete")
    for act in (lambda: envs.rollout(normalized(), policy, steps=3), lambda: envs.play(normalized(), policy, episodes=2)):
        with pytest.raises(ConfigurationError, match=r"expected observations to be normalised once, got a VecNormalize around the env"):
            act()
    env = normalized()
    env.norm_obs = False
    assert len(list(envs.rollout(env, policy, steps=3))) == 3


def test_play_takes_the_innermost_rewards_of_a_vecnormalize() -> None:
    result = envs.play(normalized(), cartpole.policy(lean=3.0), episodes=6)
    (found,) = result.values()
    assert found.returns.tolist() == found.lengths.tolist()  # CartPole pays 1 for each step; what comes out of the wrapper is scaled
    assert "the environment's own rewards, within all wrappers" in str(result)


def test_time_limits_of_a_vecenv_are_truncations() -> None:
    made = vec_envs().DummyVecEnv([lambda: gymnasium.wrappers.TimeLimit(gymnasium.make("CartPole-v1"), 5)] * 2)
    steps = list(envs.rollout(made, cartpole.policy(gain=20.0), steps=10))
    assert [step.truncated.all() for step in steps] == ([False] * 4 + [True]) * 2
    assert not any(step.terminated.any() for step in steps)


# What predict refuses ---------------------------------------------------------------------------------------------------


def test_the_pair_that_reset_gives_is_refused_as_the_library_does() -> None:
    with pytest.raises(ValueError, match=r"got a tuple; env.reset\(\) of Gymnasium returns \(observation, info\)"):
        loaded("a2c").predict(gymnasium.make("CartPole-v1").reset())


def test_a_mask_that_allows_nothing_or_does_not_fit_is_refused() -> None:
    policy, zeros = loaded("maskable_ppo"), np.zeros((2, 6), np.float32)
    with pytest.raises(InputError, match="mask: expected an allowed action in every row, got none in row 1"):
        policy.predict(zeros, action_masks=np.array([[1] * 6, [0] * 6]))
    with pytest.raises(InputError, match=r"mask: expected \(2, 6\), got \(2, 5\)"):
        policy.predict(zeros, action_masks=np.ones((2, 5)))
    with pytest.raises(InputError, match="mask: expected none for Box"):
        loaded("ppo_box").predict(np.zeros(3, np.float32), action_masks=np.ones(1))


def test_a_box_needs_to_be_told_how_actions_enter_it() -> None:
    with pytest.raises(ConfigurationError, match=r"Spaces\(env, box='clip'\) for a policy of PPO or A2C, box='unscale' for SAC"):
        cervello.load(DATA / "sac.onnx", wrappers="auto", spaces=PENDULUM)
