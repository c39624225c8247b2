"""Ops are known to keep rows apart, or rows run one at a time: no agent's result or noise depends on who shares its batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_graphs import I64, Chain, In, along, graph, node, one, rows, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello.errors import UnsupportedError
from cervello.native import Model

N = 5


def _a(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def _less_the_sum() -> Any:
    c = Chain(x=rows(4))
    return c.model(c.add("Sub", "x", c.add("Einsum", "x", equation="ij->j")))


def _by_the_number_of_rows() -> Any:
    c = Chain(x=rows(4))
    n = c.add("Cast", c.add("Gather", c.add("Shape", "x"), np.array(0)), to=1)
    return c.model(c.add("Div", "x", n))


def _by_half_of_them() -> Any:
    c = Chain(x=rows(4))
    n = c.add("Cast", c.add("Gather", c.add("Shape", "x"), np.array(0)), to=1)
    return c.model(c.add("Mul", "x", c.add("Mul", n, np.float32(0.5))))


def _unless_alone() -> Any:
    c = Chain(x=rows(4))
    others = c.add("Sub", c.add("Gather", c.add("Shape", "x"), np.array(0)), np.array(1))
    return c.model(c.add("Where", c.add("Cast", others, to=9), "x", c.add("Neg", "x")))


def _if_alone() -> Any:
    c = Chain(x=rows(4))
    alone = c.add("Equal", c.add("Gather", c.add("Shape", "x"), np.array(0)), np.array(1))
    return c.model(c.add("Where", alone, "x", c.add("Neg", "x")))


MIXED: dict[str, Any] = {
    "Einsum over rows": _less_the_sum, "Einsum of two batches": lambda: one("Einsum", rows(4), In((4, "N")), equation="bi,ij->bi"),
    "Trilu": lambda: one("Trilu", rows(4), upper=0),
    "ScatterND": lambda: one("ScatterND", rows(4), np.array([[0, 1]]), np.float32([9])),
    "ScatterElements": lambda: one("ScatterElements", rows(4), np.array([[0]]), np.float32([[9]]), axis=0),
    "MeanVarianceNormalization": lambda: one("MeanVarianceNormalization", rows(4), axes=[0]),
    "ReverseSequence": lambda: one("ReverseSequence", rows(4), _a(1, 1, 1, 1), batch_axis=1, time_axis=0),
    "GatherElements by place": lambda: one("GatherElements", rows(4), _a(0).reshape(1, 1), axis=1),
    "TopK of rows": lambda: one("TopK", rows(4), _a(1), axis=0, outputs=2), "Tile of the batch": lambda: one("Tile", rows(4), _a(2, 1)),
    "Clip by a batch": lambda: one("Clip", rows(1), rows(1)),
    "the number of rows": _by_the_number_of_rows, "a batch of one": _if_alone,
    "half the number of rows": _by_half_of_them, "the number of the others": _unless_alone}


_FOREIGN_TO_ONE_ROW = ("Clip by a batch", "MeanVarianceNormalization")  # onnxruntime: a bound is a scalar; 0 / 0 of a single number


@pytest.mark.parametrize("name", MIXED)
def test_ops_that_may_mix_rows_get_one_row_at_a_time(name: str) -> None:
    proto = MIXED[name]()
    model = Model.load(proto, batch_axis=along(proto))  # else it is an open size of one row, see test_axis_readings
    assert not model.batched
    assert model.plan().one_row
    given = columns(model, N, special=False)
    together = execute(model, given, range(N))
    assert_same_bits(together, one_by_one(model, given, N), name)
    alone = {spec.name: given[spec.name].take([2], spec.batch_axis) if spec.batch_axis is not None else given[spec.name]
             for spec in model.inputs.values()}
    if name in _FOREIGN_TO_ONE_ROW:
        return
    for key, expected in foreign(proto, alone).items():
        assert_near(together[key][2].reshape(expected.shape), expected, 1e-5, name)


APART: dict[str, Any] = {
    "Einsum": lambda: one("Einsum", rows(3, 4), weights(4, 5), equation="bij,jk->bik"),
    "Einsum of two rows": lambda: one("Einsum", rows(3, 4), rows(5, 4), equation="b i j, b k j -> b i k"),
    "GatherElements": lambda: one("GatherElements", rows(4), rows(2, dtype=I64), axis=1),
    "TopK": lambda: one("TopK", rows(5), _a(2), outputs=2), "OneHot": lambda: one("OneHot", rows(dtype=I64), _a(3), np.float32([0, 1])),
    "Tile": lambda: one("Tile", rows(4), _a(1, 3)), "Sum": lambda: one("Sum", rows(4), rows(1), weights(4)),
    "Mean": lambda: one("Mean", rows(4), rows(4)), "Mod": lambda: one("Mod", rows(4, dtype=I64), np.array(3)),
    "MeanVarianceNormalization": lambda: one("MeanVarianceNormalization", rows(4), axes=[1]),
    "LRN": lambda: one("LRN", rows(5, 2, 2), size=3, alpha=1.0), "Hardmax": lambda: one("Hardmax", rows(3, 5)),
    "Pad with axes and no value": lambda: one("Pad", rows(3), _a(1, 2), None, _a(-1), opset=18)}


@pytest.mark.parametrize("name", APART)
def test_ops_known_to_keep_rows_apart_run_them_together(name: str) -> None:
    proto = APART[name]()
    model = Model.load(proto)
    assert model.batched, model.plan().one_row
    given = columns(model, N, special=False)
    together = execute(model, given, range(N))
    assert_same_bits(together, one_by_one(model, given, N), name)
    for key, expected in foreign(proto, given).items():
        assert_near(together[key], expected, 1e-5, name)


def test_batch_normalization_in_training_mode_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="expected statistics that are fixed, got training mode"):
        Model.load(one("BatchNormalization", rows(4), *[np.ones(4, np.float32)] * 4, training_mode=1))


@pytest.mark.parametrize("op", ["RandomNormalLike", "RandomUniformLike", "Multinomial"])
def test_noise_without_rows_is_drawn_for_each_agent(op: str) -> None:
    c = Chain(x=rows(4))
    noise = c.add(op, np.zeros((1, 4), np.float32), **({"sample_size": 4} if op == "Multinomial" else {}))
    c.nodes.append(node("Add", ["x", c.add("Cast", noise, to=1)], ["y"]))
    model = Model.load(c.model("y"))
    assert not model.batched
    found = model.run({"x": np.zeros((40, 4), np.float32)}, seed=1)["y"]
    assert len({row.tobytes() for row in found}) > 20


def test_noise_whose_rows_do_not_lie_in_front_is_drawn_for_each_agent() -> None:
    c = Chain(x=rows(4))
    model = Model.load(c.model(c.add("RandomNormalLike", c.add("Transpose", "x", perm=[1, 0]))))
    assert not model.batched
    found = next(iter(model.run({"x": np.zeros((6, 4), np.float32)}, seed=1).values()))
    assert len(np.unique(found)) == 24


def test_ops_that_no_output_needs_do_not_count() -> None:
    c = Chain(x=rows(4))
    c.add("Trilu", "x")
    model = Model.load(c.model(c.add("Tanh", "x")))
    assert model.batched
    assert not model.slow_nodes


def test_one_row_at_a_time_keeps_the_axes_that_the_file_declares() -> None:
    c = Chain(a=rows(2), s=In((2, "N", 3)), scale=In((3,)))
    c.nodes.append(node("Sub", ["a", c.add("ReduceMean", "a", axes=[0], keepdims=1)], ["b"]))
    c.nodes.append(node("Tanh", [c.add("Mul", "s", "scale")], ["t"]))
    proto = c.model("b", "t")
    model = Model.load(proto, batch_axis=along(proto))
    assert not model.batched
    assert {name: (spec.shape, spec.batch_axis) for name, spec in (*model.inputs.items(), *model.outputs.items())} == {
        "a": ((2,), 0), "s": ((2, 3), 1), "scale": ((3,), None), "b": ((2,), 0), "t": ((2, 3), 1)}
    random = np.random.default_rng(0)
    given = {"a": random.standard_normal((N, 2)).astype(np.float32), "s": random.standard_normal((2, N, 3)).astype(np.float32),
             "scale": np.float32([1, 2, 3])}
    found = model.run(given)
    np.testing.assert_array_equal(found["b"], 0 * given["a"])
    np.testing.assert_allclose(found["t"], np.tanh(given["s"] * given["scale"]), rtol=1e-5)


def test_the_number_of_rows_as_an_output_is_each_agents_own() -> None:
    model = Model.load(graph([node("Shape", ["x"], ["y"]), node("Relu", ["x"], ["z"])], {"x": rows(3)}, ["y", "z"]))
    assert model.run({"x": np.ones((2, 3), np.float32)})["y"].tolist() == [[1, 3]] * 2


@pytest.mark.parametrize("count", [0, 1, 4])
def test_outputs_that_all_rows_share_are_written_whatever_the_number_of_rows(count: int) -> None:
    c = Chain(x=rows(3))
    c.nodes += [node("Gather", [c.add("Shape", "x"), c.const(np.array(1))], ["y"]), node("RandomNormalLike", ["x"], ["z"])]
    model = Model.load(c.model("y", "z"))
    assert model.outputs["y"].batch_axis is None
    for out in (None, {"y": np.array(-77)}):
        found = model.run({"x": np.zeros((count, 3), np.float32)}, out=out, seed=1)
        assert found["y"].tolist() == 3
        assert found["z"].shape == (count, 3)
