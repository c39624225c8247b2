"""Actors of TorchRL by both of torch's exporters: what a TensorDictModule computes, with its keys as names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from tensordict.nn import InteractionType, NormalParamExtractor, TensorDictModule, TensorDictSequential, set_interaction_type
from torch import nn
from torch.distributions import Categorical
from torch_export import Input, Network, write_networks
from torchrl.modules import MLP, ConvNet, GRUModule, LSTMModule, ProbabilisticActor, QValueActor, TanhNormal


class Called(nn.Module):
    """A tensordict module that is called with tensors; deterministic."""

    def __init__(self, module: Any, keys: list[str], outputs: list[Any]) -> None:
        super().__init__()
        self.module, self._keys, self._outputs = module, keys, outputs

    def forward(self, *given: torch.Tensor) -> Any:
        held = TensorDict(dict(zip(self._keys, given, strict=True)), batch_size=[given[0].shape[0]])
        with set_interaction_type(InteractionType.DETERMINISTIC):
            found = self.module(held)
        return tuple(found[name] for name in self._outputs)


def network(module: Any, inputs: dict[str, Input], outputs: list[str]) -> Network:
    named = {key if isinstance(key, str) else "_".join(key): 0 for key in outputs}
    return Network(Called(module.select_out_keys(*outputs), list(inputs), outputs), inputs, named)


def recurrent(cls: Any, n_states: int) -> Network:
    """One step: a state is (batch, layers, hidden); `is_init` clears it."""
    states = [f"recurrent_state_{side}" for side in ("h", "c")[:n_states]]
    after = [("next", state) for state in states]
    core = cls(input_size=8, hidden_size=16, in_keys=["observation", *states, "is_init"], out_keys=["features", *after])
    head = TensorDictModule(MLP(in_features=16, out_features=3, num_cells=[32]), in_keys=["features"], out_keys=["logits"])
    inputs = {"observation": Input((2, 8)), "is_init": Input((2, 1), dtype=torch.bool), **{state: Input((2, 1, 16)) for state in states}}
    return network(TensorDictSequential(core, head), inputs, ["logits", *after])


def networks() -> dict[str, Network]:
    obs = {"observation": Input((2, 8))}
    discrete = ProbabilisticActor(
        TensorDictModule(MLP(in_features=8, out_features=4, num_cells=[32]), in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"], distribution_class=Categorical)
    parameters = nn.Sequential(MLP(in_features=8, out_features=6, num_cells=[32]), NormalParamExtractor())
    continuous = ProbabilisticActor(TensorDictModule(parameters, in_keys=["observation"], out_keys=["loc", "scale"]),
                                    in_keys=["loc", "scale"], distribution_class=TanhNormal)
    values = QValueActor(MLP(in_features=8, out_features=4, num_cells=[32]), in_keys=["observation"], action_space="categorical")
    seen = nn.Sequential(ConvNet(in_features=3, num_cells=[8, 8], kernel_sizes=[4, 3], strides=[2, 1]),
                         MLP(in_features=200, out_features=4, num_cells=[32]))
    pictures = TensorDictModule(seen, in_keys=["pixels"], out_keys=["logits"])
    return {
        "ProbabilisticActor, Categorical": network(discrete, obs, ["logits", "action"]),
        "ProbabilisticActor, TanhNormal": network(continuous, obs, ["loc", "scale", "action"]),
        "QValueActor": network(values, obs, ["action", "action_value"]),
        "ConvNet": network(pictures, {"pixels": Input((2, 3, 16, 16))}, ["logits"]),
        "LSTMModule": recurrent(LSTMModule, 2),
        "GRUModule": recurrent(GRUModule, 1),
    }


def write(name: str, folder: Path) -> list[dict[str, Any]]:
    return write_networks(folder, networks())
