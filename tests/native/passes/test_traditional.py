"""ai.onnx.ml by its definitions: trees in every mode, classifiers of two classes, post transforms, encoders, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from native_cases.traditional import ML, MODES, classifier, ensemble, linear, ml, regressor, tree_lists, votes
from native_graphs import In, rows
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, execute, one_by_one
from onnx import helper, numpy_helper

from cervello.errors import GraphError, UnsupportedError
from cervello.native import Model

Array = np.ndarray[Any, Any]
F64 = np.dtype(np.float64)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "BRANCH_LEQ": lambda x, t: x <= t, "BRANCH_LT": lambda x, t: x < t, "BRANCH_GTE": lambda x, t: x >= t, "BRANCH_GT": lambda x, t: x > t,
    "BRANCH_EQ": lambda x, t: x == t, "BRANCH_NEQ": lambda x, t: x != t}


def _attributes(proto: onnx.ModelProto) -> dict[str, Any]:
    found = {a.name: helper.get_attribute_value(a) for a in proto.graph.node[0].attribute}
    return {name: [v.decode() if isinstance(v, bytes) else v for v in value] if isinstance(value, list) else value
            for name, value in found.items()}


def _votes_by_definition(proto: onnx.ModelProto, prefix: str, n_targets: int, x: Array) -> list[list[list[float]]]:
    """For each row and target, the votes in the order of the trees, by following ids."""
    a = _attributes(proto)
    at = {place: i for i, place in enumerate(zip(a["nodes_treeids"], a["nodes_nodeids"], strict=True))}
    missing = a.get("nodes_missing_value_tracks_true") or [0] * len(at)
    values = a["nodes_values"] if "nodes_values" in a else numpy_helper.to_array(a["nodes_values_as_tensor"]).tolist()
    weights = a[f"{prefix}_weights"] if f"{prefix}_weights" in a else numpy_helper.to_array(a[f"{prefix}_weights_as_tensor"]).tolist()
    found = []
    for row in x:
        each: list[list[float]] = [[] for _ in range(n_targets)]
        for tree in dict.fromkeys(a["nodes_treeids"]):
            node = 0
            while (mode := a["nodes_modes"][i := at[tree, node]]) != "LEAF":
                value = float(row[a["nodes_featureids"][i]])
                taken = _COMPARE[mode](value, values[i]) or (bool(missing[i]) and value != value)
                node = a["nodes_truenodeids" if taken else "nodes_falsenodeids"][i]
            for own, target, weight in zip(zip(a[f"{prefix}_treeids"], a[f"{prefix}_nodeids"], strict=True), a[f"{prefix}_ids"], weights,
                                           strict=True):
                if own == (tree, node):
                    each[target].append(weight)
        found.append(each)
    return found


def _special(n_rows: int, width: int, dtype: Any = np.float32) -> Array:
    """Thresholds themselves among the numbers, NaN, infinities, denormals."""
    random = np.random.default_rng(n_rows)
    x = random.standard_normal((n_rows, width))
    some = random.random(x.shape)
    x = np.where(some < 0.4, random.choice([-1, 0, 0.5, -0.0, np.nan, np.inf, -np.inf, 1e-40, 1e30], x.shape), x)
    return np.asarray(x.astype(dtype))


def _planned(proto: onnx.ModelProto) -> Model:
    model = Model.load(proto)
    assert model.batched
    assert not model.slow_nodes
    return model


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("mode", [*MODES, "all"])
def test_every_mode_takes_the_branch_that_its_comparison_says(mode: str, missing: bool) -> None:
    proto = regressor(4, modes=MODES if mode == "all" else (mode,), missing=missing, depth=4)
    model, x = _planned(proto), _special(90, 4)
    exact = np.array([[sum(votes)] for (votes,) in _votes_by_definition(proto, "target", 1, x)])
    found = model.run({"x0": x})["y0"]
    assert_near(found, exact.astype(np.float32), 1e-7, mode)
    assert_near(found, foreign(proto, {"x0": x})["y0"], 1e-6, f"{mode} in onnxruntime")
    assert_same_bits(execute(model, {"x0": x}, range(90)), one_by_one(model, {"x0": x}, 90), mode)


_AGGREGATES: dict[str, Callable[[list[float]], float]] = {"SUM": sum, "AVERAGE": lambda v: sum(v) / 7, "MIN": lambda v: min(v, default=0),
                                                          "MAX": lambda v: max(v, default=0)}


@pytest.mark.parametrize("aggregate", _AGGREGATES)
@pytest.mark.parametrize("n_targets", [1, 3])
def test_votes_are_aggregated_for_each_target(aggregate: str, n_targets: int) -> None:
    base = [0.5, -2.0, 0.25][:n_targets]
    lists = tree_lists(3, n_trees=7, depth=3)
    given = votes(lists, "target", tuple(range(n_targets)), low=0.1 if aggregate == "MIN" else -1.0)
    kept = [i for i in range(len(given["target_ids"])) if n_targets == 1 or i % 5]  # a leaf need not vote for every target
    given = {name: [values[i] for i in kept] for name, values in given.items()}
    proto = ml("TreeEnsembleRegressor", rows(3), n_targets=n_targets, base_values=base, aggregate_function=aggregate, **lists, **given)
    x = _special(60, 3)
    exact = [[_AGGREGATES[aggregate](v) + b for v, b in zip(each, base, strict=True)]
             for each in _votes_by_definition(proto, "target", n_targets, x)]
    found = _planned(proto).run({"x0": x})["y0"]
    assert_near(found, np.array(exact, np.float32), 1e-7, aggregate)
    assert_near(found, foreign(proto, {"x0": x})["y0"], 1e-6, f"{aggregate} in onnxruntime")


def test_float64_trees_compare_in_float64() -> None:
    lists = tree_lists(3)
    given = votes(lists, "target", (0,))
    values = np.array(lists.pop("nodes_values")) + 1e-12  # between neighbours of float32
    weights = np.array(given.pop("target_weights")) / 3
    proto = ml("TreeEnsembleRegressor", rows(3, dtype=F64), n_targets=1, nodes_values_as_tensor=numpy_helper.from_array(values),
               target_weights_as_tensor=numpy_helper.from_array(weights), **lists, **given)
    x = np.where(np.random.default_rng(0).random((50, 3)) < 0.5, np.random.default_rng(1).choice(values, (50, 3)), _special(50, 3, F64))
    exact = np.array([[sum(v)] for (v,) in _votes_by_definition(proto, "target", 1, x)])
    assert_near(_planned(proto).run({"x0": x})["y0"], exact.astype(np.float32), 1e-7, "float64")


@pytest.mark.parametrize("ids", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("low", [-1.0, 0.0])
@pytest.mark.parametrize("kind", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_classifiers_of_two_classes(ids: tuple[int, ...], low: float, kind: str) -> None:
    """Votes for one class alone: its score is a probability where no vote is below 0, else its sign decides."""
    proto = classifier(4, ids, (6, 3), low, post_transform=kind)
    x = _special(70, 4)
    sums = np.array([[sum(v) for v in each] for each in _votes_by_definition(proto, "class", 2, x)])
    probability = kind == "NONE" and low == 0.0 and len(ids) == 1
    if ids == (0,):
        score = sums[:, 0]
        sums = np.stack([1 - score if probability else -score, score], 1)
    scores = {"NONE": sums, "LOGISTIC": 1 / (1 + np.exp(-sums))}.get(kind, np.exp(sums) / np.exp(sums).sum(1, keepdims=True))
    if kind == "SOFTMAX_ZERO":
        scores = np.where(np.abs(sums) > 1e-7, np.exp(sums), 0)
        scores = scores / scores.sum(1, keepdims=True)
    positive = sums[:, 1] > (0.5 if probability else 0) if len(ids) == 1 else sums[:, 1] > sums[:, 0]
    found = _planned(proto).run({"x0": x})
    assert found["y0"].tolist() == np.where(positive, 3, 6).tolist()
    assert_near(found["y1"], scores.astype(np.float32), 1e-6, kind)
    if kind in ("NONE", "LOGISTIC") and len(ids) == 1:  # others onnxruntime leaves as they are; its label of two votes is no label
        expected = foreign(proto, {"x0": x})
        assert_near(found["y1"], expected["y1"], 1e-6, f"{kind} in onnxruntime")
        if kind == "NONE" or low < 0:
            assert found["y0"].tolist() == expected["y0"].tolist()


def test_the_first_of_equal_scores_is_the_label() -> None:
    lists = tree_lists(2, n_trees=1, depth=1)
    given = {"class_treeids": [0] * 4, "class_nodeids": [1, 1, 2, 2], "class_ids": [2, 1, 0, 2], "class_weights": [0.5] * 4}
    proto = ml("TreeEnsembleClassifier", rows(2), outputs=2, classlabels_int64s=[10, 11, 12], **lists, **given)
    found = Model.load(proto).run({"x0": _special(40, 2)})
    assert set(found["y0"].tolist()) == {10, 11}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_trees_of_version_5_test_membership(dtype: Any) -> None:
    members = (0.25, -2.0, 1.5)
    proto = ensemble(1, dtype, 1, members=members)
    x = np.array([[v] for v in (*members, -3, -1, 0, 0.5, 1, np.nan, np.inf, -np.inf)], dtype)

    def score(value: float) -> float:
        first = (0.5 if value in members else 2.0) if value <= 0.25 or value != value else -1.25
        second = (0.125 if value != 1.0 else 0.5) if value > -0.5 else -3.0
        return first + second

    found = Model.load(proto).run({"x0": x})["y0"]
    assert found.dtype == dtype
    assert found[:, 0].tolist() == [score(float(v)) for v in x[:, 0]]


@pytest.mark.parametrize(("scores", "labels"), [(3, (5, 1, 9)), (2, (0, 1)), (1, (4, 2))])
@pytest.mark.parametrize("kind", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"])
def test_linear_classifiers_are_those_of_onnxruntime(scores: int, labels: tuple[int, ...], kind: str) -> None:
    proto = linear(4, scores, labels, post_transform=kind)
    x = np.random.default_rng(2).standard_normal((30, 4)).astype(np.float32)
    found, expected = _planned(proto).run({"x0": x}), foreign(proto, {"x0": x})
    assert found["y0"].tolist() == expected["y0"].tolist()
    if scores > 1 or kind in ("NONE", "LOGISTIC"):  # it leaves one row of coefficients as it is for the others
        assert_near(found["y1"], expected["y1"], 2e-4 if kind == "PROBIT" else 2e-6, kind)


def test_a_single_target_is_transformed_as_the_specification_says() -> None:
    x = np.random.default_rng(2).standard_normal((9, 4)).astype(np.float32)
    plain = Model.load(linear(4, 1)).run({"x0": x})["y0"].astype(np.float64)
    found = Model.load(linear(4, 1, post_transform="LOGISTIC")).run({"x0": x})["y0"]
    assert_near(found, (1 / (1 + np.exp(-plain))).astype(np.float32), 2e-6, "LOGISTIC")


def test_probit_keeps_its_precision_near_one_half_and_near_zero() -> None:
    p = np.float32([0, 1e-30, 1e-3, 0.25, 0.4999, 0.49999997, 0.5001, 0.75, 0.999, 1])[:, None]
    found = Model.load(ml("LinearRegressor", rows(1), coefficients=[1.0], post_transform="PROBIT")).run({"x0": p})["y0"]
    wide = p.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(4 * wide * (1 - wide))
        v = 2 / (np.pi * 0.147) + log / 2
        exact = np.where(np.isinf(log), np.inf, np.sqrt(np.sqrt(v * v - log / 0.147) - v)) * np.sqrt(2) * np.where(wide < 0.5, -1, 1)
    assert_near(found, exact.astype(np.float32), 1e-6, "PROBIT")
    np.testing.assert_allclose(found[[4, 6]], exact[[4, 6]], rtol=1e-5)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_a_row_without_a_norm_stays_as_it_is(norm: str) -> None:
    found = Model.load(ml("Normalizer", rows(3), norm=norm)).run({"x0": np.float32([[0, 0, 0], [-1, 0, -2]])})["y0"]
    assert found[0].tolist() == [0, 0, 0]
    divisor = {"MAX": 1.0, "L1": 3.0, "L2": 5 ** 0.5}[norm]  # the largest of -1, 0 and -2 is 0
    np.testing.assert_allclose(found[1], np.float32([-1, 0, -2]) / np.float32(divisor), rtol=2e-7)


def test_encoders_take_nan_as_a_key() -> None:
    proto = ml("LabelEncoder", rows(2), keys_floats=[1.0, float("nan"), 2.0], values_int64s=[10, 20, 30], default_int64=-7)
    found = _planned(proto).run({"x0": np.float32([[1, 2], [np.nan, 3], [-np.inf, 1]])})["y0"]
    assert found.tolist() == [[10, 30], [20, -7], [-7, 10]]


def test_scores_stand_in_place_of_maps() -> None:
    proto = ml("ZipMap", rows(2), classlabels_int64s=[3, 4])
    x = np.float32([[0.25, 0.75]])
    assert_same_bits(Model.load(proto).run({"x0": x}), {"y0": x}, "ZipMap")


def test_one_row_without_an_axis_is_a_row() -> None:
    x = np.random.default_rng(0).standard_normal(4).astype(np.float32)
    proto = regressor(4)
    del proto.graph.input[0].type.tensor_type.shape.dim[0]
    assert_near(Model.load(proto).run({"x0": x[None]})["y0"].reshape(1), foreign(regressor(4), {"x0": x[None]})["y0"].reshape(1), 1e-6, "")


def test_a_file_without_onnxs_own_domain_needs_no_version_of_it() -> None:
    proto = ml("Scaler", rows(3), offset=[0.5], scale=[2.0])
    del proto.opset_import[0]
    assert _planned(proto).run({"x0": np.float32([[1, 2, 3]])})["y0"].tolist() == [[1, 3, 5]]


def _changed(proto: onnx.ModelProto, name: str, change: Callable[[list[Any]], Any]) -> onnx.ModelProto:
    """The model with one attribute changed."""
    node = proto.graph.node[0]
    old = next(a for a in node.attribute if a.name == name)
    new = helper.make_attribute(name, change(list(helper.get_attribute_value(old))), attr_type=old.type)
    node.attribute.remove(old)
    node.attribute.append(new)
    return proto


def _with(first: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [first, *values[1:]]


TREES = [
    ("nodes_truenodeids", _with(99), "nodes_truenodeids among the nodes of tree 0, got 99"),
    ("nodes_falsenodeids", _with(-1), "nodes_falsenodeids among the nodes of tree 0, got -1"),
    ("nodes_truenodeids", _with(0), "trees without cycles"),
    ("nodes_falsenodeids", lambda v: [*v[:1], 0, *v[2:]], "trees without cycles"),
    ("nodes_nodeids", _with(1), "each node once"),
    ("nodes_modes", _with("BRANCH"), "nodes_modes among .*, got \\['BRANCH'\\]"),
    ("nodes_modes", lambda v: v[:-1], "nodes_modes among"),
    ("nodes_values", _with(float("nan")), "numbers as nodes_values, got NaN"),
    ("nodes_values", lambda v: v[:-1], "75 elements of nodes_values, got 74"),
    ("nodes_featureids", _with(-1), "nodes_featureids of at least 0"),
    ("nodes_featureids", _with(3), "at least 4 features, as nodes compare"),
    ("nodes_treeids", lambda v: v[:-1], "75 elements of nodes_treeids"),
    ("target_ids", _with(1), "target_ids from 0 to 0, got 1"),
    ("target_ids", _with(-1), "target_ids from 0 to 0, got -1"),
    ("target_nodeids", _with(0), "target_nodeids that are leaves, got node 0 of tree 0"),
    ("target_treeids", _with(9), "target_nodeids that are leaves, got node 7 of tree 9"),
    ("target_weights", lambda v: v[:-1], "40 elements of target_weights, got 39")]


@pytest.mark.parametrize(("name", "change", "message"), TREES)
def test_trees_that_contradict_themselves_are_refused_at_load(name: str, change: Any, message: str) -> None:
    with pytest.raises(GraphError, match=f"node .*: expected .*{message}"):
        Model.load(_changed(regressor(3), name, change))


ENSEMBLES = [
    ("tree_roots", _with(4), "tree_roots from 0 to 3, got 4"), ("nodes_truenodeids", _with(4), "nodes_truenodeids below 4, got 4"),
    ("nodes_falsenodeids", _with(5), "nodes_falsenodeids below 5, got 5"), ("nodes_truenodeids", _with(0), "trees without cycles"),
    ("nodes_trueleafs", _with(2), "nodes_trueleafs from 0 to 1"), ("leaf_targetids", _with(2), "leaf_targetids from 0 to 1"),
    ("leaf_targetids", lambda v: v[:-1], "4 elements of leaf_weights, got 5"), ("nodes_falseleafs", lambda v: v[:-1], "4 elements of")]


@pytest.mark.parametrize(("name", "change", "message"), ENSEMBLES)
def test_ensembles_that_contradict_themselves_are_refused_at_load(name: str, change: Any, message: str) -> None:
    with pytest.raises(GraphError, match=f"node .*: expected .*{message}"):
        Model.load(_changed(ensemble(3), name, change))


@pytest.mark.parametrize(("proto", "message"), [
    (lambda: ensemble(3, members=(1.0, np.nan, 2.0)), "1 sets as membership_values"),
    (lambda: ensemble(3, n_targets=1 << 21), "n_targets from 1 to 65536"),
    (lambda: _changed(ensemble(3), "tree_roots", lambda v: []), "at least one of tree_roots"),
    (lambda: ml("LinearRegressor", rows(0), targets=1 << 31), "at least one feature"),
    (lambda: regressor(3, base_values=[0.0, 1.0]), "no base_values or 1, got 2"),
    (lambda: regressor(3, aggregate_function="MEDIAN"), "aggregate_function among"),
    (lambda: regressor(3, n_targets=1, post_transform="EXP"), "post_transform among"),
    (lambda: classifier(3, (0,), (1,)), "at least two classlabels_int64s"),
    (lambda: linear(3, 2, coefficients=[0.5] * 5), "coefficients for 3 features of 2 targets, got 5"),
    (lambda: linear(3, 2, intercepts=[0.5]), "no intercepts or 2, got 1"),
    (lambda: linear(3, 3, (1, 2)), "a label for each of 3 classes"),
    (lambda: ml("Scaler", rows(3), offset=[0.0, 1.0]), "one number or 3 as offset, got 2"),
    (lambda: ml("Normalizer", rows(3), norm="L3"), "norm among"),
    (lambda: ml("ArrayFeatureExtractor", rows(3), np.array([3])), "places from 0 to 2, got 3"),
    (lambda: ml("Imputer", rows(3), imputed_value_floats=[0.0, 1.0]), "one number or 3 as imputed_value_floats"),
    (lambda: ml("LabelEncoder", rows(3), keys_int64s=[1], values_int64s=[1]), "elements of the type of the keys, int64, got float32"),
    (lambda: ml("LabelEncoder", rows(3), keys_floats=[1.0], values_int64s=[1, 2]), "a value for each of 1 keys, got 2"),
    (lambda: ml("LabelEncoder", rows(3), keys_floats=[1.0, 1.0], values_int64s=[1, 2]), "keys that are there once each, got one that is"),
    (lambda: ml("ZipMap", rows(3), classlabels_int64s=[1]), "a label for each of"),
    (lambda: ml("Scaler", In(("N", 3), np.dtype(bool))), "operand 0 .* of type")])
def test_attributes_that_contradict_their_op_are_refused_at_load(proto: Any, message: str) -> None:
    with pytest.raises(GraphError, match=f"node .*: expected .*{message}"):
        Model.load(proto())


@pytest.mark.parametrize(("op", "outputs", "attributes", "name"), [
    ("LinearClassifier", 2, {"coefficients": [1.0, 2.0]}, "classlabels_strings"),
    ("LabelEncoder", 1, {"values_floats": [0.0, 1.0]}, "keys_strings"), ("LabelEncoder", 1, {"keys_floats": [0.0, 1.0]}, "values_strings")])
def test_strings_are_refused_with_the_policys_name(op: str, outputs: int, attributes: dict[str, Any], name: str) -> None:
    proto = ml(op, rows(1), outputs=outputs, **attributes, **{name: ["left", "right"]})
    with pytest.raises(UnsupportedError, match=f"model 'g', node {op}.*expected numbers, got {name}; encode the labels as integers"):
        Model.load(proto)


def test_a_file_cannot_hold_trees_that_were_not_checked() -> None:
    proto = ml("Trees", rows(3))
    proto.graph.node[0].domain = ""
    with pytest.raises(GraphError, match="expected trees and rows of floats"):
        Model.load(proto)


def test_domains_are_named_in_refusals() -> None:
    with pytest.raises(UnsupportedError, match=f"got {ML}.OneHotEncoder"):
        Model.load(ml("OneHotEncoder", rows(3), cats_int64s=[1, 2]), batch_axis=0)


def test_two_classes_with_votes_for_both_may_share_one_base_value() -> None:
    proto = classifier(4, (0, 1), (6, 3), -1.0, base_values=[0.25])
    x = _special(40, 4)
    plain = _planned(classifier(4, (0, 1), (6, 3), -1.0)).run({"x0": x})["y1"]
    assert_near(_planned(proto).run({"x0": x})["y1"], plain + np.array([[0, 0.25]], np.float32), 1e-6, "one base")


def test_state_stays_when_the_weights_of_trees_change() -> None:
    def structure(weight: float) -> str:
        lists = tree_lists(3)
        given = votes(lists, "target", (0,))
        given["target_weights"] = [weight * each for each in given["target_weights"]]
        return _planned(ml("TreeEnsembleRegressor", rows(3), n_targets=1, **lists, **given)).structure

    assert structure(1.0) == structure(2.0)


@pytest.mark.parametrize(("number", "transform"), [
    (1, lambda v: np.exp(v - v.max(1, keepdims=True)) / np.exp(v - v.max(1, keepdims=True)).sum(1, keepdims=True)),
    (2, lambda v: 1 / (1 + np.exp(-v)))], ids=["softmax", "logistic"])
def test_version_5_numbers_its_post_transforms_as_the_specification_does(number: int, transform: Callable[[Array], Array]) -> None:
    """onnxruntime 1.32 takes 1 for LOGISTIC and 2 for SOFTMAX; onnx's reference ignores the attribute."""
    x = {"x0": _special(7, 3)}
    plain, found = (Model.load(ensemble(3, post_transform=each)).run(x) for each in (0, number))
    (name,) = found
    np.testing.assert_allclose(found[name], transform(plain[name].astype(np.float64)), rtol=2e-6)
