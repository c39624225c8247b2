"""GlobalAveragePool and GlobalMaxPool."""

from __future__ import annotations

import numpy as np
import pytest
from native_graphs import one, rows

from cervello.native import Model


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_a_picture_without_axes_is_its_own_mean_and_maximum(op: str) -> None:
    model = Model.load(one(op, rows(3)))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    (found,) = model.run(dict.fromkeys(model.inputs, x)).values()
    assert found.tolist() == x.tolist()
