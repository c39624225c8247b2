"""Symbols of a file: which is the batch, and what becomes of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import Chain, In, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits

import cervello
from cervello.errors import ConfigurationError, GraphError, InputError
from cervello.native import Model


def _lstm(*shape: int | str | None, hidden: int = 3) -> onnx.ModelProto:
    """A layer over [T, N, 4], and its last state."""
    c = Chain(x=In(shape))
    y, h, _ = c.add("LSTM", "x", weights(1, 4 * hidden, 4), weights(1, 4 * hidden, hidden, seed=1), outputs=3, hidden_size=hidden)
    return c.model(c.add("Squeeze", y, np.array([1])), h)


def _normal(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [("seq", "batch", 4), ("T", "N", 4), (None, "batch", 4), ("T", "batch_size", 4)])
def test_a_sequence_in_front_is_not_the_batch(shape: tuple[Any, ...]) -> None:
    proto = _lstm(*shape)
    model = Model.load(proto)
    assert model.batched, model.plan().one_row
    assert model.inputs["x"].batch_axis == 1
    for n_turns, n_rows in ((1, 5), (6, 5), (6, 2), (1, 1)):
        given = {"x": _normal(n_turns, n_rows, 4)}
        for (name, expected), found in zip(foreign(proto, given).items(), model.run(given).values(), strict=True):
            assert_near(found, expected, 1e-5, f"{n_turns} x {n_rows}, {name}", 1e-6)


def test_models_of_other_sizes_share_the_weights() -> None:
    model = Model.load(_lstm("T", "batch", 4))
    model.run({"x": _normal(7, 2, 4)})
    assert model._open is not None
    (other,) = model._open._models.values()
    assert other.weights.shared_bytes == other.weights.n_bytes
    assert other.inputs["x"].shape == (7, 4)


def test_rows_of_other_sizes_have_the_same_bits_apart_and_together() -> None:
    model = Model.load(_lstm("T", "batch", 4))
    x = _normal(5, 17, 4)
    together = model.run({"x": x})
    alone = [model.run({"x": x[:, i:i + 1]}) for i in range(17)]
    assert_same_bits(together, {name: np.concatenate([row[name] for row in alone], axis=1) for name in together}, "rows")


def test_several_symbols_are_one_batch() -> None:
    c = Chain(x=In(("batch", 4)), h=In((2, "n_envs", 4)), m=In((None, 4)))
    proto = c.model(c.add("Mul", c.add("Add", "x", "m"), c.add("ReduceSum", "h", np.array([0]), keepdims=0)))
    model = Model.load(proto)
    assert model.batched, model.plan().one_row
    assert [spec.batch_axis for spec in model.inputs.values()] == [0, 1, 0]


def _image(height: int | str | None = "height", width: int | str | None = "width") -> onnx.ModelProto:
    c = Chain(x=In(("batch", 3, height, width)))
    return c.model(c.add("GlobalAveragePool", c.add("Relu", c.add("Conv", "x", weights(5, 3, 4, 4), strides=[2, 2]))))


def test_sizes_of_an_image_are_given_or_found_in_the_first_array() -> None:
    model = Model.load(_image(), dims={"height": 12, "width": 10})
    assert model.inputs["x"].shape == (3, 12, 10)
    given = {"x": _normal(4, 3, 12, 10)}
    assert_near(next(iter(model.run(given).values())), next(iter(foreign(_image(), given).values())), 1e-5, "image", 1e-6)
    policy = cervello.load(_image().SerializeToString(), dims={"height": 12, "width": 10})
    policy.begin_agents([1, 2])
    assert policy.infer_batch([1, 2], {"x": given["x"][:2]})


def test_sizes_that_cannot_be_one_are_asked_for() -> None:
    with pytest.raises(GraphError, match=r"taken as \{'height': 1, 'width': 1\}: give others with dims="):
        Model.load(_image())
    with pytest.raises(GraphError, match=r"'x, axis 2': 1"):
        Model.load(_image(None, 9))
    assert Model.load(_image(None, 9), dims={"x, axis 2": 8}).inputs["x"].shape == (3, 8, 9)


@pytest.mark.parametrize("dims", [{"depth": 3}, {"height": 0}, {"height": 2.5}, {"height": True}])
def test_dims_that_cannot_be_are_refused(dims: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="dims"):
        Model.load(_image(), dims=dims)


def test_arrays_without_the_axis_are_refused() -> None:
    model = Model.load(_lstm("T", "batch", 4))
    with pytest.raises(InputError, match="expected 1 axes or more"):
        model.run({"x": np.float32(1)})
