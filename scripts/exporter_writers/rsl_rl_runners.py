"""Policies of rsl_rl (IsaacLab, mjlab) by the runner's own exporter, and its networks by both of torch's exporters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from cases import attempt, progress
from rsl_rl.env import VecEnv
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict
from torch_export import Input, Network, write_networks

N_ENVS, N_OBSERVED, N_ACTIONS = 2, 8, 3


class Empty(VecEnv):
    """Nothing happens: the networks' shapes come from the observations."""

    def __init__(self) -> None:
        self.num_envs, self.num_actions, self.max_episode_length, self.device, self.cfg = N_ENVS, N_ACTIONS, 10, "cpu", {}
        self.episode_length_buf = torch.zeros(N_ENVS, dtype=torch.long)

    def get_observations(self) -> TensorDict:
        return TensorDict({"policy": torch.randn(N_ENVS, N_OBSERVED), "camera": torch.randn(N_ENVS, 1, 16, 16)}, batch_size=[N_ENVS])

    def step(self, actions: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, Any]]:
        return self.get_observations(), torch.zeros(N_ENVS), torch.zeros(N_ENVS), {}


def runner(model: dict[str, Any], groups: tuple[str, ...] = ("policy",)) -> OnPolicyRunner:
    network = {"hidden_dims": [32, 32], "activation": "elu", "obs_normalization": True, **model}
    actor = {**network, "distribution_cfg": {"class_name": "GaussianDistribution"}}
    return OnPolicyRunner(Empty(), {
        "num_steps_per_env": 4, "save_interval": 100, "obs_groups": {"actor": list(groups), "critic": list(groups)},
        "algorithm": {"class_name": "PPO", "num_learning_epochs": 1, "num_mini_batches": 1}, "actor": actor, "critic": network,
    }, log_dir=None, device="cpu")


def runners() -> dict[str, OnPolicyRunner]:
    found = {"MLP": runner({"class_name": "MLPModel"}),
             "CNN": runner({"class_name": "CNNModel", "cnn_cfg": {"output_channels": [4], "kernel_size": 3, "stride": 2}},
                           ("policy", "camera"))}
    for kind in ("LSTM", "GRU"):
        for layers in (1, 2):
            found[f"{kind}, {layers} layer{'s' * (layers > 1)}"] = runner(
                {"class_name": "RNNModel", "rnn_type": kind.lower(), "rnn_hidden_dim": 16, "rnn_num_layers": layers})
    return found


def write(name: str, folder: Path) -> list[dict[str, Any]]:
    cases, networks = [], {}
    for kind, made in runners().items():
        progress(kind)
        cases.append(attempt(folder, f"{kind}, its own exporter", "baked", 18,
                             lambda path, made=made: made.export_policy_to_onnx(str(path.parent), path.name)))
        module = made.alg.get_policy().as_onnx(verbose=False)
        given = {name: Input(tuple(n if i != _axis(name) else 2 for i, n in enumerate(value.shape)), _axis(name))
                 for name, value in zip(module.input_names, module.get_dummy_inputs(), strict=True)}
        networks[kind] = Network(module, given, {name: _axis(name) for name in module.output_names})
    return cases + write_networks(folder, networks)


def _axis(name: str) -> int:
    return 1 if name in ("h_in", "c_in", "h_out", "c_out") else 0
