"""Columns that are filled row by row or all at once."""

from __future__ import annotations

import numpy as np
import pytest

from cervello import InputError, Specs, TensorSpec
from cervello.batcher import ScratchPad

F32 = np.dtype(np.float32)
SPECS = Specs([TensorSpec("obs", (2,), F32), TensorSpec("speed", (), F32)])


def row(value: float) -> dict[str, object]:
    return {"obs": np.full(2, value, np.float32), "speed": np.float32(value)}


def test_rows_survive_when_the_pad_grows() -> None:
    pad = ScratchPad(SPECS, capacity=1)
    for i in range(40):
        pad.put(i, {"obs": np.full(2, i, np.float32), "speed": np.float32(i)})
    columns = pad.columns(40)
    assert columns["obs"][:, 1].tolist() == list(range(40))
    assert columns["speed"].tolist() == list(range(40))


def test_fill_writes_nothing_when_one_row_does_not_fit() -> None:
    pad = ScratchPad(SPECS)
    pad.fill([row(1), row(2)], "ab")
    good = np.zeros(2, np.float32)
    for bad in ({"obs": np.zeros(3), "speed": 0}, {"obs": good}, {"obs": good, "speed": np.zeros(1)},
                {"obs": np.zeros(2), "speed": 0, "more": 0}, {"obs": np.zeros(2, complex), "speed": 0}):
        with pytest.raises(InputError, match="agent 'b'"):
            pad.fill([row(8), bad], "ab")
        with pytest.raises(InputError, match="agent 'a'"):
            pad.fill([bad, row(8)], "ab")
        assert pad.columns(2)["obs"].tolist() == [[1, 1], [2, 2]]
        assert pad.columns(2)["speed"].tolist() == [1, 2]


def test_fill_casts_rows_of_mixed_types() -> None:
    pad = ScratchPad(SPECS)
    pad.fill([row(1), {"obs": [2, 3], "speed": 4}, {"obs": np.array([0.1, 0.2]), "speed": True}], "abc")
    assert pad.columns(3)["obs"].dtype == np.float32
    assert np.array_equal(pad.columns(3)["obs"], np.array([[1, 1], [2, 3], [0.1, 0.2]], np.float32))
    assert pad.columns(3)["speed"].tolist() == [1, 4, 1]


def test_columns_have_the_batch_where_the_spec_has_it() -> None:
    specs = Specs([TensorSpec("state", (2, 3), F32, 1), TensorSpec("last", (2,), F32, 1)])
    pad = ScratchPad(specs)
    pad.fill([{"state": np.full((2, 3), i), "last": np.full(2, i)} for i in range(4)], range(4))
    columns = pad.columns(4)
    assert columns["state"].shape == (2, 4, 3)
    assert columns["last"].shape == (2, 4)
    assert columns["state"][1, :, 2].tolist() == [0, 1, 2, 3]


def test_a_value_that_all_share_must_be_the_same_for_all() -> None:
    pad = ScratchPad(Specs([TensorSpec("temperature", (), F32, None)]))
    pad.fill([{"temperature": 0.5}, {"temperature": 0.5}], "ab")
    column = pad.columns(2)["temperature"]
    assert column.shape == ()
    assert column == np.float32(0.5)
    pad.fill([{"temperature": 0.5}, {"temperature": 0.6}], "ab")
    with pytest.raises(InputError, match="input 'temperature': expected the same value for all agents of a batch, got different ones"):
        pad.columns(2)
