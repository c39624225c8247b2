"""Linear models, support vector machines, trees, and preparation of features (TfIdfVectorizer among them).

Source: ONNX operator specification, ai.onnx.ml, version 5; TfIdfVectorizer-9.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.frontend.operand_rules.table import Operands, operands_of
from cervello.native.frontend.trees import FOREST, ML, TRANSFORMS
from cervello.native.graph.dims import Affine, parts, written

_SVM_KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")
_MOST_SKIPPED = 1 << 16  # each is a pass over all words
_KINDS = ("floats", "int64s", "tensor")


def n_features(o: Operands) -> int:
    """The number of features of [rows, features], or of one row without an axis for it."""
    rank = o.rank(0, "rows of features", 1, 2)
    size = o.shape(0)[rank - 1]
    if isinstance(size, Affine) or not size:
        o.fail("at least one feature, in a number that does not grow with the batch", written(o.shape(0)))
    return size


def _for_each(o: Operands, name: str, numbers: Any) -> None:
    """Checks a list that holds one number, or one for each place along the last axis."""
    o.rank(0, "data", 1)
    if len(numbers) != 1 and o.shape(0)[-1] != len(numbers):
        o.fail(f"one number or {o.shape(0)[-1]} as {name}", len(numbers))


@operands_of("Scaler", domain=ML)
def _scaler(o: Operands) -> None:
    for name in ("offset", "scale"):
        if numbers := o.attribute(name, ()):
            _for_each(o, name, numbers)


@operands_of("Normalizer", domain=ML)
def _normalizer(o: Operands) -> None:
    o.choice("norm", "MAX", ("MAX", "L1", "L2"))
    o.rank(0, "rows of features", 1, 2)


def _coefficients(o: Operands, count: int | None) -> int:
    """Checks coefficients and intercepts; returns the number of scores: `count`, or as many as the coefficients are for."""
    numbers = o.attribute("coefficients", ())
    intercepts, found = len(o.attribute("intercepts", ())), n_features(o)
    wanted = count if count is not None else len(numbers) // found
    if not wanted or len(numbers) != wanted * found:
        o.fail(f"coefficients for {found} features{'' if count is None else f' of {count} targets'}", len(numbers))
    if intercepts not in (0, wanted):
        o.fail(f"no intercepts or {wanted}", intercepts)
    return wanted


@operands_of("LinearRegressor", domain=ML)
def _linear_regressor(o: Operands) -> None:
    o.choice("post_transform", "NONE", TRANSFORMS)
    _coefficients(o, o.at_least("targets", 1, 1))


@operands_of("LinearClassifier", domain=ML)
def _linear_classifier(o: Operands) -> None:
    o.choice("post_transform", "NONE", TRANSFORMS)
    labels = len(o.attribute("classlabels_ints", ()))
    scores = _coefficients(o, None)
    if labels < 2 or scores not in ({1, 2} if labels == 2 else {labels}):
        o.fail(f"a label for each of {max(scores, 2)} classes as classlabels_ints", labels)


@operands_of("TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble", domain=ML)
def _trees(o: Operands) -> None:
    forest = o.attribute(FOREST)
    if forest is not None and n_features(o) < forest.n_features:
        o.fail(f"at least {forest.n_features} features, as nodes compare", written(o.shape(0)))


@operands_of("ArrayFeatureExtractor", domain=ML)
def _array_feature_extractor(o: Operands) -> None:
    o.rank(0, "data", 1)
    if o.known(1) and not isinstance(size := o.shape(0)[-1], Affine):
        wrong = o.data(1)[(o.data(1) < 0) | (o.data(1) >= size)]
        if wrong.size:
            o.fail(f"places from 0 to {size - 1}", int(wrong.flat[0]))


@operands_of("Imputer", domain=ML)
def _imputer(o: Operands) -> None:
    dtype = o.value(0).dtype
    kind = "float" if dtype is None or dtype.kind == "f" else "int64"
    name = f"imputed_value_{kind}s"
    numbers = o.attribute(name, ())
    if not numbers:
        o.fail(f"{name} for {dtype}", "none")
    _for_each(o, name, numbers)


@operands_of("LabelEncoder", domain=ML)
def _label_encoder(o: Operands) -> None:
    found = {what: [numbers for kind in _KINDS if (numbers := o.attribute(f"{what}_{kind}")) is not None] for what in ("keys", "values")}
    for what, lists in found.items():
        if len(lists) != 1 or not len(lists[0]):
            o.fail(f"one list of numbers as {what}", len(lists))
        if np.asarray(lists[0]).ndim != 1 or np.asarray(lists[0]).dtype.kind not in "fiu":
            o.fail(f"{what} on one axis", np.asarray(lists[0]).shape)
    if len(found["keys"][0]) != len(found["values"][0]):
        o.fail(f"a value for each of {len(found['keys'][0])} keys", len(found["values"][0]))
    keys = np.asarray(found["keys"][0]).reshape(-1)
    if len(np.unique(keys)) < len(keys):  # ONNX does not say which one counts: its reference takes the last, onnxruntime the first
        o.fail("keys that are there once each", "one that is there twice")
    dtype, wanted = o.value(0).dtype, o.attribute("keys_tensor")
    own = wanted.dtype if wanted is not None else np.dtype(np.float32 if o.attribute("keys_floats") is not None else np.int64)
    if dtype is not None and dtype != own:
        o.fail(f"elements of the type of the keys, {own}", dtype)
    default = o.attribute("default_tensor")
    if default is not None and (default.size != 1 or default.dtype.kind not in "fiu"):
        o.fail("one number as default_tensor", default.shape)


@operands_of("ZipMap", domain=ML)
def _zip_map(o: Operands) -> None:
    labels = len(o.attribute("classlabels_int64s", ()) or o.attribute("classlabels_strings", ()))
    o.rank(0, "scores", 1, 2)
    if parts(o.shape(0)[-1]) != (labels, 0):
        o.fail(f"a label for each of {written(o.shape(0))} columns", labels)


def _support_vectors(o: Operands, n_vectors: int, n_coefficients: int, n_scores: int) -> None:
    """Checks the attributes that regressors and classifiers share."""
    o.choice("post_transform", "NONE", TRANSFORMS)
    o.choice("kernel_type", "LINEAR", _SVM_KERNELS)
    for name, counts in (("kernel_params", (0, 3)), ("support_vectors", (n_vectors * n_features(o),)), ("coefficients", (n_coefficients,))):
        if (found := len(o.attribute(name) or ())) not in counts:
            o.fail(f"{' or '.join(map(str, counts))} numbers as {name}", found)
    if (found := len(o.attribute("rho") or ())) < n_scores:
        o.fail(f"{n_scores} numbers as rho", found)


@operands_of("SVMRegressor", domain=ML)
def _svm_regressor(o: Operands) -> None:
    n_vectors = o.at_least("n_supports", 0, 0)
    _support_vectors(o, n_vectors, n_vectors or n_features(o), 1)


@operands_of("SVMClassifier", domain=ML)
def _svm_classifier(o: Operands) -> None:
    n_labels, counts = len(o.attribute("classlabels_ints") or ()), o.attribute("vectors_per_class") or ()
    if n_labels < 2:
        o.fail("at least two classlabels_ints", n_labels)
    if len(counts) != n_labels or min(counts, default=0) < 0 or not sum(counts):
        o.fail(f"{n_labels} numbers of at least 0, not all of them 0, as vectors_per_class", list(counts),
               "a linear machine without support vectors is exported as a LinearClassifier")
    n_pairs = n_labels * (n_labels - 1) // 2
    _support_vectors(o, sum(counts), (n_labels - 1) * sum(counts), n_pairs)
    for name in ("prob_a", "prob_b"):
        wanted = n_pairs if o.attribute("prob_a") or o.attribute("prob_b") else 0
        if (found := len(o.attribute(name) or ())) != wanted:
            o.fail(f"{wanted} numbers as {name}", found)


@operands_of("TfIdfVectorizer")
def _tf_idf(o: Operands) -> None:
    o.choice("mode", None, ("TF", "IDF", "TFIDF"))
    least, most = o.at_least("min_gram_length", 1), o.at_least("max_gram_length", 1)
    if least > most:
        o.fail(f"a min_gram_length of at most {most}", least)
    if o.at_least("max_skip_count", 0) > _MOST_SKIPPED:
        o.fail(f"a max_skip_count of at most {_MOST_SKIPPED}", o.attribute("max_skip_count"))
