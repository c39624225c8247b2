"""Self-play: a learner of Stable-Baselines3 plays rock, paper, scissors against a growing pool of its own past.

    pip install '.[envs-test]' && python examples/self_play.py
"""

import torch
from pettingzoo.classic import rps_v2
from stable_baselines3 import PPO

from cervello import envs


def export(learner: PPO, path: str) -> str:
    network = torch.nn.Sequential(learner.policy.mlp_extractor.policy_net, learner.policy.action_net)
    names = {"input_names": ["obs"], "output_names": ["logits"], "dynamic_axes": {"obs": {0: "N"}}}
    torch.onnx.export(network, torch.zeros(1, 4), path, dynamo=False, **names)
    return path


env = envs.Opponents(rps_v2.parallel_env(), learner="player_0", policies={"player_1": "generation_0.onnx"}, seed=7)
learner = PPO("MlpPolicy", env, seed=0, n_steps=512)
export(learner, "generation_0.onnx")
for generation in range(1, 4):
    learner.learn(2_048)
    env.pool("player_1").add(export(learner, f"generation_{generation}.onnx"), weight=generation)

result = envs.play(env, {f"generation_{k}": f"generation_{k}.onnx" for k in range(4)}, episodes=30, seed=1)
result.to_svg("self_play.svg")
print(result)
