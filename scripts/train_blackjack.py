"""Trains PPO of Stable-Baselines3 on Blackjack and keeps it at four ages: the policies of examples/evaluate_minari.py.

    pip install torch stable-baselines3 onnx && python scripts/train_blackjack.py [--output examples/blackjack]

Writes behavior.pt, the library's own policy after 4,096 steps, and early.onnx, later.onnx and latest.onnx, its logits after 2,048,
12,288 and 32,768. Seeds are fixed; the weights still depend on the versions of the packages. Needs packages that the project itself does
not; the files it wrote are in the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gymnasium
import torch
from gymnasium.wrappers import FlattenObservation
from stable_baselines3 import PPO

ROOT = Path(__file__).resolve().parent.parent
AGES = {"early.onnx": 2048, "behavior.pt": 4096, "later.onnx": 12_288, "latest.onnx": 32_768}  # steps


def export(learner: PPO, path: Path) -> None:
    """obs [N, 45] ▸ logits [N, 2]."""
    network = torch.nn.Sequential(learner.policy.mlp_extractor.policy_net, learner.policy.action_net)
    torch.onnx.export(network, (torch.zeros(1, 45),), str(path), dynamo=False, input_names=["obs"], output_names=["logits"],
                      dynamic_axes={"obs": {0: "N"}, "logits": {0: "N"}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "examples" / "blackjack")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # networks this small only wait for each other
    learner = PPO("MlpPolicy", FlattenObservation(gymnasium.make("Blackjack-v1", sab=True)), n_steps=512, batch_size=128, gamma=1.0,
                  learning_rate=1e-3, ent_coef=0.02, policy_kwargs={"net_arch": [16, 16]}, seed=0, device="cpu")
    for name, steps in AGES.items():
        learner.learn(steps - learner.num_timesteps, reset_num_timesteps=False)
        if name.endswith(".pt"):
            learner.policy.save(output / name)
        else:
            export(learner, output / name)


if __name__ == "__main__":
    main()
