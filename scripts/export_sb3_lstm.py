"""Trains a small recurrent policy with Stable-Baselines3 and exports it, as people do: states are (layers, N, hidden), the batch on axis 1.

    pip install torch sb3-contrib onnx onnxscript
    python scripts/export_sb3_lstm.py [--steps 4096] [--output tests/data/sb3_lstm.onnx]

CartPole without its velocities, so that memory is needed. Needs packages that the project itself does not; the file it wrote is in the
repository. Seeds are fixed; the weights still depend on the versions of the packages.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import onnx
import torch
from gymnasium.wrappers import TransformObservation
from sb3_contrib import RecurrentPPO

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = 32


def environment() -> gymnasium.Env[Any, Any]:
    """CartPole's position and angle alone."""
    env = gymnasium.make("CartPole-v1")
    seen = gymnasium.spaces.Box(-10, 10, (2,), np.float32)
    return TransformObservation(env, lambda obs: obs[[0, 2]].astype(np.float32), seen)


class Exported(torch.nn.Module):
    """The actor: observations, its state and whether an episode begins → probabilities of the actions, and the next state."""

    def __init__(self, policy: Any):
        super().__init__()
        self.policy = policy

    def forward(self, obs: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, episode_starts: torch.Tensor,
                ) -> tuple[torch.Tensor, ...]:
        keep = (1.0 - episode_starts).view(1, -1, 1)
        features, (hidden, cell) = self.policy.lstm_actor(obs.unsqueeze(0), (keep * hidden, keep * cell))
        latent = self.policy.mlp_extractor.forward_actor(features.squeeze(0))
        return torch.softmax(self.policy.action_net(latent), -1), hidden, cell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=4096, help="of training (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "tests" / "data" / "sb3_lstm.onnx")
    arguments = parser.parse_args()
    model = RecurrentPPO("MlpLstmPolicy", environment(), seed=0, n_steps=128, policy_kwargs={
        "lstm_hidden_size": HIDDEN, "net_arch": [32]}, device="cpu", verbose=1)
    model.learn(arguments.steps)
    exported = Exported(model.policy).eval()
    given = torch.zeros(2, 2), torch.zeros(1, 2, HIDDEN), torch.zeros(1, 2, HIDDEN), torch.zeros(2)
    batch = torch.export.Dim("n_envs")
    program = torch.onnx.export(exported, given, dynamo=True, input_names=["obs", "hidden", "cell", "episode_starts"],
                                output_names=["probabilities", "next_hidden", "next_cell"],
                                dynamic_shapes=({0: batch}, {1: batch}, {1: batch}, {0: batch}))
    proto = program.model_proto
    del proto.metadata_props[:]
    for node in proto.graph.node:  # where the exporter ran is nobody's business
        del node.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes, {len(proto.graph.node)} nodes")


if __name__ == "__main__":
    main()
