"""Policies of ML-Agents by the trainer's own exporter; no Unity is needed for that."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from cases import attempt, progress
from mlagents.trainers.policy.torch_policy import TorchPolicy
from mlagents.trainers.settings import NetworkSettings
from mlagents.trainers.torch_entities.model_serialization import ModelSerializer
from mlagents.trainers.torch_entities.networks import SimpleActor
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

# The trainer calls torch.onnx.export as it was before torch 2.9, and pins an onnx for which the new exporter's onnxscript does not exist.
torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)


def observed(*shape: int) -> ObservationSpec:
    """A sensor: a vector, entities (count, features), or a picture (channels, height, width)."""
    kinds = {1: (DimensionProperty.NONE,), 2: (DimensionProperty.VARIABLE_SIZE, DimensionProperty.NONE),
             3: (DimensionProperty.NONE, DimensionProperty.TRANSLATIONAL_EQUIVARIANCE, DimensionProperty.TRANSLATIONAL_EQUIVARIANCE)}
    return ObservationSpec(shape, kinds[len(shape)], ObservationType.DEFAULT, "sensor")


def policy(observations: list[ObservationSpec], actions: ActionSpec, **network: Any) -> TorchPolicy:
    settings = NetworkSettings(hidden_units=32, num_layers=2, normalize=True, **network)
    squashed = {"conditional_sigma": False, "tanh_squash": False}
    return TorchPolicy(0, BehaviorSpec(observations, actions), settings, SimpleActor, squashed)


def policies() -> dict[str, TorchPolicy]:
    continuous, discrete = ActionSpec.create_continuous(2), ActionSpec.create_discrete((3, 2))
    memory = NetworkSettings.MemorySettings(sequence_length=8, memory_size=32)
    return {
        "continuous": policy([observed(8)], continuous),
        "discrete": policy([observed(8)], discrete),
        "hybrid": policy([observed(8)], ActionSpec(2, (3,))),
        "picture": policy([observed(3, 36, 36), observed(4)], discrete),
        "entities": policy([observed(20, 6), observed(4)], continuous),
        "LSTM, continuous": policy([observed(8)], continuous, memory=memory),
        "LSTM, discrete": policy([observed(8)], discrete, memory=memory),
    }


def write(name: str, folder: Path) -> list[dict[str, Any]]:
    cases = []
    for kind, made in policies().items():
        progress(kind)
        export = ModelSerializer(made).export_policy_model  # takes the path without its suffix
        cases.append(attempt(folder, kind, "free", 9, lambda path, export=export: export(str(path.with_suffix("")))))
    return cases
