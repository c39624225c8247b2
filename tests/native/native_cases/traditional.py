"""Linear models, trees and preparation of features of ai.onnx.ml."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx
from native_graphs import In, one, rows, weights
from onnx import helper, numpy_helper

from native_cases.case import Case

ML = "ai.onnx.ml"
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")


def ml(op: str, *operands: In | np.ndarray[Any, Any] | None, version: int = 3, outputs: int = 1, **attributes: Any) -> onnx.ModelProto:
    """A graph of a single node of ai.onnx.ml."""
    proto = one(op, *operands, outputs=outputs, domain=ML, **attributes)
    proto.opset_import.append(helper.make_opsetid(ML, version))
    return proto


def _list(*shape: int, seed: int = 0) -> list[float]:
    found: list[float] = weights(*shape, seed=seed).reshape(-1).tolist()
    return found


def tree_lists(width: int, n_trees: int = 5, depth: int = 3, seed: int = 0, modes: tuple[str, ...] = MODES[:1], missing: bool = False,
               ) -> dict[str, list[Any]]:
    """The attributes of full trees, a node's children behind it; leaves are the nodes of the last level."""
    random = np.random.default_rng([seed, width])
    found: dict[str, list[Any]] = {f"nodes_{name}": [] for name in (
        "treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")}
    tracks = []
    for tree in range(n_trees):
        for node in range(2 ** (depth + 1) - 1):
            leaf = node >= 2 ** depth - 1
            for name, value in (("treeids", tree), ("nodeids", node), ("featureids", 0 if leaf else int(random.integers(width))),
                                ("modes", "LEAF" if leaf else modes[int(random.integers(len(modes)))]),
                                ("values", 0.0 if leaf else float(np.float32(random.choice([-1, 0, 0.5, random.standard_normal()])))),
                                ("truenodeids", 0 if leaf else 2 * node + 1), ("falsenodeids", 0 if leaf else 2 * node + 2)):
                found[f"nodes_{name}"].append(value)
            tracks.append(int(random.integers(2)))
    return found | ({"nodes_missing_value_tracks_true": tracks} if missing else {})


def votes(lists: dict[str, list[Any]], prefix: str, ids: tuple[int, ...], seed: int = 0, low: float = -1.0) -> dict[str, list[Any]]:
    """A vote of every leaf for each of these targets, at least `low`."""
    random = np.random.default_rng(seed)
    leaves = [(tree, node) for tree, node, mode in zip(lists["nodes_treeids"], lists["nodes_nodeids"], lists["nodes_modes"], strict=True)
              if mode == "LEAF"]
    every = [(*place, target, float(np.float32(random.uniform(low, 1)))) for place in leaves for target in ids]
    return {f"{prefix}_{name}": [vote[i] for vote in every] for i, name in enumerate(("treeids", "nodeids", "ids", "weights"))}


def regressor(width: int, n_targets: int = 1, dtype: Any = np.float32, **attributes: Any) -> onnx.ModelProto:
    options = {name: attributes.pop(name) for name in ("n_trees", "depth", "seed", "modes", "missing") if name in attributes}
    lists = tree_lists(width, **options)
    return ml("TreeEnsembleRegressor", rows(width, dtype=np.dtype(dtype)), n_targets=n_targets, **lists,
              **votes(lists, "target", tuple(range(n_targets))), **attributes)


def classifier(width: int, ids: tuple[int, ...], labels: tuple[int, ...], low: float = -1.0, **attributes: Any) -> onnx.ModelProto:
    lists = tree_lists(width)
    return ml("TreeEnsembleClassifier", rows(width), outputs=2, classlabels_int64s=labels, **lists, **votes(lists, "class", ids, low=low),
              **attributes)


def ensemble(width: int, dtype: Any = np.float32, n_targets: int = 2, members: Any = (7.0, -9.0, 8.0), **attributes: Any,
             ) -> onnx.ModelProto:
    """Two trees of two nodes each in the form of version 5; a node tests membership in a set, of integers in onnxruntime."""
    def tensor(values: Any, of: Any = dtype) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, of))

    return ml("TreeEnsemble", rows(width, dtype=np.dtype(dtype)), version=5, n_targets=n_targets, tree_roots=[0, 2],
              nodes_featureids=[0, width - 1, width // 2, 0], nodes_modes=tensor([0, 6, 3, 5], np.uint8),
              nodes_splits=tensor([0.25, np.nan, -0.5, 1.0]), nodes_truenodeids=[1, 0, 3, 3], nodes_trueleafs=[0, 1, 0, 1],
              nodes_falsenodeids=[1, 2, 4, 0], nodes_falseleafs=[1, 1, 1, 1], nodes_missing_value_tracks_true=[1, 0, 0, 1],
              leaf_targetids=[0, n_targets - 1, 0, n_targets - 1, 0], leaf_weights=tensor([0.5, -1.25, 2.0, 0.125, -3.0]),
              membership_values=tensor(members), **attributes)


def linear(width: int, scores: int, labels: tuple[int, ...] = (), **attributes: Any) -> onnx.ModelProto:
    """A LinearClassifier with these labels, or a LinearRegressor."""
    numbers = {"coefficients": _list(scores, width), "intercepts": _list(scores, seed=1), **attributes}
    if labels:
        return ml("LinearClassifier", rows(width), outputs=2, classlabels_ints=labels, **numbers)
    return ml("LinearRegressor", rows(width), targets=scores, **numbers)


def _encoder(width: int) -> onnx.ModelProto:
    return ml("LabelEncoder", rows(width, dtype=np.dtype(np.int64)), keys_int64s=[1, 4, -2, 3], values_floats=[0.5, 2.0, -1.0, 3.0],
              default_float=7.0)


CASES = [
    Case("Scaler", lambda w: ml("Scaler", rows(w), offset=_list(w), scale=_list(w, seed=1))),
    Case("Scaler-one", lambda w: ml("Scaler", rows(w), offset=[0.5], scale=[3.0])),
    Case("Normalizer-max", lambda w: ml("Normalizer", rows(w), norm="MAX")),
    Case("Normalizer-l1", lambda w: ml("Normalizer", rows(w), norm="L1")),
    Case("Normalizer-l2", lambda w: ml("Normalizer", rows(w), norm="L2")),
    Case("LinearRegressor", lambda w: linear(w, 1)),
    Case("LinearRegressor-logistic", lambda w: linear(w, 3, post_transform="LOGISTIC")),
    Case("LinearRegressor-softmax-zero", lambda w: linear(w, 3, post_transform="SOFTMAX_ZERO")),
    Case("LinearClassifier", lambda w: linear(w, 3, (5, 7, 9), post_transform="SOFTMAX")),
    Case("LinearClassifier-one-row", lambda w: linear(w, 1, (4, 2), post_transform="LOGISTIC")),
    Case("TreeEnsembleRegressor", regressor),
    Case("TreeEnsembleRegressor-average", partial(regressor, n_targets=3, aggregate_function="AVERAGE", base_values=[0.5, -1.0, 2.0])),
    Case("TreeEnsembleRegressor-max", partial(regressor, n_targets=2, aggregate_function="MAX", modes=MODES, missing=True)),
    Case("TreeEnsembleRegressor-int64", partial(regressor, dtype=np.int64), integers=(-2, 3), foreign=False),
    Case("TreeEnsembleClassifier", partial(classifier, ids=(0, 1, 2), labels=(3, 1, 2), post_transform="SOFTMAX")),
    Case("TreeEnsembleClassifier-one-weight", partial(classifier, ids=(0,), labels=(0, 1), post_transform="LOGISTIC")),
    Case("TreeEnsemble", partial(ensemble, aggregate_function=2)),
    Case("ArrayFeatureExtractor", lambda w: ml("ArrayFeatureExtractor", rows(2, w), np.array([[w - 1, 0, w // 2]]))),
    Case("Binarizer", lambda w: ml("Binarizer", rows(w), threshold=0.25)),
    Case("Imputer", lambda w: ml("Imputer", rows(w), imputed_value_floats=_list(w), replaced_value_float=float("nan"))),
    Case("LabelEncoder", _encoder, integers=(-3, 6))]
