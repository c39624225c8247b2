"""Support vector machines of ai.onnx.ml by their definition in float64, and what is refused."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import onnx
import pytest
from native_cases.support_vectors import KERNELS, svm_classifier, svm_regressor
from native_graphs import Chain, In, one, rows
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one
from onnx import helper

from cervello.errors import GraphError, UnsupportedError
from cervello.native import Model

Array = np.ndarray[Any, Any]


def _attributes(proto: onnx.ModelProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in proto.graph.node[0].attribute}


def _similar(a: dict[str, Any], x: Array, vectors: Array) -> Array:
    """The kernel of rows and vectors."""
    gamma, offset, degree = (float(number) for number in a["kernel_params"])
    products = x @ vectors.T
    if a["kernel_type"] == b"RBF":
        return np.asarray(np.exp(-gamma * ((x[:, None] - vectors) ** 2).sum(2)))
    return np.asarray({b"LINEAR": lambda: products, b"POLY": lambda: (gamma * products + offset) ** degree,
                       b"SIGMOID": lambda: np.tanh(gamma * products + offset)}[a["kernel_type"]]())


def regression(proto: onnx.ModelProto, x: Array) -> Array:
    a, x = _attributes(proto), x.astype(np.float64)
    weights = np.array(a["coefficients"])
    if not a.get("n_supports"):
        return np.asarray((x @ weights + a["rho"][0])[:, None])
    return np.asarray((_similar(a, x, np.array(a["support_vectors"]).reshape(a["n_supports"], -1)) @ weights + a["rho"][0])[:, None])


def coupled(pairs: dict[tuple[int, int], float], k: int) -> Array:
    """libsvm's multiclass_probability, as written down in ONNX's reference."""
    r = np.zeros((k, k))
    for (i, j), value in pairs.items():
        r[i, j], r[j, i] = value, 1 - value
    q = np.array([[(r[:, i] ** 2).sum() if i == j else -r[j, i] * r[i, j] for j in range(k)] for i in range(k)])
    p = np.full(k, 1 / k)
    for _ in range(max(100, k)):
        qp = q @ p
        pqp = p @ qp
        if np.abs(qp - pqp).max() < 0.005 / k:
            break
        for t in range(k):
            diff = (pqp - qp[t]) / q[t, t]
            p[t] += diff
            pqp = (pqp + diff * (diff * q[t, t] + 2 * qp[t])) / (1 + diff) ** 2
            qp = (qp + diff * q[t]) / (1 + diff)
            p /= 1 + diff
    return p


def classification(proto: onnx.ModelProto, x: Array) -> tuple[list[int], Array]:
    """Labels and scores: of pairs, or probabilities of classes."""
    a, x = _attributes(proto), x.astype(np.float64)
    counts, labels = a["vectors_per_class"], a["classlabels_ints"]
    k, ends = len(labels), np.cumsum(counts)
    similar = _similar(a, x, np.array(a["support_vectors"]).reshape(sum(counts), -1))
    weights = np.array(a["coefficients"]).reshape(k - 1, -1)
    of = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    pairs = list(combinations(range(k), 2))
    scores = np.stack([similar[:, of[i]] @ weights[j - 1, of[i]] + similar[:, of[j]] @ weights[i, of[j]] + rho
                       for (i, j), rho in zip(pairs, a["rho"], strict=True)], 1)
    votes = np.zeros((len(x), k), int)
    for column, (i, j) in enumerate(pairs):
        votes[:, i] += scores[:, column] > 0
        votes[:, j] += ~(scores[:, column] > 0)
    if "prob_a" in a:
        found = []
        for row in scores:
            sure = 1 - 1 / (1 + np.exp(-(row * a["prob_a"] + a["prob_b"])))
            found.append(coupled(dict(zip(pairs, np.clip(sure, 1e-7, 1 - 1e-7), strict=True)), k))
        scores = np.array(found)
    elif k == 2:
        scores = np.concatenate([-scores, scores], 1)
    return [labels[i] for i in votes.argmax(1)], scores


def _planned(proto: onnx.ModelProto) -> Model:
    model = Model.load(proto)
    assert model.batched
    assert not model.slow_nodes
    return model


def _x(width: int, n_rows: int = 50) -> Array:
    return np.random.default_rng(width).standard_normal((n_rows, width)).astype(np.float32)


@pytest.mark.parametrize(("kind", "degree"), [*((kind, 3.0) for kind in KERNELS), *(("POLY", degree) for degree in (0.0, 1.0, 2.0, 4.0))])
def test_regressors_are_as_defined(kind: str, degree: float) -> None:
    for width in (1, 6, 17):
        proto, x = svm_regressor(width, kind, degree=degree), _x(width)
        found = _planned(proto).run({"x0": x})["y0"]
        assert_near(found, regression(proto, x).astype(np.float32), 3e-6, f"{kind} {width}")
        assert_near(found, foreign(proto, {"x0": x})["y0"], 3e-6, f"{kind} {width} in onnxruntime")


@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("labels", [(1, 0), (5, 2, 9), (3, 1, 4, 15, 9, 2, 6)])
@pytest.mark.parametrize("kind", KERNELS)
def test_classifiers_are_as_defined(kind: str, labels: tuple[int, ...], probabilities: bool) -> None:
    proto, x = svm_classifier(6, kind, labels, probabilities), _x(6)
    model = _planned(proto)
    found, (label, scores), expected = model.run({"x0": x}), classification(proto, x), foreign(proto, {"x0": x})
    assert found["y0"].tolist() == label == expected["y0"].tolist()
    assert_near(found["y1"], scores.astype(np.float32), 4e-6, kind)
    assert_near(found["y1"], expected["y1"], 1e-5, f"{kind} in onnxruntime")
    assert_same_bits(execute(model, {"x0": x}, range(50)), one_by_one(model, {"x0": x}, 50), kind)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("build", [svm_regressor, svm_classifier, lambda width, kind: svm_classifier(width, kind, probabilities=True)])
def test_rows_that_hold_no_numbers_stay_alone(kind: str, build: Any) -> None:
    model = _planned(build(5, kind))
    given = columns(model, 22)
    found = execute(model, given, range(22))
    assert_same_bits(found, one_by_one(model, given, 22), kind)
    scores = found[list(found)[-1]]
    assert np.isnan(scores[np.isnan(given["x0"]).all(1)]).all()
    assert np.isfinite(scores[[0, 1, 2, 4, 6, 9]]).all()


@pytest.mark.parametrize("kind", KERNELS)
def test_a_batch_without_rows_has_a_result_without_rows(kind: str) -> None:
    found = _planned(svm_classifier(3, kind, probabilities=True)).run({"x0": np.zeros((0, 3), np.float32)})
    assert {name: array.shape for name, array in found.items()} == {"y0": (0,), "y1": (0, 3)}


def test_one_class_gives_signs() -> None:
    proto, x = svm_regressor(4, one_class=1, rho=[-0.1]), _x(4)
    found = _planned(proto).run({"x0": x})["y0"]
    assert set(found.reshape(-1).tolist()) == {-1.0, 1.0}
    assert found.tolist() == np.where(regression(proto, x) > 0, 1, -1).tolist() == foreign(proto, {"x0": x})["y0"].tolist()


def test_distances_far_from_zero_do_not_cancel() -> None:
    """|x|² - 2 x·v + |v|² of vectors near 1000 is off by more than it is."""
    plain = svm_regressor(4, n_vectors=9)
    shifted = np.float32(np.array(_attributes(plain)["support_vectors"]) + 1000).tolist()
    proto, x = svm_regressor(4, n_vectors=9, support_vectors=shifted), _x(4) + np.float32(1000)
    assert_near(_planned(proto).run({"x0": x})["y0"], regression(proto, x).astype(np.float32), 2e-6, "far")


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.int32])
def test_features_of_other_types_are_taken_as_float32(dtype: Any) -> None:
    proto = svm_regressor(4, dtype=dtype)
    x = np.random.default_rng(0).integers(-3, 4, (20, 4)).astype(dtype)
    assert_near(_planned(proto).run({"x0": x})["y0"], regression(proto, x).astype(np.float32), 2e-6, str(dtype))


def test_scores_of_two_classes_are_transformed_together() -> None:
    x = _x(6)
    scores = classification(svm_classifier(6, labels=(1, 0)), x)[1]
    exponentials = np.exp(scores)
    for kind, exact in (("LOGISTIC", 1 / (1 + 1 / exponentials)), ("SOFTMAX", exponentials / exponentials.sum(1, keepdims=True))):
        found = _planned(svm_classifier(6, labels=(1, 0), post_transform=kind)).run({"x0": x})["y1"]
        assert_near(found, exact.astype(np.float32), 2e-6, kind)


@pytest.mark.parametrize("n_classes", [2, 3, 5, 12])
def test_coupling_is_that_of_libsvm(n_classes: int) -> None:
    """From pairs that nearly agree to pairs that contradict each other, and bounds at which the search takes many rounds."""
    pairs = list(combinations(range(n_classes), 2))
    random = np.random.default_rng(n_classes)
    r = random.random((60, len(pairs))).astype(np.float32)
    r[40:] = random.choice(np.float32([1e-7, 1 - 1e-7, 0.5]), (20, len(pairs)))
    model = _planned(one("PairwiseCoupling", rows(len(pairs))))
    found = model.run({"x0": r})["y0"]
    exact = np.array([coupled(dict(zip(pairs, row.astype(np.float64), strict=True)), n_classes) for row in r])
    assert_near(found, exact.astype(np.float32), 1e-6, f"{n_classes} classes")
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    assert_same_bits(execute(model, {"x0": r}, range(60)), one_by_one(model, {"x0": r}, 60), "coupling")
    c = Chain(x=rows(n_classes))
    folded = Model.load(c.model(c.add("Add", "x", c.add("PairwiseCoupling", r[41:42]))))
    assert len(folded.program.steps) == 1
    assert_near(folded.run({"x": np.zeros((1, n_classes), np.float32)})[next(iter(folded.outputs))], found[41:42], 1e-6, "a constant")


REFUSED = [
    (lambda: svm_regressor(3, coefficients=[0.5] * 5), "19 numbers as coefficients, got 5"),
    (lambda: svm_regressor(3, support_vectors=[0.5] * 5), "57 numbers as support_vectors, got 5"),
    (lambda: svm_regressor(3, kernel_params=[0.5]), "0 or 3 numbers as kernel_params, got 1"),
    (lambda: svm_regressor(3, kernel_type="COSINE"), "kernel_type among"),
    (lambda: svm_regressor(3, n_supports=-1), "n_supports of at least 0, got -1"),
    (lambda: svm_regressor(3, post_transform="EXP"), "post_transform among"),
    (lambda: svm_classifier(3, classlabels_ints=[1]), "at least two classlabels_ints, got 1"),
    (lambda: svm_classifier(3, vectors_per_class=[4, 5]), r"3 numbers of at least 0.*as vectors_per_class, got \[4, 5\]"),
    (lambda: svm_classifier(3, vectors_per_class=[0, 0, 0]), "exported as a LinearClassifier"),
    (lambda: svm_classifier(3, vectors_per_class=[-4, 5, 14]), "as vectors_per_class"),
    (lambda: svm_classifier(3, rho=[0.5]), "3 numbers as rho, got 1"),
    (lambda: svm_classifier(3, prob_a=[0.5, 0.5, 0.5]), "3 numbers as prob_b, got 0"),
    (lambda: svm_classifier(3, probabilities=True, prob_b=[0.5]), "3 numbers as prob_b, got 1"),
    (lambda: one("PairwiseCoupling", rows(4)), "a float32 for each pair of classes"),
    (lambda: one("PairwiseCoupling", In(("N", 3), np.dtype(np.int64))), "a float32 for each pair of classes")]


@pytest.mark.parametrize(("proto", "message"), REFUSED)
def test_attributes_that_contradict_each_other_are_refused_at_load(proto: Any, message: str) -> None:
    with pytest.raises(GraphError, match=f"node .*: expected .*{message}"):
        Model.load(proto())


def test_strings_as_labels_are_refused_with_the_policys_name() -> None:
    proto = svm_classifier(3)
    node = proto.graph.node[0]
    node.attribute.remove(next(a for a in node.attribute if a.name == "classlabels_ints"))
    node.attribute.append(helper.make_attribute("classlabels_strings", ["a", "b", "c"]))
    with pytest.raises(UnsupportedError, match=r"model 'g', node SVMClassifier.*expected numbers, got classlabels_strings"):
        Model.load(proto)
