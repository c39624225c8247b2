"""Policies by the exporter of Godot RL Agents for Stable-Baselines3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cases import attempt, progress
from godot_rl.wrappers.onnx.stable_baselines_export import export_model_as_onnx
from gymnasium import spaces
from sb3_policies import Empty
from stable_baselines3 import PPO, SAC


def learners() -> dict[str, tuple[Any, bool]]:
    """Kinds: a learner, and whether observations are an array rather than a dictionary."""
    seen, box = spaces.Box(-1, 1, (8,), np.float32), spaces.Box(-1, 1, (2,), np.float32)
    named = spaces.Dict({"obs": seen})
    return {
        "PPO Box": (PPO("MultiInputPolicy", Empty(named, box), device="cpu", seed=0), False),
        "PPO MultiDiscrete": (PPO("MultiInputPolicy", Empty(named, spaces.MultiDiscrete([3, 2])), device="cpu", seed=0), False),
        "PPO Box, array": (PPO("MlpPolicy", Empty(seen, box), device="cpu", seed=0), True),
        "SAC": (SAC("MlpPolicy", Empty(seen, box), buffer_size=9, device="cpu", seed=0), True),
    }


def write(name: str, folder: Path) -> list[dict[str, Any]]:
    cases = []
    for kind, (learner, array) in learners().items():
        progress(kind)
        cases.append(attempt(folder, kind, "free", 17, lambda path, learner=learner, array=array:
                             export_model_as_onnx(learner, str(path), use_obs_array=array)))
    return cases
