"""Sixteen CartPoles in a Gymnasium vector environment, balanced by one policy: one batch per step.

    python examples/cartpole_vector.py

A vector environment resets an environment by itself on the step after its episode has ended (`AutoresetMode.NEXT_STEP`): that step
ignores the action and returns the first observation of the next episode. That is the moment to restart the agent. The returns are drawn
to cartpole_vector.svg, with an interval of 95 of 100 for their mean.
"""

from pathlib import Path

import gymnasium
import numpy as np

import cervello
from cervello import statistics
from cervello.pictures.returns import returns_chart

ENVS, EPISODES = 16, 48

policy = cervello.load(Path(__file__).parent / "cartpole.onnx", seed=1)
envs = gymnasium.make_vec("CartPole-v1", ENVS, vectorization_mode="sync")
assert envs.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.NEXT_STEP

agents = np.arange(ENVS)
policy.begin_agents(agents)
observations, _ = envs.reset(seed=0)
running = np.zeros(ENVS)
ended = np.zeros(ENVS, bool)
returns: list[float] = []
while len(returns) < EPISODES:
    actions = policy.infer_batch(agents, {"obs": observations})["action"]
    observations, rewards, terminated, truncated, _ = envs.step(actions)
    policy.restart_agents(agents[ended])  # their environments have just been reset
    running = np.where(ended, 0.0, running + rewards)
    ended = terminated | truncated
    returns += running[ended].tolist()
envs.close()

print(f"{len(returns)} episodes in {ENVS} environments, mean return {np.mean(returns):.1f} (at most 500)")
chart = returns_chart("CartPole-v1", f"{len(returns)} episodes", [(policy.name, returns, float(np.mean(returns)), statistics.bca(returns))])
Path("cartpole_vector.svg").write_text(chart, encoding="utf-8")
