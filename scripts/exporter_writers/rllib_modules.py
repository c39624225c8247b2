"""RLModules of RLlib by both of torch's exporters: what `forward_inference` computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from torch_export import Forward, Input, Network, write_networks

VECTOR, PICTURE = spaces.Box(-1, 1, (6,), np.float32), spaces.Box(-1, 1, (42, 42, 3), np.float32)
DISCRETE, BOX = spaces.Discrete(4), spaces.Box(-1, 1, (2,), np.float32)


class Empty(gymnasium.Env[Any, Any]):
    """Nothing happens: a module's shape comes from the spaces."""

    def __init__(self, observation: Any, action: Any) -> None:
        self.observation_space, self.action_space = observation, action


def made(config: Any, observation: Any, action: Any, **model: Any) -> Any:
    config = config().environment(observation_space=observation, action_space=action).rl_module(model_config=DefaultModelConfig(**model))
    return config.get_rl_module_spec(env=Empty(observation, action), inference_only=True).build().eval()


def plain(module: Any, obs: Any) -> Any:
    return module.forward_inference({Columns.OBS: obs})[Columns.ACTION_DIST_INPUTS]


def greedy(module: Any, obs: Any) -> Any:
    return module.forward_inference({Columns.OBS: obs})[Columns.ACTIONS]


def recurrent(module: Any, obs: Any, h: Any, c: Any) -> Any:
    """One step of time: RLlib's recurrent modules take (batch, time, features)."""
    out = module.forward_inference({Columns.OBS: obs.unsqueeze(1), Columns.STATE_IN: {"h": h, "c": c}})
    return out[Columns.ACTION_DIST_INPUTS].squeeze(1), out[Columns.STATE_OUT]["h"], out[Columns.STATE_OUT]["c"]


def networks() -> dict[str, Network]:
    obs, state, logits = {"obs": Input((2, 6))}, Input((2, 1, 16)), {"action_dist_inputs": 0}
    small = {"fcnet_hiddens": [32, 32]}
    return {
        "PPO Discrete": Network(Forward(made(PPOConfig, VECTOR, DISCRETE, **small), plain), obs, logits),
        "PPO Box": Network(Forward(made(PPOConfig, VECTOR, BOX, **small), plain), obs, logits),
        "PPO pictures": Network(Forward(made(PPOConfig, PICTURE, DISCRETE, conv_filters=[[8, 4, 2], [8, 4, 2]]), plain),
                                {"obs": Input((2, 42, 42, 3))}, logits),
        "PPO LSTM": Network(Forward(made(PPOConfig, VECTOR, DISCRETE, use_lstm=True, lstm_cell_size=16, **small), recurrent),
                            {"obs": Input((2, 6)), "state_in_h": state, "state_in_c": state},
                            {**logits, "state_out_h": 0, "state_out_c": 0}),
        "SAC": Network(Forward(made(SACConfig, VECTOR, BOX, **small), plain), obs, logits),
        "DQN": Network(Forward(made(DQNConfig, VECTOR, DISCRETE, **small), greedy), obs, {"actions": 0}),
    }


def write(name: str, folder: Path) -> list[dict[str, Any]]:
    return write_networks(folder, networks())
