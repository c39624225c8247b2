"""Pipelines of scikit-learn, as skl2onnx exports them: planned, batched, with onnxruntime's results and the estimator's."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, execute, one_by_one

from cervello.native import Model

pytest.importorskip("sklearn")
skl2onnx = pytest.importorskip("skl2onnx")

from sklearn import ensemble, impute, linear_model, naive_bayes, neural_network, pipeline, preprocessing, svm, tree  # noqa: E402

_RANDOM = np.random.default_rng(0)
X = _RANDOM.standard_normal((120, 5)).astype(np.float32)
Y = X @ _RANDOM.standard_normal(5) + np.sin(3 * X[:, 0])
CLASSES = np.digitize(Y, [-1, 1])
REGRESSORS = {
    "StandardScaler, Ridge": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()),
    "Normalizer, LinearRegression": lambda: pipeline.make_pipeline(preprocessing.Normalizer("l1"), linear_model.LinearRegression()),
    "SimpleImputer, Binarizer, Lasso": lambda: pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.Binarizer(threshold=0.1),
                                                                      linear_model.Lasso()),
    "StandardScaler, MLPRegressor": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(),
                                                                   neural_network.MLPRegressor(max_iter=20)),
    "DecisionTreeRegressor": lambda: tree.DecisionTreeRegressor(max_depth=5),
    "RandomForestRegressor": lambda: ensemble.RandomForestRegressor(20),
    "GradientBoostingRegressor": lambda: ensemble.GradientBoostingRegressor(n_estimators=20),
    **{f"SVR, {kernel}": lambda kernel=kernel: svm.SVR(kernel=kernel) for kernel in ("linear", "poly", "rbf", "sigmoid")},
    "NuSVR": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), svm.NuSVR(kernel="poly", degree=2)),
    "LinearSVR": svm.LinearSVR}
CLASSIFIERS = {
    "LogisticRegression": linear_model.LogisticRegression, "GaussianNB": naive_bayes.GaussianNB,
    "MLPClassifier": lambda: neural_network.MLPClassifier(max_iter=20),
    "RandomForestClassifier": lambda: ensemble.RandomForestClassifier(20),
    "GradientBoostingClassifier": lambda: ensemble.GradientBoostingClassifier(n_estimators=10)}


def _exported(estimator: Any, target: Any, **options: Any) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, target)
        found: onnx.ModelProto = skl2onnx.to_onnx(estimator, X[:1], target_opset={"": 18, "ai.onnx.ml": 3}, **options)
    return found


def _planned(proto: onnx.ModelProto) -> Model:
    model = Model.load(proto)
    assert model.batched
    assert not model.slow_nodes
    assert_same_bits(execute(model, {"X": X}, range(20)), one_by_one(model, {"X": X}, 20), "rows")
    return model


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors_are_planned_and_predict_as_they_do_in_python(name: str) -> None:
    estimator = REGRESSORS[name]()
    proto = _exported(estimator, Y)
    found = _planned(proto).run({"X": X})["variable"]
    assert_near(found, foreign(proto, {"X": X})["variable"], 2e-6, name)
    np.testing.assert_allclose(found[:, 0], estimator.predict(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_are_planned_and_decide_as_they_do_in_python(name: str, n_classes: int) -> None:
    estimator = CLASSIFIERS[name]()
    proto = _exported(estimator, np.minimum(CLASSES, n_classes - 1), options={"zipmap": False})
    found, expected = _planned(proto).run({"X": X}), foreign(proto, {"X": X})
    assert found["label"].tolist() == expected["label"].tolist()
    assert_near(found["probabilities"], expected["probabilities"], 2e-6, name)
    np.testing.assert_allclose(found["probabilities"], estimator.predict_proba(X), rtol=1e-3, atol=1e-4)


def test_a_file_with_a_zip_map_gives_the_scores_in_the_order_of_the_labels() -> None:
    estimator = linear_model.LogisticRegression()
    found = _planned(_exported(estimator, CLASSES)).run({"X": X})["output_probability"]
    np.testing.assert_allclose(found, estimator.predict_proba(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("probability", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf", "sigmoid"])
def test_support_vector_classifiers_decide_as_they_do_in_python(kernel: str, probability: bool, n_classes: int) -> None:
    """Without probabilities, two classes have one decision and its negative; more have scikit-learn's decisions of one against the rest."""
    estimator = svm.SVC(kernel=kernel, probability=probability, random_state=0)
    proto = _exported(estimator, np.minimum(CLASSES, n_classes - 1), options={"zipmap": False})
    found, expected = _planned(proto).run({"X": X}), foreign(proto, {"X": X})
    assert found["label"].tolist() == expected["label"].tolist() == estimator.predict(X).tolist()
    assert_near(found["probabilities"], expected["probabilities"], 1e-5, kernel)
    if probability:
        np.testing.assert_allclose(found["probabilities"], estimator.predict_proba(X), atol=2e-3)
    elif n_classes > 2:
        np.testing.assert_allclose(found["probabilities"], estimator.decision_function(X), atol=1e-4)
    else:
        np.testing.assert_allclose(np.abs(found["probabilities"][:, 1]), np.abs(estimator.decision_function(X)), atol=1e-4)


def test_a_one_class_machine_gives_signs_and_scores() -> None:
    estimator = svm.OneClassSVM(nu=0.3)
    proto = _exported(estimator, None)
    found, expected = _planned(proto).run({"X": X}), foreign(proto, {"X": X})
    assert found["label"].tolist() == expected["label"].tolist()
    assert (found["label"].reshape(-1) == estimator.predict(X)).mean() > 0.97  # those on the border may differ
    assert_near(found["scores"], expected["scores"], 1e-5, "scores")
