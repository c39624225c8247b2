"""Decomposes linear models and feature preparation of ai.onnx.ml, as scikit-learn's exporters write them.

Source: ONNX operator specification, ai.onnx.ml, version 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.native.frontend.trees import ML
from cervello.native.graph.dims import product
from cervello.native.graph.dtypes import F32, F64, I64, Array
from cervello.native.passes.graph_builder import GraphBuilder, Results, decomposes

_NEARLY_ZERO = 1e-7  # SOFTMAX_ZERO treats smaller scores as 0
_WINITZKI = 0.147  # constant of the approximation of erf⁻¹ that PROBIT uses


def as_type(s: GraphBuilder, name: str, found: Any, wanted: Any) -> str:
    """A value as another element type."""
    return name if found == wanted else s.add("Cast", name, to=np.dtype(wanted))


def features(s: GraphBuilder, wide: bool = False) -> str:
    """The first input as float32 rows, one axis alone as a single row; `wide`: float64 stays."""
    name = as_type(s, s.input(0), s.dtype(0), F64 if wide and s.dtype(0) == F64 else F32)
    return s.reshape(name, 1, s.shape(0)[0]) if len(s.shape(0)) == 1 else name


@decomposes("Scaler", domain=ML)
def _scaler(s: GraphBuilder) -> Results:
    y = as_type(s, s.input(0), s.dtype(0), F32)
    for op, name in (("Sub", "offset"), ("Mul", "scale")):
        numbers = s.attribute(name, ())
        if numbers:
            y = s.add(op, y, s.constant(numbers if len(numbers) > 1 else numbers[0], F32))
    return y


@decomposes("Normalizer", domain=ML)
def _normalizer(s: GraphBuilder) -> Results:
    """A row of norm 0 is unchanged."""
    y, axis = as_type(s, s.input(0), s.dtype(0), F32), s.constant([-1])
    norm = s.add({"MAX": "ReduceMax", "L1": "ReduceL1", "L2": "ReduceL2"}[s.attribute("norm", "MAX")], y, axis, keepdims=1)
    one = s.constant(1, F32)
    return s.add("Div", y, s.add("Where", s.add("Equal", norm, s.constant(0, F32)), one, norm))


def transformed(s: GraphBuilder, scores: str, kind: str) -> str:
    """Scores [rows, scores] after `post_transform`. onnxruntime leaves a single score as it is; the specification does not."""
    if kind == "SOFTMAX":
        return s.add("Softmax", scores, axis=-1)
    if kind == "LOGISTIC":
        return s.add("Sigmoid", scores)
    return _softmax_zero(s, scores) if kind == "SOFTMAX_ZERO" else _probit(s, scores) if kind == "PROBIT" else scores


def _softmax_zero(s: GraphBuilder, scores: str) -> str:
    """A softmax in which scores of 0 stay 0; if all are 0, they become 1 / 2."""
    axis, zero = s.constant([-1]), s.constant(0, F32)
    most = s.add("ReduceMax", scores, axis, keepdims=1)
    counts = s.add("Greater", s.add("Abs", scores), s.constant(_NEARLY_ZERO, F32))
    weights = s.add("Where", counts, s.add("Exp", s.add("Sub", scores, most)), s.add("Mul", scores, s.add("Exp", s.add("Neg", most))))
    total = s.add("ReduceSum", weights, axis, keepdims=1)
    none = s.add("Equal", total, zero)
    return s.add("Where", none, s.constant(0.5, F32), s.add("Div", weights, s.add("Where", none, s.constant(1, F32), total)))


def _probit(s: GraphBuilder, scores: str) -> str:
    """√2 erf⁻¹(2 p - 1) by Winitzki's approximation, as onnxruntime and onnx's reference have it; its error is up to 2e-3."""
    def number(value: float) -> str:
        return s.constant(value, F32)

    one = number(1)
    y = s.add("Sub", s.add("Mul", scores, number(2)), one)
    square = s.add("Mul", y, y)
    rest = s.add("Sub", one, square)  # near 1, its logarithm is corrected by its rounding; else it is computed from p
    rounded, far = s.add("Sub", rest, one), s.add("Log", s.add("Mul", s.add("Mul", scores, number(4)), s.add("Sub", one, scores)))
    none = s.add("Equal", rounded, number(0))
    ratio = s.add("Neg", s.add("Div", square, s.add("Where", none, one, rounded)))
    near = s.add("Where", none, s.add("Neg", square), s.add("Mul", s.add("Log", rest), ratio))
    log = s.add("Where", s.add("Less", square, number(0.25)), near, far)
    v = s.add("Add", s.add("Mul", log, number(0.5)), number(2 / (np.pi * _WINITZKI)))
    v2 = s.add("Mul", log, number(1 / _WINITZKI))
    square_root = s.add("Sqrt", s.add("Sub", s.add("Mul", v, v), v2))
    # root - v where v > 0, written without a difference of numbers that are nearly equal
    small = s.add("Div", s.add("Neg", v2), s.add("Add", square_root, v))
    difference = s.add("Where", s.add("Greater", v, number(0)), small, s.add("Sub", square_root, v))
    sign = s.add("Where", s.add("Less", y, number(0)), number(-np.sqrt(2)), number(np.sqrt(2)))
    return s.add("Mul", sign, s.add("Sqrt", difference))


def _scores(s: GraphBuilder, count: int) -> str:
    """Rows times coefficients, intercepts added."""
    coefficients = np.array(s.attribute("coefficients", ()), F32).reshape(count, -1)
    intercepts = s.attribute("intercepts", ()) or (0.0,) * count
    return s.add("Gemm", features(s), s.constant(coefficients.T, F32), s.constant(intercepts, F32))


@decomposes("LinearRegressor", domain=ML)
def _linear_regressor(s: GraphBuilder) -> Results:
    return transformed(s, _scores(s, s.attribute("targets", 1)), s.attribute("post_transform", "NONE"))


@decomposes("LinearClassifier", domain=ML)
def _linear_classifier(s: GraphBuilder) -> Results:
    labels, kind = s.attribute("classlabels_ints"), s.attribute("post_transform", "NONE")
    count = len(s.attribute("coefficients")) // int(s.shape(0)[-1])  # type: ignore[arg-type]
    scores = _scores(s, count)
    if count == 1:
        label = positive_label(s, scores, labels, 0.0)
        scores = both_scores(s, scores, kind in ("NONE", "PROBIT"))
    else:
        label = top_label(s, scores, labels)
    return label, transformed(s, scores, kind)


def top_label(s: GraphBuilder, scores: str, labels: tuple[int, ...]) -> str:
    """The label of the largest score; of equal scores, the first."""
    return _named(s, s.add("ArgMax", scores, axis=1, keepdims=0), labels)


def positive_label(s: GraphBuilder, score: str, labels: tuple[int, ...], above: float) -> str:
    """The second label where a score [rows, 1] is above a number, else the first."""
    positive = s.add("Greater", s.reshape(score, -1), s.constant(above, F32))
    return _named(s, s.add("Cast", positive, to=I64), labels)


def _named(s: GraphBuilder, places: str, labels: tuple[int, ...]) -> str:
    return places if labels == tuple(range(len(labels))) else s.add("Gather", s.constant(labels), places)


def both_scores(s: GraphBuilder, score: str, probability: bool) -> str:
    """Scores [rows, 2] from the score [rows, 1] of the second class; the first class has 1 − score for probabilities, else −score."""
    other = s.add("Sub", s.constant(1, F32), score) if probability else s.add("Neg", score)
    return s.add("Concat", other, score, axis=1)


# Features ---------------------------------------------------------------------------------------------------------------


@decomposes("ArrayFeatureExtractor", domain=ML)
def _array_feature_extractor(s: GraphBuilder) -> Results:
    count = product(s.shape(1))
    picked = s.add("Gather", s.input(0), s.reshape(s.input(1), count), axis=-1)
    return s.reshape(picked, 1, count) if len(s.shape(0)) == 1 else picked


@decomposes("Binarizer", domain=ML)
def _binarizer(s: GraphBuilder) -> Results:
    above = s.add("Greater", s.input(0), s.constant(s.attribute("threshold", 0.0), s.dtype(0)))
    return s.add("Cast", above, to=s.dtype(0))


@decomposes("Imputer", domain=ML)
def _imputer(s: GraphBuilder) -> Results:
    kind = "float" if s.dtype(0) in (F32, F64) else "int64"
    replaced, numbers = s.attribute(f"replaced_value_{kind}", 0), s.attribute(f"imputed_value_{kind}s")
    missing = s.add("IsNaN", s.input(0)) if replaced != replaced else s.add("Equal", s.input(0), s.constant(replaced, s.dtype(0)))
    return s.add("Where", missing, s.constant(numbers if len(numbers) > 1 else numbers[0], s.dtype(0)), s.input(0))


@decomposes("LabelEncoder", domain=ML)
def _label_encoder(s: GraphBuilder) -> Results:
    """The 1-based index of the key that equals an element picks its value; index 0 is the default."""
    keys, values, default = encoding(s.node.attributes)
    count = len(keys)
    behind = s.add("Unsqueeze", s.input(0), s.constant([len(s.shape(0))]))
    equal = s.add("Equal", behind, s.constant(keys, s.dtype(0)))
    missing = keys != keys
    if missing.any():
        equal = s.add("Or", equal, s.add("And", s.add("IsNaN", behind), s.constant(missing, bool)))
    numbered = s.add("Mul", s.add("Cast", equal, to=F32), s.constant(np.arange(1, count + 1), F32))
    place = s.add("Cast", s.add("ReduceMax", numbered, s.constant([len(s.shape(0))]), keepdims=0), to=I64)
    return s.add("Gather", s.constant(np.concatenate([[default], values]), values.dtype), place)


def encoding(attributes: Any) -> tuple[Array, Array, Any]:
    """Keys, values and default of a LabelEncoder of numbers."""
    found: dict[str, Array] = {}
    for what in ("keys", "values"):
        for kind, dtype in (("floats", F32), ("int64s", I64), ("tensor", None)):
            if (numbers := attributes.get(f"{what}_{kind}")) is not None:
                found[what] = np.asarray(numbers, dtype)
    values = found["values"]
    floats = values.dtype.kind == "f"
    default = attributes.get("default_tensor")
    if default is None:
        default = attributes.get("default_float", -0.0) if floats else attributes.get("default_int64", -1)
    return found["keys"], values, values.dtype.type(np.asarray(default).reshape(-1)[0])


@decomposes("ZipMap", domain=ML)
def _zip_map(s: GraphBuilder) -> Results:
    """Returns the scores unchanged: columns in the order of the labels instead of maps by label."""
    return s.add("Identity", s.input(0))
