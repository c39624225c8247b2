"""Calls with things that are no arrays, names, seeds or flags raise errors of the tree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_graphs import one, rows

from cervello.errors import ConfigurationError, InputError
from cervello.native import Model

X = np.zeros((1, 3), np.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(one("Relu", rows(3)))


@pytest.fixture(scope="module")
def drawing() -> Model:
    return Model.load(one("RandomNormalLike", rows(3)))


@pytest.mark.parametrize(("inputs", "message"), [
    (None, "expected arrays by name, as a dict, got NoneType"), ([X], "expected arrays by name, as a dict, got list"),
    (X, "expected arrays by name, as a dict, got ndarray"), ({"x0": [[1], [1, 2]]}, "input 'x0': expected an array, got something ragged")])
def test_inputs_that_are_no_arrays_by_name_are_refused(model: Model, inputs: Any, message: str) -> None:
    for _ in range(2):  # before and after the model has seen a batch of this size
        with pytest.raises(InputError, match=message):
            model.run(inputs)
        model.run({"x0": X})
    with pytest.raises(InputError):
        model.bind(inputs, {"y0": X.copy()})


@pytest.mark.parametrize("out", [[X.copy()], X.copy(), "y0"])
def test_outputs_that_are_no_arrays_by_name_are_refused(model: Model, out: Any) -> None:
    model.run({"x0": X})
    with pytest.raises(InputError, match=f"out.: expected arrays by name, as a dict, got {type(out).__name__}"):
        model.run({"x0": X}, out=out)
    with pytest.raises(InputError, match="expected arrays by name, as a dict"):
        model.bind({"x0": X}, out)


@pytest.mark.parametrize("seed", [1.5, "a", True, -1, 1 << 64, None])
def test_what_is_no_seed_is_refused(drawing: Model, seed: Any) -> None:
    with pytest.raises(InputError, match=r"expected (a seed|seed=)"):
        drawing.run({"x0": X}, seed=seed)


def test_seeds_of_any_integer_type_draw_the_same(drawing: Model) -> None:
    first = drawing.run({"x0": X}, seed=1 << 63)["y0"]
    np.testing.assert_array_equal(drawing.run({"x0": X}, seed=np.uint64(1 << 63))["y0"], first)  # type: ignore[arg-type]


@pytest.mark.parametrize("flag", [None, 2, "yes", np.array([True, False])])
def test_what_is_no_flag_is_refused(drawing: Model, flag: Any) -> None:
    with pytest.raises(InputError, match="expected deterministic=True or False, got"):
        drawing.run({"x0": X}, seed=1, deterministic=flag)


def test_seeds_in_turn_draw_what_each_draws_alone(drawing: Model) -> None:
    rows_of = {n: {"x0": np.resize(X, (n, *X.shape[1:]))} for n in (1, 3, 1, 20)}
    alone = {(n, seed): Model.load(one("RandomNormalLike", rows(3))).run(rows_of[n], seed=seed)["y0"]
             for n in rows_of for seed in (0, 1, (1 << 64) - 1)}
    plain = {n: drawing.run(rows_of[n], deterministic=True)["y0"] for n in rows_of}
    for n, seed in [*alone, *reversed(alone), *alone]:
        np.testing.assert_array_equal(drawing.run(rows_of[n], seed=seed)["y0"], alone[n, seed])
        np.testing.assert_array_equal(drawing.run(rows_of[n], deterministic=True)["y0"], plain[n])
        assert not np.array_equal(alone[n, seed], plain[n])


@pytest.mark.parametrize("n_rows", [0, -1, 1.5, "4", None, True, 2**70])
def test_a_plan_is_for_a_whole_number_of_rows(model: Model, n_rows: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"plan, rows: expected at (least 1|most 1,000,000,000), got"):
        model.plan(n_rows)


@pytest.mark.parametrize(("options", "message"), [
    ({"share": one("Relu", rows(3))}, "share: expected a cervello.Model, got ModelProto"), ({"share": "other.onnx"}, "share: expected a"),
    ({"outputs": "y0"}, "outputs: expected a list of at least one name, got 'y0'"), ({"outputs": 3}, "outputs: expected a list"),
    ({"outputs": []}, "outputs: expected a list"), ({"dims": ["N"]}, r"dims: expected sizes by symbol, as \{'width': 64\}, got \['N'\]"),
    ({"dims": 3}, "dims: expected sizes by symbol")])
def test_options_of_load_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Model.load(one("Relu", rows(3)), **options)
