"""Writes the files of one exporter; `scripts/exporters.py` runs it with an interpreter that has the exporter's packages.

    python scripts/exporter_writers torch-script FOLDER

Weights are random with a fixed seed. `cases.json` in the folder lists the files, and the exporter's message where it wrote none.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import platform
import sys
import warnings
from pathlib import Path

# Exporter: the module with `write(name, folder)`, which returns cases, and the packages whose versions the page shows.
TORCH = ("torch", "onnx", "onnxscript")
WRITERS = {
    "torch-dynamo": ("torch_networks", TORCH),
    "torch-script": ("torch_networks", TORCH),
    "CleanRL": ("cleanrl_agents", TORCH),
    "Stable-Baselines3": ("sb3_policies", (*TORCH, "stable-baselines3")),
    "sb3-contrib": ("sb3_policies", (*TORCH, "stable-baselines3", "sb3-contrib")),
    "RLlib": ("rllib_modules", (*TORCH, "ray")),
    "TorchRL": ("torchrl_actors", (*TORCH, "torchrl", "tensordict")),
    "rsl_rl": ("rsl_rl_runners", (*TORCH, "rsl-rl-lib")),
    "ML-Agents": ("mlagents_policies", ("mlagents", "torch", "onnx")),
    "Godot RL Agents": ("godot_rl_policies", (*TORCH, "godot-rl", "stable-baselines3")),
    "jax2onnx": ("jax_networks", ("jax2onnx", "jax", "flax", "equinox", "onnx")),
    "tf2onnx": ("keras_networks", ("tf2onnx", "tensorflow-cpu", "onnx")),
    "skl2onnx": ("sklearn_estimators", ("skl2onnx", "scikit-learn", "onnx")),
}


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    module, packages = WRITERS[name]
    warnings.simplefilter("ignore")
    if "torch" in packages:
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(1)
        torch.distributions.Distribution.set_default_validate_args(False)  # the exporters cannot trace the checks
    cases = importlib.import_module(module).write(name, folder)
    versions = {"Python": platform.python_version()} | {package: importlib.metadata.version(package) for package in packages}
    (folder / "cases.json").write_text(json.dumps({"versions": versions, "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
