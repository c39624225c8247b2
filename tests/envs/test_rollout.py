"""Experience for training: what is yielded, what a break leaves behind, which episodes are played."""

from __future__ import annotations

from typing import Any

import cartpole
import gymnasium
import numpy as np
import pytest
import small_models
from counting_game import CountingGame, drawing_policy, vector
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv

import cervello
from cervello import ConfigurationError, envs


def tuples(steps: Any) -> list[Any]:
    return [str((s.observation.tolist(), s.sampled_action.tolist(), s.log_prob.tolist(), s.reward.tolist())) for s in steps]


def test_iterating_again_goes_on() -> None:
    policy = drawing_policy(CountingGame())
    whole = tuples(envs.rollout(vector("next_step"), policy, steps=20))
    rollout = envs.rollout(vector("next_step"), policy, steps=20)
    parts = []
    for step in rollout:
        parts += tuples([step])
        if len(parts) in (1, 7):
            break
    for step in rollout:
        parts += tuples([step])
        if len(parts) == 7:
            break
    assert parts + tuples(rollout) == whole


def test_after_a_break_the_environments_stand_behind_the_last_step() -> None:
    env = vector("next_step")
    rollout = envs.rollout(env, drawing_policy(CountingGame()), steps=20)
    steps = [next(iter(rollout)) for _ in range(5)]  # each leaves a loop after one step
    assert [game._t for game in env.envs] == steps[-1].next_observation[:, 2].tolist()


def test_a_new_call_begins_anew() -> None:
    policy = drawing_policy(CountingGame(drawn=True))

    def played() -> list[Any]:
        return tuples(envs.rollout(lambda: CountingGame(drawn=True), policy, steps=12, n_envs=1, seed=3))

    assert played() == played()


def test_agents_end_with_the_last_step_and_with_close_and_with_the_object() -> None:
    policy = drawing_policy(CountingGame())
    list(envs.rollout(vector("next_step"), policy, steps=5))
    assert len(policy) == 0
    rollout = envs.rollout(vector("next_step"), policy, steps=5)
    next(iter(rollout))
    assert len(policy) == 3
    rollout.close()
    assert len(policy) == 0
    assert list(rollout) == []
    for _ in envs.rollout(vector("next_step"), policy, steps=5):
        break
    del _
    assert len(policy) == 0


def test_two_of_one_seed_cannot_act_with_one_policy_at_once() -> None:
    policy = drawing_policy(CountingGame())
    one = envs.rollout(vector("next_step"), policy, steps=5)
    next(iter(one))
    with pytest.raises(ConfigurationError, match=r"rollout: expected a policy that no other rollout of seed 0 is acting with.*close\(\)"):
        next(iter(envs.rollout(vector("next_step"), policy, steps=5)))
    next(iter(envs.rollout(vector("next_step"), policy, steps=5, seed=1)))
    assert len(list(one)) == 4


def test_environments_made_here_are_closed_and_those_given_stay_open() -> None:
    closed = []

    class Closing(CountingGame):
        def close(self) -> None:
            closed.append(self)

    policy = drawing_policy(CountingGame())
    list(envs.rollout(Closing, policy, steps=3, n_envs=2))
    assert len(closed) == 2
    list(envs.rollout(Closing(), policy, steps=3))
    assert len(closed) == 2
    list(envs.rollout(lambda: gymnasium.vector.SyncVectorEnv([Closing] * 3), policy, steps=3))
    assert len(closed) == 5


@pytest.mark.parametrize(("actions", "error", "message"), [
    ([4, 4, None], OSError, "no more"), ([4, 3], ConfigurationError, r"expected environments of equal spaces, got .*Discrete\(3\)"),
    ([3, 3], ConfigurationError, "expected a policy loaded with spaces whose actions are")])
def test_environments_made_here_are_closed_when_one_of_them_cannot_be_played(actions: Any, error: Any, message: str) -> None:
    made: list[Any] = []
    closed: list[Any] = []

    class Closing(CountingGame):
        def close(self) -> None:
            closed.append(self)

    def make() -> Any:
        if actions[len(made)] is None:
            raise OSError("no more")
        made.append(Closing())
        made[-1].action_space = spaces.Discrete(actions[len(made) - 1])
        return made[-1]

    with pytest.raises(error, match=message):
        envs.rollout(make, drawing_policy(CountingGame()), steps=3, n_envs=len(actions))
    assert closed == made


@pytest.mark.parametrize(("options", "message"), [({"max_steps": 3}, "max_steps: expected"), ({"autoreset": "sideways"}, "autoreset:")])
def test_a_vector_environment_made_here_is_closed_when_an_option_does_not_go_with_it(options: Any, message: str) -> None:
    closed: list[Any] = []

    class Closing(SyncVectorEnv):
        def close_extras(self, **_: Any) -> None:
            closed.append(self)

    with pytest.raises(ConfigurationError, match=message):
        envs.play(lambda: Closing([CountingGame]), drawing_policy(CountingGame()), episodes=1, **options)
    assert len(closed) == 1


def test_episode_k_of_a_seed_is_the_same_in_one_environment_or_many() -> None:
    policy = drawing_policy(CountingGame(drawn=True), seed=9)

    class Same(CountingGame):
        @property
        def length(self) -> int:
            return 2 + int(1e6 * self._draw) % 5

        def _seen(self) -> Any:
            found = super()._seen()
            found[0][:2] = 0  # neither the environment's number nor how often it was reset
            return found

    def episodes(n: int) -> dict[int, list[Any]]:
        rollout = envs.rollout(lambda: Same(drawn=True), policy, steps=-(-400 // n), n_envs=n, seed=5)
        found: dict[int, list[Any]] = {}
        begun = np.zeros(n, int)
        now: list[list[Any]] = [[] for _ in range(n)]
        for step in rollout:
            for row in range(n):
                now[row].append((step.observation[row].tolist(), int(step.sampled_action[row]), float(step.log_prob[row])))
                if step.terminated[row] or step.truncated[row]:
                    found[row + n * begun[row]] = now[row]
                    begun[row], now[row] = begun[row] + 1, []
        assert rollout.seeds is not None
        assert set(rollout.seeds) >= {envs.episode_seed(5, k) for k in found}
        return found

    one, many = episodes(1), episodes(64)
    shared = one.keys() & many.keys()
    assert len(shared) >= 64
    assert all(one[k] == many[k] for k in shared)
    assert len({str(episode) for episode in one.values()}) == len(one)  # nothing repeats


def test_seeds_share_no_episode() -> None:
    assert len({envs.episode_seed(seed, k) for seed in range(40) for k in range(40)}) == 1600
    assert envs.episode_seed(0, 0) == int(np.random.SeedSequence([0, 0]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@pytest.mark.parametrize(("seed", "episode"), [(-1, 0), (2**63, 0), (1.5, 0), ([], 0), (0, -1), (0, 0.5), (0, True)])
def test_a_seed_of_no_episode_is_refused(seed: Any, episode: Any) -> None:
    with pytest.raises(ConfigurationError, match="episode_seed, "):
        envs.episode_seed(seed, episode)


def test_resetting_by_rows_seeds_every_episode() -> None:
    env = vector("disabled", 2)
    rollout = envs.rollout(env, drawing_policy(CountingGame()), steps=30, seed=4)
    list(rollout)
    for row, game in enumerate(env.envs):
        given = [seed for seed in game.seeds if seed is not None]
        assert given == [envs.episode_seed(4, row + 2 * k) for k in range(game.resets)]
    assert envs.rollout(vector("next_step"), drawing_policy(CountingGame()), steps=1).seeds is None


def test_columns_hold_all_steps_that_are_left() -> None:
    policy = drawing_policy(CountingGame(masks="observation"))
    rollout = envs.rollout(vector("same_step", masks="observation"), policy, steps=9)
    next(iter(rollout))
    columns = rollout.columns()
    assert columns.observation["obs"].shape == (8, 3, 5)
    assert columns.next_observation["action_mask"].shape == (8, 3, 4)
    assert columns.outputs["logits"].shape == (8, 3, 4)
    assert columns.log_prob.shape == columns.valid.shape == (8, 3)
    with pytest.raises(ConfigurationError, match="rollout, columns: expected steps that are left"):
        rollout.columns()


def test_columns_of_so_many_steps_go_on_where_the_last_ones_stopped() -> None:
    policy = drawing_policy(CountingGame())
    whole = envs.rollout(vector("next_step"), policy, steps=9).columns()
    rollout = envs.rollout(vector("next_step"), policy, steps=9)
    parts = [rollout.columns(4), rollout.columns(4), rollout.columns(4)]
    assert [len(part.reward) for part in parts] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate([part.sampled_action for part in parts]), whole.sampled_action)
    np.testing.assert_array_equal(np.concatenate([part.observation for part in parts]), whole.observation)
    for steps in (0, -1, True, 1.5):
        with pytest.raises(ConfigurationError, match=f"rollout, columns, steps: expected at least 1, got {steps}"):
            rollout.columns(steps)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="rollout, columns: expected steps that are left"):
        rollout.columns(4)


def test_new_weights_count_from_the_next_step_on() -> None:
    env = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    policy = cartpole.policy()
    versions = []
    for step in envs.rollout(env, policy, steps=6):
        versions.append(step.version.tolist())
        if len(versions) == 3:
            policy.update_weights({"b": np.array([50.0, -50.0], np.float32)})
        if len(versions) > 3:
            assert (step.sampled_action == 0).all()
    assert versions == [[1] * 3] * 3 + [[2] * 3] * 3


def test_log_probabilities_belong_to_what_was_drawn() -> None:
    step = next(iter(envs.rollout(vector("next_step", 64), drawing_policy(CountingGame()), steps=1)))
    logits = step.outputs["logits"].astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(step.log_prob, expected[np.arange(64), step.sampled_action], rtol=1e-5, atol=1e-6)
    certain = next(iter(envs.rollout(vector("next_step"), drawing_policy(CountingGame()), steps=1, deterministic=True)))
    assert (certain.log_prob == 0).all()


def gaussian(box: str, high: float = 0.5) -> Any:
    """A policy of one number whose draws leave the bounds."""
    data = small_models.graph([small_models.node("MatMul", "obs w", "mean"), small_models.node("Identity", "s", "log_std")],
                              {"obs": (small_models.FLOAT, ("N", 5))}, {"mean": (small_models.FLOAT, ("N", 1)),
                                                                         "log_std": (small_models.FLOAT, (1,))},
                              {"w": np.zeros((5, 1), np.float32), "s": np.zeros(1, np.float32)})
    space = spaces.Box(-high, high, (1,), np.float32)
    return cervello.load(data, wrappers=[cervello.Sample(cervello.heads.Gaussian("mean", log_std="log_std"))],
                         spaces=envs.Spaces((CountingGame().observation_space, space), box=box)), space


@pytest.mark.parametrize("box", ["clip", "unscale"])
def test_what_was_drawn_stays_beside_what_the_environment_executes(box: str) -> None:
    policy, space = gaussian(box)

    class Continuous(gymnasium.Env[Any, Any]):
        observation_space, action_space = CountingGame().observation_space, space

        def reset(self, **_: Any) -> Any:
            return np.zeros(5, np.float32), {}

        def step(self, action: Any) -> Any:
            assert box == "unscale" or self.action_space.contains(action)
            return np.zeros(5, np.float32), float(action[0]), False, False, {}

    step = next(iter(envs.rollout(Continuous, policy, steps=1, n_envs=64)))
    assert (np.abs(step.sampled_action) > 1).any()
    expected = np.clip(step.sampled_action, -0.5, 0.5) if box == "clip" else np.float32(0.5) * step.sampled_action
    np.testing.assert_allclose(step.action, expected, rtol=1e-6, atol=1e-7)
    assert step.reward.tolist() == [float(action) for action in step.action[:, 0]]
    np.testing.assert_allclose(step.log_prob, -0.5 * step.sampled_action[:, 0].astype(float) ** 2 - 0.5 * np.log(2 * np.pi), rtol=1e-4)


def test_memory_begins_anew_with_each_episode_and_is_carried_within_it() -> None:
    """The policy's action is the sum of what its episode has shown, so both an old sum and a lost one would be seen."""
    box = spaces.Box(-1e6, 1e6, (1,), np.float32)

    class Summing(gymnasium.Env[Any, Any]):
        observation_space = action_space = box

        def reset(self, **_: Any) -> Any:
            self._t = 0
            return np.ones(1, np.float32), {}

        def step(self, action: Any) -> Any:
            self._t += 1
            assert action[0] == self._t
            return np.ones(1, np.float32), 0.0, self._t == 4, False, {}

    policy = cervello.load(small_models.counter(), wrappers="auto", spaces=envs.Spaces(Summing(), box="clip"))
    for mode in ("NEXT_STEP", "SAME_STEP", "DISABLED"):
        env = gymnasium.vector.SyncVectorEnv([Summing] * 3, autoreset_mode=gymnasium.vector.AutoresetMode[mode])
        assert len(list(envs.rollout(env, policy, steps=15))) == 15
    many = list(envs.rollout(Summing, policy, steps=6, n_envs=256))
    assert many[-1].action.shape == (256, 1)


@pytest.mark.parametrize(("options", "message"), [
    ({"steps": 0}, "rollout, steps: expected at least 1, got 0"), ({"steps": True}, "rollout, steps: expected at least 1, got True"),
    ({"steps": 1, "seed": -1}, r"rollout, seed: expected a whole number, 0 ≤ seed < 2⁶³, got -1"),
    ({"steps": 1, "n_envs": 2}, "n_envs: expected none for an environment that is there or makes many, got 2")])
def test_options_that_make_no_sense_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        envs.rollout(vector("next_step"), drawing_policy(CountingGame()), **options)


def test_a_policy_without_spaces_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected the spaces of an environment, got none; load it with spaces=env"):
        envs.rollout(vector("next_step"), cervello.load(cartpole.model()), steps=1)
    with pytest.raises(ConfigurationError, match=r"rollout, policy: expected a cervello.Policy, got 'a.onnx'"):
        envs.rollout(vector("next_step"), "a.onnx", steps=1)  # type: ignore[arg-type]


def test_a_policy_of_another_game_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"rollout, policy: expected a policy loaded with spaces whose actions are Discrete\(4\)"):
        envs.rollout(vector("next_step"), cartpole.policy(), steps=1)


def test_an_action_outside_the_space_is_refused() -> None:
    data = small_models.graph([small_models.node("Cast", "obs", "action", to=small_models.INT64)], {
        "obs": (small_models.FLOAT, ("N", 1))}, {"action": (small_models.INT64, ("N", 1))}, {})
    box = spaces.Box(-9, 9, (1,), np.float32)

    class Loud(gymnasium.Env[Any, Any]):
        observation_space, action_space = box, spaces.Discrete(3)

        def reset(self, **_: Any) -> Any:
            return np.full(1, 7, np.float32), {}

    policy = cervello.load(data, spaces=Loud())
    with pytest.raises(cervello.InputError, match=r"output 'action': expected an action of Discrete\(3\), got 7 in row 0"):
        list(envs.rollout(Loud, policy, steps=1))


def test_what_is_no_environment_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="env: expected an id, a function that makes an environment"):
        envs.rollout(lambda: 3, drawing_policy(CountingGame()), steps=1)
