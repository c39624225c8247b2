"""Policies of Stable-Baselines3 and sb3-contrib, untrained; by both of torch's exporters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch_export import Forward, Input, Network, write_networks


class Empty(gymnasium.Env[Any, Any]):
    """An environment of given spaces in which nothing happens: a policy's shape comes from the spaces."""

    def __init__(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}

    def action_masks(self) -> Any:
        return np.ones(sum(np.atleast_1d(getattr(self.action_space, "nvec", getattr(self.action_space, "n", 0)))), bool)


VECTOR = spaces.Box(-1, 1, (6,), np.float32)
PICTURE = spaces.Box(0, 255, (3, 36, 36), np.uint8)
MIXED = spaces.Dict({"picture": PICTURE, "vector": VECTOR})
DISCRETE, BOX, BRANCHES = spaces.Discrete(4), spaces.Box(-2, 2, (2,), np.float32), spaces.MultiDiscrete([3, 2])


def made(cls: Any, observation: spaces.Space[Any], action: spaces.Space[Any], network: str = "MlpPolicy", **options: Any) -> Any:
    return cls(network, Empty(observation, action), seed=0, device="cpu", **options).policy.eval()


def actions(policy: Any, obs: Any) -> Any:
    return policy._predict(obs, deterministic=True)


def documented(policy: Any, obs: Any) -> Any:
    """As the documentation of Stable-Baselines3 exports actor-critics: actions, values, log-probabilities."""
    return policy(obs, deterministic=True)


def logits(policy: Any, obs: Any) -> Any:
    return policy.action_net(policy.mlp_extractor.forward_actor(policy.extract_features(obs, policy.pi_features_extractor)))


def dictionary(policy: Any, picture: Any, vector: Any) -> Any:
    return logits(policy, {"picture": picture, "vector": vector})


def recurrent(policy: Any, obs: Any, h_in: Any, c_in: Any, starts: Any) -> Any:
    keep = (1.0 - starts).view(1, -1, 1)
    features = policy.extract_features(obs, policy.pi_features_extractor)
    seen, (h_out, c_out) = policy.lstm_actor(features.unsqueeze(0), (keep * h_in, keep * c_in))
    return policy.action_net(policy.mlp_extractor.forward_actor(seen.squeeze(0))), h_out, c_out


def masked(policy: Any, obs: Any, mask: Any) -> Any:
    """Logits in which what the mask forbids is as small as MaskablePPO makes it."""
    return torch.where(mask.bool(), logits(policy, obs), torch.tensor(-1e8))


def network(policy: Any, of: Any, output: str = "action", inputs: dict[str, Input] | None = None) -> Network:
    return Network(Forward(policy, of), inputs or {"obs": Input((2, 6))}, {output: 0})


def sb3() -> dict[str, Network]:
    from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3

    pictures = {"obs": Input((2, 3, 36, 36), dtype=torch.uint8)}
    both = {"picture": Input((2, 3, 36, 36), dtype=torch.uint8), "vector": Input((2, 6))}
    return {
        "PPO Discrete": network(made(PPO, VECTOR, DISCRETE), logits, "logits"),
        "PPO MultiDiscrete": network(made(PPO, VECTOR, BRANCHES), logits, "logits"),
        "PPO Box": network(made(PPO, VECTOR, BOX), logits),
        "PPO Box, gSDE": network(made(PPO, VECTOR, BOX, use_sde=True), actions),
        "PPO Discrete, as documented": Network(Forward(made(PPO, VECTOR, DISCRETE), documented), {"obs": Input((2, 6))},
                                               {"action": 0, "value": 0, "log_prob": 0}),
        "PPO CnnPolicy": network(made(PPO, PICTURE, DISCRETE, "CnnPolicy"), logits, "logits", pictures),
        "PPO MultiInputPolicy": network(made(PPO, MIXED, DISCRETE, "MultiInputPolicy"), dictionary, "logits", both),
        "A2C Discrete": network(made(A2C, VECTOR, DISCRETE), logits, "logits"),
        "DQN": network(made(DQN, VECTOR, DISCRETE, buffer_size=9), lambda policy, obs: policy.q_net(obs), "q_values"),
        "DQN, action": network(made(DQN, VECTOR, DISCRETE, buffer_size=9), actions),
        "SAC": network(made(SAC, VECTOR, BOX, buffer_size=9), actions),
        "TD3": network(made(TD3, VECTOR, BOX, buffer_size=9), actions),
        "DDPG": network(made(DDPG, VECTOR, BOX, buffer_size=9), actions),
    }


def contrib() -> dict[str, Network]:
    from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO

    state, n_layers = {"lstm_hidden_size": 16}, 2
    found = {}
    for layers in (1, n_layers):
        policy = made(RecurrentPPO, VECTOR, DISCRETE, "MlpLstmPolicy", policy_kwargs={**state, "n_lstm_layers": layers})
        held = Input((layers, 2, 16), 1)
        found[f"RecurrentPPO, {layers} layer{'s' * (layers > 1)}"] = Network(
            Forward(policy, recurrent), {"obs": Input((2, 6)), "h_in": held, "c_in": held, "episode_starts": Input((2,))},
            {"logits": 0, "h_out": 1, "c_out": 1})
    maskable = made(MaskablePPO, VECTOR, DISCRETE)
    return found | {
        "MaskablePPO": network(maskable, logits, "logits"),
        "MaskablePPO, mask inside": network(maskable, masked, "logits", {"obs": Input((2, 6)), "action_masks": Input((2, 4))}),
        "QR-DQN": network(made(QRDQN, VECTOR, DISCRETE, buffer_size=9), lambda policy, obs: policy.quantile_net(obs).mean(1), "q_values"),
        "QR-DQN, action": network(made(QRDQN, VECTOR, DISCRETE, buffer_size=9), actions),
        "TRPO": network(made(TRPO, VECTOR, BOX), logits),
        "TQC": network(made(TQC, VECTOR, BOX, buffer_size=9), actions),
        "CrossQ": network(made(CrossQ, VECTOR, BOX, buffer_size=9), actions),
        "ARS": network(made(ARS, VECTOR, BOX), lambda policy, obs: policy._predict(obs)),
    }


def write(name: str, folder: Path) -> list[dict[str, Any]]:
    return write_networks(folder, contrib() if name == "sb3-contrib" else sb3())
