"""Support vector machines of ai.onnx.ml."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx
from native_graphs import rows, weights

from native_cases.case import Case
from native_cases.traditional import ml

KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")


def _list(*shape: int, seed: int = 0, scale: float = 0.5) -> list[float]:
    found: list[float] = weights(*shape, seed=seed, scale=scale).reshape(-1).tolist()
    return found


def _kernel(width: int, kind: str, degree: float = 3.0) -> dict[str, Any]:
    return {"kernel_type": kind, "kernel_params": [float(np.float32(1 / width)), 0.5, degree]}


def svm_regressor(width: int, kind: str = "RBF", n_vectors: int = 19, degree: float = 3.0, dtype: Any = np.float32, **attributes: Any,
                  ) -> onnx.ModelProto:
    """`n_vectors` of 0: coefficients of features."""
    numbers = {"coefficients": _list(n_vectors or width, seed=1), "support_vectors": _list(n_vectors, width, scale=1.0), "rho": [0.25],
               "n_supports": n_vectors, **_kernel(width, kind, degree), **attributes}
    numbers = {name: value for name, value in numbers.items() if value != []}
    return ml("SVMRegressor", rows(width, dtype=np.dtype(dtype)), **numbers)


def svm_classifier(width: int, kind: str = "RBF", labels: tuple[int, ...] = (5, 2, 9), probabilities: bool = False, degree: float = 3.0,
                   **attributes: Any) -> onnx.ModelProto:
    """Each class has a vector more than the one before it."""
    counts = [4 + i for i in range(len(labels))]
    n_pairs = len(labels) * (len(labels) - 1) // 2
    numbers = {"coefficients": _list(len(labels) - 1, sum(counts), seed=1), "support_vectors": _list(sum(counts), width, scale=1.0),
               "vectors_per_class": counts, "rho": _list(n_pairs, seed=2), **_kernel(width, kind, degree)}
    if probabilities:
        numbers |= {"prob_a": _list(n_pairs, seed=3, scale=2.0), "prob_b": _list(n_pairs, seed=4)}
    return ml("SVMClassifier", rows(width), outputs=2, **{"classlabels_ints": list(labels), **numbers, **attributes})


CASES = [
    Case("SVMRegressor-poly", partial(svm_regressor, kind="POLY")), Case("SVMRegressor-rbf", svm_regressor),
    Case("SVMRegressor-one-class", partial(svm_regressor, one_class=1)),
    Case("SVMClassifier-sigmoid", partial(svm_classifier, kind="SIGMOID")),
    Case("SVMClassifier-two", partial(svm_classifier, labels=(1, 0))),
    Case("SVMClassifier-probabilities", partial(svm_classifier, probabilities=True), tolerance=1e-5)]
