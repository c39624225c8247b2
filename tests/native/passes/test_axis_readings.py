"""What the open axes of a file are: the batch, sizes of one agent's row, or something that the caller has to say."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from native_graphs import Chain, In, graph, node, rows, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits

import cervello
from cervello.errors import ConfigurationError, GraphError, UnsupportedError
from cervello.native import Model


def _normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def _entities(*shape: int | str | None, pool: str = "ReduceMean", axis: int = 1) -> onnx.ModelProto:
    c = Chain(x=In(shape))
    pooled = c.add(pool, c.add("MatMul", "x", weights(4, 8)), axes=[axis], keepdims=0)
    return c.model(c.add("MatMul", pooled, weights(8, 2)))


def _moves(axis: int = 0) -> onnx.ModelProto:
    c = Chain(moves=In(("n_moves", 9)), q=In((8,)))
    return c.model(c.add("Softmax", c.add("MatMul", c.add("MatMul", "moves", weights(9, 8)), "q"), axis=axis))


def _history() -> onnx.ModelProto:
    c = Chain(x=In((1, "seq_len", 5)))
    turned = c.add("Transpose", "x", perm=[1, 0, 2])
    _, h, _ = c.add("LSTM", turned, weights(1, 32, 5), weights(1, 32, 8, seed=1), outputs=3, hidden_size=8)
    return c.model(c.add("MatMul", c.add("Squeeze", h, np.array([0])), weights(8, 2)))


def _map(front: int | str = 1) -> onnx.ModelProto:
    c = Chain(x=In((front, 3, "h", "w")))
    filtered = c.add("Relu", c.add("Conv", "x", weights(4, 3, 3, 3), pads=[1, 1, 1, 1]))
    return c.model(c.add("Squeeze", c.add("GlobalAveragePool", filtered), np.array([2, 3])))


def _tokens(*shape: int | str) -> onnx.ModelProto:
    """One head of self-attention, and the mean of what it gives."""
    c = Chain(x=In(shape))
    q, k, v = (c.add("MatMul", "x", weights(4, 4, seed=i)) for i in range(3))
    turned = list(range(len(shape)))
    turned[-2:] = turned[:-3:-1]
    weighed = c.add("Softmax", c.add("MatMul", q, c.add("Transpose", k, perm=turned)), axis=-1)
    return c.model(c.add("ReduceMean", c.add("MatMul", weighed, v), axes=[len(shape) - 2], keepdims=0))


def _nodes() -> onnx.ModelProto:
    """A graph network: features of nodes, and who is linked to whom."""
    c = Chain(x=In(("nodes", 4)), links=In(("nodes", "nodes")))
    return c.model(c.add("ReduceSum", c.add("Relu", c.add("MatMul", "links", c.add("MatMul", "x", weights(4, 6)))), np.array([0]),
                         keepdims=0))


def _mean_by_size() -> onnx.ModelProto:
    """A sum divided by the size of its axis, which Shape gives."""
    c = Chain(x=In((1, "n", 4)))
    n = c.add("Cast", c.add("Gather", c.add("Shape", "x"), np.array(1)), to=1)
    return c.model(c.add("Div", "x", n))


def _features(*shape: int | str) -> onnx.ModelProto:
    c = Chain(x=In(shape))
    return c.model(c.add("MatMul", "x", weights(6, 2)))


def _per_entity(*shape: int | str) -> onnx.ModelProto:
    c = Chain(x=In(shape))
    return c.model(c.add("Tanh", c.add("MatMul", "x", weights(4, 2))))


class Case(NamedTuple):
    """A file, what its inputs should look like, and shapes that onnxruntime runs it with."""

    proto: onnx.ModelProto
    specs: dict[str, str]
    open_dims: set[str]
    shapes: tuple[dict[str, tuple[int, ...]], ...]


LISTS: dict[str, Case] = {
    "mean over entities": Case(_entities(1, "n", 4), {"x": "(N, n, 4)"}, {"n"}, ({"x": (1, 6, 4)}, {"x": (1, 1, 4)}, {"x": (1, 33, 4)})),
    "max over entities": Case(_entities(1, "n", 4, pool="ReduceMax"), {"x": "(N, n, 4)"}, {"n"}, ({"x": (1, 6, 4)},)),
    "entities without a name": Case(_entities(1, None, 4), {"x": "(N, ?, 4)"}, {"x, axis 1"}, ({"x": (1, 6, 4)},)),
    "entities in front": Case(_entities("n", 4, axis=0), {"x": "(N, n, 4)"}, {"n"}, ({"x": (6, 4)}, {"x": (1, 4)})),
    "entities called a batch": Case(_entities("batch", 4, axis=0), {"x": "(N, batch, 4)"}, {"batch"}, ({"x": (6, 4)},)),
    "softmax over moves": Case(_moves(), {"moves": "(N, n_moves, 9)", "q": "(N, 8)"}, {"n_moves"},
                               ({"moves": (4, 9), "q": (8,)}, {"moves": (1, 9), "q": (8,)})),
    "a history": Case(_history(), {"x": "(N, seq_len, 5)"}, {"seq_len"}, ({"x": (1, 4, 5)}, {"x": (1, 1, 5)})),
    "a map of any size": Case(_map(), {"x": "(N, 3, h, w)"}, {"h", "w"}, ({"x": (1, 3, 6, 9)}, {"x": (1, 3, 1, 1)})),
    "tokens": Case(_tokens(1, "t", 4), {"x": "(N, t, 4)"}, {"t"}, ({"x": (1, 5, 4)},)),
    "tokens in front": Case(_tokens("t", 4), {"x": "(N, t, 4)"}, {"t"}, ({"x": (5, 4)},)),
    "nodes of a graph": Case(_nodes(), {"x": "(N, nodes, 4)", "links": "(N, nodes, nodes)"}, {"nodes"}, ({"x": (5, 4), "links": (5, 5)},)),
    "its size in arithmetic": Case(_mean_by_size(), {"x": "(N, n, 4)"}, {"n"}, ({"x": (1, 5, 4)},)),
    "a list beside the batch": Case(_tokens("batch", "t", 4), {"x": "(N, t, 4)"}, {"t"}, ({"x": (3, 5, 4)}, {"x": (1, 2, 4)})),
    "a map beside the batch": Case(_map("batch"), {"x": "(N, 3, h, w)"}, {"h", "w"}, ({"x": (2, 3, 5, 4)},)),
    "a feature axis called batch": Case(_features(1, "batch_size"), {"x": "(N, 6)"}, set(), ({"x": (1, 6)},)),
    "a feature axis left open": Case(_features("batch", "features"), {"x": "(N, 6)"}, set(), ({"x": (3, 6)},)),
    "entities on their own": Case(_per_entity(1, "n", 4), {"x": "(N, n, 4)"}, {"n"}, ({"x": (1, 5, 4)},)),
    "a batch behind a 1": Case(_per_entity(1, "batch", 4), {"x": "(1, N, 4)"}, set(), ({"x": (1, 5, 4)},)),
    "a batch in front": Case(_per_entity("n", 4), {"x": "(N, 4)"}, set(), ({"x": (5, 4)},))}


@pytest.mark.parametrize("name", LISTS)
def test_files_run_as_onnxruntime_runs_them_whatever_their_open_axes_are(name: str) -> None:
    case = LISTS[name]
    model = Model.load(case.proto)
    assert {key: str(spec).split(": ")[1].rsplit(" ", 1)[0] for key, spec in model.inputs.items()} == case.specs
    assert set(model.open_dims) == case.open_dims
    for shapes in case.shapes:
        given = {key: _normal(*shape) for key, shape in shapes.items()}
        for (key, expected), found in zip(foreign(case.proto, given).items(), model.run(given).values(), strict=True):
            assert found.size == expected.size, f"{name}, {key}"
            assert_near(found.reshape(expected.shape), expected, 1e-5, f"{name}, {key}", 1e-6)


@pytest.mark.parametrize("name", ["mean over entities", "entities in front", "a history", "a map of any size", "tokens", "tokens in front",
                                  "softmax over moves"])
def test_rows_with_an_open_size_are_the_same_alone_and_together(name: str) -> None:
    model = Model.load(LISTS[name].proto).of_sizes(dict.fromkeys(LISTS[name].open_dims, 5))
    given = {key: _normal(*spec.batched(7)) for key, spec in model.inputs.items()}
    together = model.run(given)
    for row in range(7):
        alone = model.run({key: array[row:row + 1] for key, array in given.items()})
        assert_same_bits({key: array[row:row + 1] for key, array in together.items()}, alone, f"{name}, row {row}")


def test_a_leading_one_is_freed_beside_an_open_size() -> None:
    for name in ("mean over entities", "a history", "a map of any size", "tokens"):
        assert Model.load(LISTS[name].proto).batched, name


def _unknown(symbol: str | None = "n") -> onnx.ModelProto:
    """Trilu may mix rows; no list says whether it does."""
    return graph([node("Trilu", ["x"], ["y"], upper=0)], {"x": In((symbol, 4))}, ["y"])


@pytest.mark.parametrize("symbol", ["n", "moves", None, "unk__7"])
def test_an_axis_of_which_nothing_is_proven_is_refused_with_both_readings(symbol: str | None) -> None:
    with pytest.raises(GraphError, match=r"input 'x', axis 0: expected .* got neither .*Trilu.*batch_axis=\{'x': 0\} when it is the batch, "
                                         r"with a row of \(4\).*batch_axis=\{'x': None\} when it is a size of one agent's row.*dims="):
        Model.load(_unknown(symbol))


@pytest.mark.parametrize(("domain", "message"), [
    ("com.example", r"node Magic 'm': expected an op Cervello runs, got com\.example\.Magic"),
    ("com.microsoft", r"got onnxruntime's own com\.microsoft\.Magic; export the file without"),
    ("", "node Magic 'm': expected an op of ONNX, got 'Magic'")])
def test_an_op_that_nothing_runs_is_refused_before_the_batch_is_asked_for(domain: str, message: str) -> None:
    proto = graph([node("Magic", ["x"], ["y"], name="m", domain=domain)], {"x": In((None, 4))}, ["y"])
    if domain:
        proto.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    for batch_axis in (None, 0):
        with pytest.raises(UnsupportedError, match=message):
            Model.load(proto, batch_axis=batch_axis)


def test_an_axis_in_front_that_is_called_the_batch_is_believed_where_nothing_is_proven() -> None:
    model = Model.load(_unknown("batch"))
    assert str(model.inputs["x"]) == "x: (N, 4) float32"
    assert not model.batched
    x = _normal(3, 4)
    np.testing.assert_array_equal(model.run({"x": x})["y"][:, 0], x[:, 0])  # each row is the first of its own matrix


def test_either_reading_can_be_asked_for() -> None:
    x = _normal(3, 4)
    rows_apart = Model.load(_unknown(), batch_axis={"x": 0}).run({"x": x})["y"]
    one_row = Model.load(_unknown(), batch_axis={"x": None}).run({"x": x})["y"]
    np.testing.assert_array_equal(rows_apart, np.tril(x[:, None])[:, 0])
    np.testing.assert_array_equal(one_row.reshape(3, 4), foreign(_unknown(), {"x": x})["y"])
    fixed = Model.load(_unknown(), batch_axis={"x": None}, dims={"n": 3})
    assert fixed.inputs["x"].shape == (3, 4)
    np.testing.assert_array_equal(fixed.run({"x": x[None]})["y"][0], np.tril(x))


def test_what_is_asked_for_goes_along_when_a_model_is_pickled_updated_or_loaded_again() -> None:
    data = _entities("n", 4, axis=0).SerializeToString()
    model = Model.load(data, batch_axis=0)
    (constant,) = [name for name, array in model._source().graph().constants.items() if array.shape == (8, 2)]
    for other in (pickle.loads(pickle.dumps(model)), model.updated({constant: weights(8, 2, seed=9)}), model.loaded(data)):
        assert str(other.inputs["x"]) == "x: (N, 4) float32"
    policy = cervello.load(data, batch_axis=0)
    policy.begin_agents([1, 2])
    policy.replace(data)
    assert policy.infer_batch([1, 2], {"x": _normal(2, 4)})
    assert Model.load(data).inputs["x"].open_axes == ((0, "n"),)


def test_inputs_that_share_a_symbol_have_their_batch_there() -> None:
    c = Chain(x=In(("n", 4)), h=In((2, "n", 4)), q=In((4,)))
    model = Model.load(c.model(c.add("Add", c.add("Add", "x", "q"), c.add("ReduceSum", "h", np.array([0]), keepdims=0))),
                       batch_axis={"x": 0})
    assert [spec.batch_axis for spec in model.inputs.values()] == [0, 1, None]


def test_an_axis_of_size_one_may_be_the_batch() -> None:
    model = Model.load(_per_entity(3, 1, 4), batch_axis=1)
    assert model.batched
    x = _normal(3, 5, 4)
    assert_near(next(iter(model.run({"x": x}).values())), np.tanh(x @ weights(4, 2)), 1e-5, "axis 1", 1e-6)


@pytest.mark.parametrize(("batch_axis", "message"), [
    ({"y": 0}, "expected inputs among"), (2, r"expected None or an axis 0 ≤ axis < 2, got 2"), ({"x": -1}, "expected None or an axis"),
    (True, "expected an axis for all inputs"), ({"x": False}, "expected None or an axis"), ("x", "expected an axis for all inputs"),
    ({"x": 1}, "expected an axis of open size or of size 1, got axis 1 of size 4")])
def test_batch_axes_that_cannot_be_are_refused(batch_axis: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Model.load(_unknown(), batch_axis=batch_axis)
    with pytest.raises(ConfigurationError, match=message):
        cervello.load(_unknown().SerializeToString(), batch_axis=batch_axis)


def test_a_loaded_model_takes_no_batch_axis() -> None:
    with pytest.raises(ConfigurationError, match="batch_axis=, rename= for a file"):
        cervello.load(Model.load(_per_entity("n", 4)), batch_axis=0)


def test_open_axes_of_outputs_are_known() -> None:
    model = Model.load(_moves())
    assert {name: spec.open_axes for name, spec in model.outputs.items()} == {next(iter(model.outputs)): ((0, "n_moves"),)}
    assert Model.load(graph([node("Relu", ["x"], ["y"])], {"x": rows(3)}, ["y"])).outputs["y"].open_axes == ()
