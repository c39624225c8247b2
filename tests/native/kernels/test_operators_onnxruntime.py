"""Every case of the law harness gives the outputs of onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from native_cases import ALL, WIDTHS, Case
from native_oracle import assert_near, foreign
from native_rows import columns

from cervello.native import Model


@pytest.mark.parametrize("case", [case for case in ALL if case.foreign], ids=repr)
def test_outputs_are_those_of_onnxruntime(case: Case) -> None:
    for width in WIDTHS:
        graph = case.build(width)
        model = Model.load(graph)
        for n_rows in (1, 6):
            given = columns(model, n_rows, special=False, positive=case.positive, integers=case.integers, seed=n_rows)
            found = model.run(given)
            for name, expected in foreign(graph, given).items():
                assert_near(found[name], expected, case.tolerance, f"width {width}, {n_rows} rows, {name}")


@pytest.mark.parametrize("case", ALL, ids=repr)
def test_no_rows_give_empty_outputs(case: Case) -> None:
    model = Model.load(case.build(5))
    found = model.run(columns(model, 0), seed=1)
    assert list(found) == list(model.outputs)
    for spec in model.outputs.values():
        assert found[spec.name].shape == spec.batched(0)
        assert found[spec.name].dtype == spec.dtype


@pytest.mark.parametrize("case", ALL, ids=repr)
def test_declared_specs_are_what_runs_return(case: Case) -> None:
    model = Model.load(case.build(3))
    found = model.run(columns(model, 4, special=False, positive=case.positive, integers=case.integers), seed=1)
    for spec in model.outputs.values():
        assert found[spec.name].shape == spec.batched(4)
        assert found[spec.name].dtype is np.dtype(spec.dtype)
