"""Agents as CleanRL's single-file scripts write them: its layers, its initialisation, what its `get_action_and_value` draws from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch_export import Forward, Input, Network, write_networks


def layer(made: Any, gain: float = 2 ** 0.5) -> Any:
    nn.init.orthogonal_(made.weight, gain)
    nn.init.constant_(made.bias, 0.0)
    return made


def mlp(n_in: int, n_out: int, gain: float) -> nn.Sequential:
    return nn.Sequential(layer(nn.Linear(n_in, 64)), nn.Tanh(), layer(nn.Linear(64, 64)), nn.Tanh(), layer(nn.Linear(64, n_out), gain))


class Discrete(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = mlp(4, 2, 0.01), mlp(4, 1, 1.0)


class Continuous(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.actor_mean, self.critic = mlp(8, 3, 0.01), mlp(8, 1, 1.0)
        self.actor_logstd = nn.Parameter(torch.full((1, 3), -0.5))


def gaussian(agent: Any, obs: Any) -> Any:
    mean = agent.actor_mean(obs)
    return mean, torch.exp(agent.actor_logstd.expand_as(mean)), agent.critic(obs)


class Atari(nn.Module):
    """Four grey pictures of 84 × 84, 0 to 255; optionally an LSTM that an episode's first step clears."""

    def __init__(self, recurrent: bool) -> None:
        super().__init__()
        n_pictures = 1 if recurrent else 4
        self.network = nn.Sequential(
            layer(nn.Conv2d(n_pictures, 32, 8, stride=4)), nn.ReLU(), layer(nn.Conv2d(32, 64, 4, stride=2)), nn.ReLU(),
            layer(nn.Conv2d(64, 64, 3, stride=1)), nn.ReLU(), nn.Flatten(), layer(nn.Linear(64 * 7 * 7, 128)), nn.ReLU())
        self.lstm = nn.LSTM(128, 64)
        self.actor, self.critic = layer(nn.Linear(64 if recurrent else 128, 6), 0.01), layer(nn.Linear(64 if recurrent else 128, 1), 1.0)


def atari(agent: Any, obs: Any) -> Any:
    hidden = agent.network(obs / 255.0)
    return agent.actor(hidden), agent.critic(hidden)


def atari_lstm(agent: Any, obs: Any, h_in: Any, c_in: Any, done: Any) -> Any:
    keep = (1.0 - done).view(1, -1, 1)
    hidden, (h_out, c_out) = agent.lstm(agent.network(obs / 255.0).unsqueeze(0), (keep * h_in, keep * c_in))
    hidden = torch.flatten(hidden, 0, 1)
    return agent.actor(hidden), h_out, c_out


class SacActor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc_mean, self.fc_logstd = nn.Linear(8, 256), nn.Linear(256, 256), nn.Linear(256, 3), nn.Linear(256, 3)
        self.register_buffer("action_scale", torch.full((3,), 2.0))
        self.register_buffer("action_bias", torch.full((3,), 0.5))

    def forward(self, obs: Any) -> Any:
        x = torch.relu(self.fc2(torch.relu(self.fc1(obs))))
        mean, log_std = self.fc_mean(x), torch.tanh(self.fc_logstd(x))
        return torch.tanh(mean) * self.action_scale + self.action_bias, mean, -5 + 0.5 * 7 * (log_std + 1)


def networks() -> dict[str, Network]:
    state = Input((1, 2, 64), 1)
    return {
        "PPO": Network(Forward(Discrete(), lambda agent, obs: (agent.actor(obs), agent.critic(obs))), {"obs": Input((2, 4))},
                       {"logits": 0, "value": 0}),
        "PPO continuous": Network(Forward(Continuous(), gaussian), {"obs": Input((2, 8))}, {"mean": 0, "std": 0, "value": 0}),
        "PPO Atari": Network(Forward(Atari(False), atari), {"obs": Input((2, 4, 84, 84))}, {"logits": 0, "value": 0}),
        "PPO Atari LSTM": Network(Forward(Atari(True), atari_lstm),
                                  {"obs": Input((2, 1, 84, 84)), "h_in": state, "c_in": state, "done": Input((2,))},
                                  {"logits": 0, "h_out": 1, "c_out": 1}),
        "SAC continuous": Network(SacActor(), {"obs": Input((2, 8))}, {"action": 0, "mean": 0, "log_std": 0}),
    }


def write(name: str, folder: Path) -> list[dict[str, Any]]:
    return write_networks(folder, networks())
