"""Tree ensembles: one node evaluates the trees, others transform its scores and choose a label.

Source: ONNX operator specification, ai.onnx.ml, TreeEnsembleRegressor-5, TreeEnsembleClassifier-5, TreeEnsemble-5. Where it leaves open
what a classifier of two classes with votes for one gives, the score without a transform is onnxruntime's, and the label is that of the
larger probability, as in ONNX's reference; with LOGISTIC or a softmax onnxruntime may compare the untransformed score with 0.5.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cervello.native.frontend.trees import FOREST, ML
from cervello.native.graph.dtypes import F32, F64
from cervello.native.graph.forest import Forest
from cervello.native.passes.decompositions.traditional import (
    as_type,
    both_scores,
    features,
    positive_label,
    top_label,
    transformed,
)
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes


def _trees(s: GraphBuilder, forest: Forest, base: Any, dtype: Any = F32) -> str:
    attributes = {FOREST: forest, "aggregate": s.attribute("aggregate"), "base": tuple(base) or (0.0,) * forest.n_targets, "dtype": dtype}
    return str(s.add("Trees", features(s, wide=True), **attributes))


@decomposes("TreeEnsembleRegressor", domain=ML)
def _regressor(s: GraphBuilder) -> Results:
    return transformed(s, _trees(s, s.attribute(FOREST), s.attribute("base")), s.attribute("transform"))


@decomposes("TreeEnsemble", domain=ML)
def _ensemble(s: GraphBuilder) -> Results:
    dtype = F64 if s.dtype(0) == F64 else F32
    scores = transformed(s, _trees(s, s.attribute(FOREST), (), dtype), s.attribute("transform"))
    return as_type(s, scores, dtype, s.dtype(0))


@decomposes("TreeEnsembleClassifier", domain=ML)
def _classifier(s: GraphBuilder) -> Results:
    forest, base, kind, labels = s.attribute(FOREST), s.attribute("base"), s.attribute("transform"), s.attribute("labels")
    if len(labels) > 2 or forest.single is None:
        scores = _trees(s, forest, base if len(base) != 1 else (0.0, *base))
        return top_label(s, scores, labels), transformed(s, scores, kind)
    # Two classes with votes for one of them: they are for the second class, whose score decides.
    probability = kind in ("NONE", "PROBIT") and not bool((forest.values < 0).any())
    above = 0.5 if probability else 0.0
    if forest.single == 0:
        score = _trees(s, replace(forest, n_targets=1), base[:1])
        label, scores = positive_label(s, score, labels, above), both_scores(s, score, probability or kind == "PROBIT")
    else:
        scores = _trees(s, forest, base if len(base) != 1 else (0.0, *base))
        label = positive_label(s, s.add("Slice", scores, *(s.constant([i]) for i in (1, 2, 1))), labels, above)
    return label, transformed(s, scores, kind)
