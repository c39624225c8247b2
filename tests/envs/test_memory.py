"""Recurrent policies in games: memory is carried within an episode, cleared at its end, and one exported row serves many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import onnx
import pytest
from small_models import FLOAT, dense, graph, node

import cervello
from cervello import envs

Array = np.ndarray[Any, Any]


def remembering(width: int, actions: int, batch: int | str = "N", hidden: int = 6) -> bytes:
    """obs [batch, width], h_in [1, batch, hidden] → logits [batch, actions], h_out: a GRU as Stable-Baselines3 and Isaac Lab export it."""
    constants = {"w": dense(1, 3 * hidden, width), "r": dense(1, 3 * hidden, hidden, seed=1), "b": dense(1, 6 * hidden, seed=2),
                 "front": np.array([0], np.int64), "one": np.array([1], np.int64), "v": dense(hidden, actions, seed=3) * np.float32(8)}
    nodes = [node("Unsqueeze", "obs front", "x"), node("GRU", "x w r b  h_in", "y h_out", hidden_size=hidden),
             node("Squeeze", "y one", "z"), node("Squeeze", "z front", "top"), node("MatMul", "top v", "logits")]
    state = (FLOAT, (1, batch, hidden))
    return graph(nodes, {"obs": (FLOAT, (batch, width)), "h_in": state}, {"logits": (FLOAT, (batch, actions)), "h_out": state}, constants)


def cartpole_policy(batch: int | str = "N") -> cervello.Policy:
    return cervello.load(remembering(4, 2, batch), wrappers="auto", spaces=gymnasium.make("CartPole-v1"), seed=3)


def test_a_file_exported_for_one_row_runs_in_256_environments() -> None:
    data = remembering(4, 2, 1)
    assert [each.dim_value for each in onnx.load_from_string(data).graph.input[0].type.tensor_type.shape.dim] == [1, 4]
    one, many = cartpole_policy(1), cartpole_policy()
    found, expected = (envs.rollout("CartPole-v1", policy, steps=30, n_envs=256, seed=4).columns() for policy in (one, many))
    assert found.action.tobytes() == expected.action.tobytes()
    assert found.outputs["logits"].tobytes() == expected.outputs["logits"].tobytes()
    alone = envs.rollout("CartPole-v1", cartpole_policy(1), steps=30, n_envs=1, seed=4).columns()
    length = int(np.argmax(alone.terminated[:, 0])) + 1 if alone.terminated.any() else 30
    assert alone.outputs["logits"][:length, 0].tobytes() == found.outputs["logits"][:length, 0].tobytes()


def test_each_episode_is_that_of_a_fresh_policy_and_memory_matters_within_it() -> None:
    """Episode k played after others, and alone by a policy that has seen nothing: the same logits to the last bit."""
    seed, episodes = 6, 5
    policy = cartpole_policy()
    seen: list[list[Array]] = [[]]
    run = envs.rollout("CartPole-v1", policy, steps=400, seed=seed, deterministic=True)
    for step in run:
        seen[-1].append(step.outputs["logits"][0])
        if step.terminated[0] or step.truncated[0]:
            seen.append([])
        if len(seen) > episodes:
            break
    run.close()
    differs = False
    for k in range(episodes):
        env, fresh = gymnasium.make("CartPole-v1"), cartpole_policy()
        fresh.begin_agent("alone")
        observation, _ = env.reset(seed=envs.episode_seed(seed, k))
        for logits in seen[k]:
            mine = fresh.infer({"alone": {"obs": observation}}, deterministic=True)["alone"]["logits"]
            assert np.asarray(mine).tobytes() == logits.tobytes()
            stateless = policy.model.run({"obs": observation[None].astype(np.float32), "h_in": np.zeros((1, 1, 6), np.float32)})["logits"]
            differs |= stateless[0].tobytes() != logits.tobytes()
            observation, *_ = env.step(int(logits.argmax()))
    assert differs


def test_opponents_forget_at_the_end_of_an_episode_and_not_before(tmp_path: Path) -> None:
    """The second episode of a game is, to the last bit, the first one of a new game; a policy without memory plays another one."""
    tag = pytest.importorskip("mpe2.simple_tag_v3", reason="mpe2")
    (tmp_path / "hunter.onnx").write_bytes(remembering(16, 5))

    def made() -> envs.Opponents:
        return envs.Opponents(tag.parallel_env(max_cycles=15), learner="agent_0", policies={"adversary_*": tmp_path / "hunter.onnx"},
                              deterministic=True)

    def episode(env: envs.Opponents, seed: int) -> list[bytes]:
        found = [env.reset(seed=seed)[0].tobytes()]
        return found + [env.step(t % 5)[0].tobytes() for t in range(15)]

    env = made()
    episode(env, 1)
    second = episode(env, 2)
    assert second == episode(made(), 2)
    carried = made()
    carried.reset(seed=2)
    for t in range(15):  # the hunters forget at each step
        observation = carried.step(t % 5)[0].tobytes()
        for name in [name for _, _, names in carried.match.roster.groups for name in names]:
            policy = carried.match.roster.groups[0][0]
            policy.end_agent(name)
            policy.begin_agent(name)
        if observation != second[t + 1]:
            return
    pytest.fail("expected hunters without memory to play another game")
