"""Estimators of scikit-learn by skl2onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cases import OPSETS, attempt, progress
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler


def write(name: str, folder: Path) -> list[dict[str, Any]]:
    x = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32)
    kinds = {"StandardScaler, MLPRegressor": make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(16,), max_iter=20)),
             "Normalizer, Ridge": make_pipeline(Normalizer(), Ridge()), "LogisticRegression": LogisticRegression(),
             "RandomForestRegressor": RandomForestRegressor(5, max_depth=4)}
    cases = []
    for kind, estimator in kinds.items():
        progress(kind)
        classifies = kind == "LogisticRegression"
        estimator.fit(x, (x[:, 0] > 0).astype(np.int64) if classifies else x[:, :2].sum(1))
        for opset in OPSETS:
            def written(path: Path, estimator: Any = estimator, opset: int = opset, classifies: bool = classifies) -> None:
                model = to_onnx(estimator, x[:1], target_opset={"": opset, "ai.onnx.ml": 3},
                                options={"zipmap": False} if classifies else None)
                path.write_bytes(model.SerializeToString())

            cases.append(attempt(folder, kind, "free", opset, written))
    return cases
