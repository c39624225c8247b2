"""Support vector machines of scikit-learn's exporter: kernels of rows and support vectors, then a product.

The coefficients of every pair of classes are the columns of one matrix; a linear kernel is part of it. Source: ONNX operator
specification, ai.onnx.ml, SVMRegressor-1 and SVMClassifier-1, by their reference. Where the reference and onnxruntime differ, labels are
onnxruntime's (the class with most pairs, the first of equals) and `post_transform` is the specification's.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from cervello.native.frontend.trees import ML
from cervello.native.graph.budget import current
from cervello.native.graph.dtypes import F32, F64, Array
from cervello.native.passes.decompositions.traditional import both_scores, features, top_label, transformed
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes

_LEAST = 1e-7  # a pair's probability is within [this, 1 − this]


def _similarities(s: GraphBuilder, vectors: Array) -> str:
    """[rows, vectors]: the non-linear kernel of each row and each support vector [vectors, features]."""
    gamma, offset, degree = s.attribute("kernel_params") or (0.0, 0.0, 0.0)
    kind, x = s.attribute("kernel_type"), features(s)
    if kind == "RBF":  # by differences: the lengths of vectors far from 0 would cancel
        apart = s.add("Sub", s.add("Unsqueeze", x, s.constant([2])), s.constant(vectors.T, F32))
        squares = s.add("ReduceSumSquare", apart, s.constant([1]), keepdims=0)
        return s.add("Exp", s.add("Mul", squares, s.constant(-gamma, F32)))
    products = s.add("Gemm", x, s.constant(gamma * vectors.T.astype(F64), F32), s.constant(offset, F32))
    if kind == "SIGMOID":
        return s.add("Tanh", products)
    if degree in (1, 2, 3):
        power = products
        for _ in range(int(degree) - 1):
            power = s.add("Mul", power, products)
        return power
    return s.add("Pow", products, s.constant(degree, F32))


def _weighted(s: GraphBuilder, vectors: Array, weights: Array) -> str:
    """[rows, scores]: the kernels weighted by [vectors, scores], `rho` added."""
    rho = s.constant(s.attribute("rho")[:weights.shape[1]], F32)
    if s.attribute("kernel_type", "LINEAR") == "LINEAR":
        return s.add("Gemm", features(s), s.constant(vectors.T.astype(F64) @ weights, F32), rho)
    return s.add("Gemm", _similarities(s, vectors), s.constant(weights, F32), rho)


@decomposes("SVMRegressor", domain=ML)
def _regressor(s: GraphBuilder) -> Results:
    count, weights = s.attribute("n_supports", 0), np.array(s.attribute("coefficients"), F64)
    if count:
        score = _weighted(s, np.array(s.attribute("support_vectors"), F32).reshape(count, -1), weights.reshape(count, 1))
    else:
        score = s.add("Gemm", features(s), s.constant(weights.reshape(-1, 1), F32), s.constant(s.attribute("rho")[:1], F32))
    if s.attribute("one_class", 0):
        one = s.constant(1, F32)
        score = s.add("Where", s.add("Greater", score, s.constant(0, F32)), one, s.constant(-1, F32))
    return transformed(s, score, s.attribute("post_transform", "NONE"))


@decomposes("SVMClassifier", domain=ML)
def _classifier(s: GraphBuilder) -> Results:
    labels, counts = s.attribute("classlabels_ints"), s.attribute("vectors_per_class")
    kind, n_vectors = s.attribute("post_transform", "NONE"), sum(counts)
    pairs = list(combinations(range(len(labels)), 2))
    given = np.array(s.attribute("coefficients"), F64).reshape(-1, n_vectors)
    ends = np.cumsum(counts)
    places = [slice(int(end - count), int(end)) for end, count in zip(ends, counts, strict=True)]
    current().check(f"node {s.node}", 8 * len(pairs) * (n_vectors + len(labels)))
    weights = np.zeros((n_vectors, len(pairs)))
    for column, (i, j) in enumerate(pairs):  # a vector of one class has a coefficient against each of the others
        weights[places[i], column], weights[places[j], column] = given[j - 1, places[i]], given[i, places[j]]
    scores = _weighted(s, np.array(s.attribute("support_vectors"), F32).reshape(n_vectors, -1), weights)
    label = top_label(s, _votes(s, scores, pairs, len(labels)), labels)
    if s.attribute("prob_a"):
        scores = _probabilities(s, scores)
    elif len(pairs) == 1:
        scores = both_scores(s, scores, kind == "PROBIT")
    return label, transformed(s, scores, kind)


def _votes(s: GraphBuilder, scores: str, pairs: list[tuple[int, int]], n_classes: int) -> str:
    """The number of pairs that each class wins: the first class of a pair if its score is above 0, else the second."""
    wins, base = np.zeros((len(pairs), n_classes)), np.zeros(n_classes)
    for row, (i, j) in enumerate(pairs):
        wins[row, i], wins[row, j] = 1, -1
        base[j] += 1
    first = s.add("Cast", s.add("Greater", scores, s.constant(0, F32)), to=F32)
    return s.add("Gemm", first, s.constant(wins, F32), s.constant(base, F32))


def _probabilities(s: GraphBuilder, scores: str) -> str:
    """Class probabilities: 1 − 1 / (1 + exp(−(a · score + b))) of each pair, coupled."""
    a, b = (s.constant(-np.array(s.attribute(name), F64), F32) for name in ("prob_a", "prob_b"))
    pairs = s.add("Sigmoid", s.add("Add", s.add("Mul", scores, a), b))
    return s.add("PairwiseCoupling", s.add("Clip", pairs, s.constant(_LEAST, F32), s.constant(1 - _LEAST, F32)))
