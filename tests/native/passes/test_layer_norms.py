"""Layer normalisations that files write out run in one kernel, near their definition in float64, and a row's bits are its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_graphs import Chain, In, rows, weights
from native_oracle import assert_near
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello.native import Model

Array = np.ndarray[Any, Any]
FORMS = ("pow", "mul", "two subtractions", "reciprocal", "no scale", "no shift", "swapped", "two axes")
EPSILON = np.float32(1e-5)


def written_out(form: str, width: int, seen: str = "") -> Any:
    """x [N, 3, width] → its normalisation; `seen`: which part is an output as well."""
    axes = [-2, -1] if form == "two axes" else [-1]
    tail = (3, width) if form == "two axes" else (width,)
    c = Chain(x=rows(3, width))
    mean = c.add("ReduceMean", "x", axes=axes)
    centre = c.add("Sub", "x", mean)
    other = c.add("Sub", "x", mean) if form == "two subtractions" else centre
    squares = c.add("Mul", other, other) if form == "mul" else c.add("Pow", other, np.float32(2))
    variance = c.add("ReduceMean", squares, axes=axes)
    spread = c.add("Sqrt", c.add("Add", EPSILON, variance) if form == "swapped" else c.add("Add", variance, EPSILON))
    y = c.add("Mul", centre, c.add("Reciprocal", spread)) if form == "reciprocal" else c.add("Div", centre, spread)
    if form != "no scale":
        y = c.add("Mul", weights(*tail), y) if form == "swapped" else c.add("Mul", y, weights(*tail))
    if form != "no shift":
        y = c.add("Add", weights(*tail, seed=1), y) if form == "swapped" else c.add("Add", y, weights(*tail, seed=1))
    return c.model(y, *([{"mean": mean, "variance": variance, "centre": centre}[seen]] if seen else []))


def definition(form: str, x: Array) -> Array:
    axes = (-2, -1) if form == "two axes" else (-1,)
    tail = x.shape[1:] if form == "two axes" else x.shape[2:]
    wide = x.astype(np.float64)
    centre = wide - wide.mean(axes, keepdims=True)
    y = centre / np.sqrt((centre * centre).mean(axes, keepdims=True) + np.float64(EPSILON))
    y = y if form == "no scale" else y * weights(*tail)
    return np.asarray(y if form == "no shift" else y + weights(*tail, seed=1), np.float32)


@pytest.mark.parametrize("width", [1, 7, 16, 33, 130])
@pytest.mark.parametrize("form", FORMS)
def test_the_chain_is_one_kernel_near_the_definition(form: str, width: int) -> None:
    model = Model.load(written_out(form, width))
    assert [step.op for step in model.program.steps] == ["LayerNormalization"]
    for n_rows in (0, 1, 5):
        given = columns(model, max(n_rows, 1), special=False)
        given = {name: array[:n_rows] for name, array in given.items()}
        (found,) = model.run(given).values()
        assert_near(found, definition(form, given["x"]), 2e-6, f"{form}, {width}", 2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_row_has_its_bits_alone_and_in_a_batch(form: str) -> None:
    model = Model.load(written_out(form, 19))
    given = columns(model, 12)  # NaN, infinities, huge and denormal numbers in some rows
    found = execute(model, given, range(12))
    assert_same_bits(found, one_by_one(model, given, 12), form)
    assert np.isnan(next(iter(found.values()))[3]).all()


@pytest.mark.parametrize("seen", ["mean", "variance", "centre"])
def test_parts_that_are_read_elsewhere_keep_the_chain(seen: str) -> None:
    whole, parts = Model.load(written_out("pow", 19)), Model.load(written_out("pow", 19, seen))
    assert "LayerNormalization" not in {step.op for step in parts.program.steps}
    given = columns(parts, 4, special=False)
    found = execute(parts, given, range(4))
    first = next(iter(whole.outputs))
    assert_near(found[first], definition("pow", given["x"]), 1e-5, seen, 1e-5)


def test_means_of_other_axes_are_no_layer_norm() -> None:
    c = Chain(x=In(("N", 3, 5)))
    centre = c.add("Sub", "x", c.add("ReduceMean", "x", axes=[1]))
    spread = c.add("Sqrt", c.add("Add", c.add("ReduceMean", c.add("Mul", centre, centre), axes=[2]), EPSILON))
    proto = c.model(c.add("Div", centre, spread))
    model = Model.load(proto)
    x = weights(4, 3, 5)
    centred = x.astype(np.float64) - x.astype(np.float64).mean(1, keepdims=True)
    expected = centred / np.sqrt((centred * centred).mean(2, keepdims=True) + np.float64(EPSILON))
    assert_near(next(iter(model.run({"x": x}).values())), expected.astype(np.float32), 1e-5, "two axes", 1e-6)
