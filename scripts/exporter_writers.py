"""Writes the files of one exporter; `scripts/exporters.py` runs it with an interpreter that has the exporter's packages.

    python scripts/exporter_writers.py torch-script FOLDER

Weights are random with a fixed seed. `cases.json` in the folder lists the files, and the exporter's message where it wrote none.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import warnings
from pathlib import Path
from typing import Any

OPSETS = (11, 13, 15, 17, 18, 20, 21, 23)
BATCHES = ("free", "baked", "odd name")


def torch_policies() -> dict[str, tuple[Any, dict[str, tuple[tuple[int, ...], int]], list[str]]]:
    """Kinds of policies: module, {input: (shape at 2 rows, batch axis)}, output names."""
    import torch
    from torch import nn

    class Recurrent(nn.Module):
        def __init__(self, core: Any) -> None:
            super().__init__()
            self.core, self.head = core, nn.Linear(16, 3)

        def forward(self, obs: Any, *state: Any) -> Any:
            out, after = self.core(obs.unsqueeze(0), state if len(state) > 1 else state[0])
            after = after if isinstance(after, tuple) else (after,)
            return (self.head(out.squeeze(0)), *after)

    class Entities(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(6, 16), nn.Linear(16, 3)
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, entities: Any) -> Any:
            seen = self.embed(entities)
            return self.head((seen + self.attention(seen, seen, seen, need_weights=False)[0]).mean(1))

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(6, 16), nn.Linear(16, 3)
            self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)

        def forward(self, entities: Any) -> Any:
            return self.head(self.layer(self.embed(entities)).mean(1))

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, entities: Any, present: Any) -> Any:
            seen = torch.relu(self.embed(entities)).masked_fill(present.unsqueeze(-1) < 0, -1e9)
            return self.head(seen.amax(1))

    mlp = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.LayerNorm(32), nn.Linear(32, 3))
    cnn = nn.Sequential(nn.Conv2d(3, 8, 4, 2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 5 * 5, 3))
    state = (1, 2, 16), 1
    return {
        "MLP": (mlp, {"obs": ((2, 8), 0)}, ["action"]),
        "CNN": (cnn, {"obs": ((2, 3, 16, 16), 0)}, ["action"]),
        "LSTM": (Recurrent(nn.LSTM(8, 16)), {"obs": ((2, 8), 0), "h_in": state, "c_in": state}, ["action", "h_out", "c_out"]),
        "GRU": (Recurrent(nn.GRU(8, 16)), {"obs": ((2, 8), 0), "h_in": state}, ["action", "h_out"]),
        "MultiheadAttention": (Entities(), {"obs": ((2, 5, 6), 0)}, ["action"]),
        "TransformerEncoderLayer": (Encoder(), {"obs": ((2, 5, 6), 0)}, ["action"]),
        "entity list": (Pooled(), {"obs": ((2, 5, 6), 0), "present": ((2, 5), 0)}, ["action"]),
    }


def sb3_policies() -> dict[str, tuple[Any, dict[str, tuple[tuple[int, ...], int]], list[str]]]:
    import gymnasium
    import numpy as np
    import torch
    from stable_baselines3 import DQN, PPO, SAC

    class Actions(torch.nn.Module):
        def __init__(self, policy: Any) -> None:
            super().__init__()
            self.policy = policy

        def forward(self, obs: Any) -> Any:
            return self.policy._predict(obs, deterministic=True)

    found = {}
    for cls, env in ((PPO, "CartPole-v1"), (DQN, "CartPole-v1"), (PPO, "Pendulum-v1"), (SAC, "Pendulum-v1")):
        made = gymnasium.make(env)
        policy = cls("MlpPolicy", made, seed=0, device="cpu").policy
        size = int(np.prod(made.observation_space.shape))
        found[f"{cls.__name__} {env}"] = Actions(policy), {"obs": ((2, size), 0)}, ["action"]
    return found


def write_torch(folder: Path, dynamo: bool, policies: dict[str, Any], opsets: tuple[int, ...]) -> list[dict[str, Any]]:
    import torch

    cases = []
    for kind, (module, inputs, outputs) in policies.items():
        module.eval()
        for batch in BATCHES:
            symbol = {"free": "batch", "odd name": "s77_agents"}.get(batch)
            arrays = []
            for shape, axis in inputs.values():
                shape = tuple(1 if symbol is None and i == axis else n for i, n in enumerate(shape))
                arrays.append(torch.randn(shape))
            options: dict[str, Any] = {}
            if symbol is not None and dynamo:
                dim = torch.export.Dim(symbol)
                axes = [{axis: dim} for _, axis in inputs.values()]
                options["dynamic_shapes"] = (axes[0], tuple(axes[1:])) if "h_in" in inputs else tuple(axes)
                if kind in ("MLP", "CNN"):
                    options["dynamic_shapes"] = ({0: dim},)
            elif symbol is not None:
                options["dynamic_axes"] = {name: {axis: symbol} for name, (_, axis) in inputs.items()} | {
                    name: {1 if name in ("h_out", "c_out") else 0: symbol} for name in outputs}
            for opset in opsets:
                case: dict[str, Any] = {"kind": kind, "batch": batch, "opset": opset}
                file = f"{kind}-{batch}-{opset}.onnx".replace(" ", "_")
                try:
                    torch.onnx.export(module, tuple(arrays), str(folder / file), dynamo=dynamo, opset_version=opset,
                                      input_names=list(inputs), output_names=outputs, **options)
                    case["file"] = file
                except Exception as error:  # an exporter's refusal is a result
                    case["error"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:200]
                cases.append(case)
    return cases


def write_sklearn(folder: Path) -> list[dict[str, Any]]:
    import numpy as np
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 5)).astype(np.float32)
    kinds = {"StandardScaler, MLPRegressor": make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(16,), max_iter=20)),
             "Normalizer, Ridge": make_pipeline(Normalizer(), Ridge()), "LogisticRegression": LogisticRegression(),
             "RandomForestRegressor": RandomForestRegressor(5, max_depth=4)}
    cases = []
    for kind, estimator in kinds.items():
        estimator.fit(x, (x[:, 0] > 0).astype(np.int64) if kind == "LogisticRegression" else x[:, :2].sum(1))
        for opset in OPSETS:
            case: dict[str, Any] = {"kind": kind, "batch": "free", "opset": opset}
            file = f"{kind}-{opset}.onnx".replace(", ", "_")
            try:
                options = {"zipmap": False} if kind == "LogisticRegression" else None
                (folder / file).write_bytes(to_onnx(estimator, x[:1], target_opset={"": opset, "ai.onnx.ml": 3},
                                                    options=options).SerializeToString())
                case["file"] = file
            except Exception as error:  # an exporter's refusal is a result
                case["error"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:200]
            cases.append(case)
    return cases


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    warnings.simplefilter("ignore")
    if name == "skl2onnx":
        cases, packages = write_sklearn(folder), ["skl2onnx", "scikit-learn", "onnx"]
    else:
        import torch

        torch.manual_seed(0)
        packages = ["torch", "onnx", "onnxscript"]
        if name == "sb3":
            cases, packages = write_torch(folder, False, sb3_policies(), (17,)), [*packages, "stable-baselines3"]
        else:
            dynamo = name == "torch-dynamo"
            cases = write_torch(folder, dynamo, torch_policies(), OPSETS)
    versions = {package: importlib.metadata.version(package) for package in packages}
    (folder / "cases.json").write_text(json.dumps({"versions": versions, "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
