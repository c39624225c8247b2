"""Support vector machines. Source: ONNX operator specification, ai.onnx.ml, SVMRegressor-1 and SVMClassifier-1."""

from __future__ import annotations

from cervello.native.frontend.operand_rules.table import Operands, operands_of
from cervello.native.frontend.operand_rules.traditional import TRANSFORMS, n_features
from cervello.native.frontend.trees import ML

_KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")


def _machine(o: Operands, n_vectors: int, n_coefficients: int, n_scores: int) -> None:
    """Checks the attributes that regressors and classifiers share."""
    o.choice("post_transform", "NONE", TRANSFORMS)
    o.choice("kernel_type", "LINEAR", _KERNELS)
    for name, counts in (("kernel_params", (0, 3)), ("support_vectors", (n_vectors * n_features(o),)), ("coefficients", (n_coefficients,))):
        if (found := len(o.attribute(name) or ())) not in counts:
            o.fail(f"{' or '.join(map(str, counts))} numbers as {name}", found)
    if (found := len(o.attribute("rho") or ())) < n_scores:
        o.fail(f"{n_scores} numbers as rho", found)


@operands_of("SVMRegressor", domain=ML)
def _regressor(o: Operands) -> None:
    n_vectors = o.at_least("n_supports", 0, 0)
    _machine(o, n_vectors, n_vectors or n_features(o), 1)


@operands_of("SVMClassifier", domain=ML)
def _classifier(o: Operands) -> None:
    n_labels, counts = len(o.attribute("classlabels_ints") or ()), o.attribute("vectors_per_class") or ()
    if n_labels < 2:
        o.fail("at least two classlabels_ints", n_labels)
    if len(counts) != n_labels or min(counts, default=0) < 0 or not sum(counts):
        o.fail(f"{n_labels} numbers of at least 0, not all of them 0, as vectors_per_class", list(counts),
               "a linear machine without support vectors is exported as a LinearClassifier")
    n_pairs = n_labels * (n_labels - 1) // 2
    _machine(o, sum(counts), (n_labels - 1) * sum(counts), n_pairs)
    for name in ("prob_a", "prob_b"):
        wanted = n_pairs if o.attribute("prob_a") or o.attribute("prob_b") else 0
        if (found := len(o.attribute(name) or ())) != wanted:
            o.fail(f"{wanted} numbers as {name}", found)
