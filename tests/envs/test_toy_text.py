"""Gymnasium's toy text: Taxi gives masks in its infos, Blackjack observes a tuple of numbers, FrozenLake a single one."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text.taxi import TaxiEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from small_models import FLOAT, INT64, dense, graph, node

import cervello
from cervello import envs

STEPS = 25


class Judge(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Lets no action pass that the mask of the last info forbids; counts those that it has left out."""

    forbidden = 0

    def reset(self, **options: Any) -> Any:
        observation, info = self.env.reset(**options)
        self.mask = info["action_mask"]
        return observation, info

    def step(self, action: Any) -> Any:
        assert self.mask[action], f"an illegal action: {action}"
        self.forbidden += int((self.mask == 0).sum())
        found = self.env.step(action)
        self.mask = found[4]["action_mask"]
        return found


def taxi() -> Judge:
    return Judge(gymnasium.wrappers.TimeLimit(TaxiEnv(), STEPS))


def taxi_policy() -> cervello.Policy:
    """state [N] int64 → logits [N, 6] out of a table."""
    data = graph([node("Gather", "table state", "logits", axis=0)], {"state": (INT64, ("N",))}, {"logits": (FLOAT, ("N", 6))},
                 {"table": dense(500, 6)})
    return cervello.load(data, wrappers="auto", spaces=taxi(), seed=2)


@pytest.mark.parametrize("kind", [*AutoresetMode, "VecEnv", "single"])
def test_the_masks_of_taxi_are_obeyed(kind: Any) -> None:
    games: list[Judge] = []

    def made() -> Judge:
        games.append(taxi())
        return games[-1]

    env: Any = made
    if kind == "VecEnv":
        env = pytest.importorskip("stable_baselines3.common.vec_env").DummyVecEnv([made] * 3)
    elif kind != "single":
        env = SyncVectorEnv([made] * 3, autoreset_mode=kind)
    run = envs.rollout(env, taxi_policy(), steps=3 * STEPS, seed=1, n_envs=3 if kind == "single" else None)
    columns = run.columns()
    assert (columns.terminated | columns.truncated).sum() >= 6
    assert sum(game.forbidden for game in games) > 3 * STEPS
    assert run.empty_masks == 0


def test_predict_obeys_the_mask_of_taxi_too() -> None:
    env, policy = taxi(), taxi_policy()
    observation, info = env.reset(seed=1)
    for deterministic in (True, False) * 10:
        action, _ = policy.predict(observation, deterministic=deterministic, action_masks=info["action_mask"])
        observation, _, terminated, truncated, info = env.step(int(action))  # the judge refuses an illegal one
        if terminated or truncated:
            observation, info = env.reset()
    assert env.forbidden > 20


def test_blackjack_is_played_as_by_hand() -> None:
    """A tuple of a sum, a card and an ace is told by position: the sum decides, 17 or more stands."""
    def model() -> bytes:
        stands = np.zeros((32, 2), np.float32)
        stands[17:, 0], stands[:17, 1] = 5, 5
        nodes = [node("MatMul", "sum s", "a"), node("MatMul", "card c", "b"), node("MatMul", "ace d", "c2"), node("Add", "a b", "ab"),
                 node("Add", "ab c2", "logits")]
        return graph(nodes, {"sum": (FLOAT, ("N", 32)), "card": (FLOAT, ("N", 11)), "ace": (FLOAT, ("N", 2))},
                     {"logits": (FLOAT, ("N", 2))}, {"s": stands, "c": np.zeros((11, 2), np.float32), "d": np.zeros((2, 2), np.float32)})

    spaces = envs.Spaces(gymnasium.make("Blackjack-v1"), keys={0: "sum", 1: "card", 2: "ace"})
    policy = cervello.load(model(), wrappers="auto", spaces=spaces)
    result = envs.play("Blackjack-v1", policy, episodes=200, seed=3, n_envs=7, deterministic=True)
    env, expected = gymnasium.make("Blackjack-v1"), []
    assert result.seeds is not None
    for seed in result.seeds:
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            observation, reward, over, _, _ = env.step(0 if observation[0] >= 17 else 1)
        expected.append(reward)
    assert result["model"].returns.tolist() == expected
    assert set(expected) >= {-1.0, 0.0, 1.0}
    for mode in AutoresetMode:
        columns = envs.rollout(SyncVectorEnv([lambda: gymnasium.make("Blackjack-v1")] * 3, autoreset_mode=mode), policy, steps=20,
                               deterministic=True).columns()
        sums = columns.observation[0][columns.valid]
        assert columns.action[columns.valid].tolist() == [0 if total >= 17 else 1 for total in sums.tolist()]


def test_a_number_goes_as_an_index_or_as_one_of_many() -> None:
    table = dense(16, 4)
    by_index = graph([node("Gather", "table x", "logits", axis=0)], {"x": (INT64, ("N",))}, {"logits": (FLOAT, ("N", 4))}, {"table": table})
    one_hot = graph([node("MatMul", "x table", "logits")], {"x": (FLOAT, ("N", 16))}, {"logits": (FLOAT, ("N", 4))}, {"table": table})
    found = [envs.play("FrozenLake-v1", cervello.load(data, wrappers="auto", spaces=gymnasium.make("FrozenLake-v1"), seed=1), episodes=40,
                       seed=2, n_envs=n)["model"] for data in (by_index, one_hot) for n in (1, 3)]
    assert all(each.lengths.tolist() == found[0].lengths.tolist() for each in found)
    assert len(set(found[0].lengths.tolist())) > 5
