"""Chains that run as one step give the bits of the steps they replace, and numbers near onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_graphs import Chain, rows, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello.native import Model


def kinds(model: Model) -> list[str]:
    return [step.kernel.rpartition(".")[2] for step in model.program.steps]


def attention(queries: int, keys: int, width: int, ops: str, transposed: bool = False, seen: bool = False) -> Any:
    """q [N, 2, queries, width], k and v [N, 2, keys, width], a mask [N, 1, 1, keys] and one per query; `seen`: scores are an output."""
    c = Chain(q=rows(2, queries, width), k=rows(2, keys, width) if not transposed else rows(2, width, keys), v=rows(2, keys, width + 3),
              mask=rows(1, 1, keys), grid=rows(1, queries, keys))
    scores = c.add("MatMul", "q", "k" if transposed else c.add("Transpose", "k", perm=[0, 1, 3, 2]))
    for op in ops.split():
        kind, _, operand = op.partition(":")
        other = {"number": np.float32(0.37), "row": weights(keys), "mask": "mask", "grid": "grid"}[operand.strip("<")]
        scores = c.add(kind, other, scores) if operand.endswith("<") else c.add(kind, scores, other)
    shares = c.add("Softmax", scores, axis=-1)
    return c.model(c.add("MatMul", shares, "v"), *([shares] if seen else []))


SIZES = [(1, 1, 1), (3, 5, 4), (16, 16, 16), (17, 33, 20), (49, 50, 32), (100, 7, 8), (5, 130, 40)]
OPS = ["", "Mul:number", "Div:number Add:mask", "Add:grid", "Mul:mask< Sub:grid Add:row", "Sub:number< Mul:row",
       "Div:row Mul:grid Add:mask Add:number"]


@pytest.mark.parametrize("ops", OPS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_attention_in_one_step_has_the_bits_of_its_parts(size: tuple[int, int, int], ops: str) -> None:
    whole, parts = (Model.load(attention(*size, ops, seen=seen)) for seen in (False, True))
    assert "attention:attend" in kinds(whole)
    assert "attention:attend" not in kinds(parts)
    given = columns(whole, 5, special=False)
    name = next(iter(whole.outputs))
    found = execute(whole, given, range(5))
    assert_same_bits({"y": found[name]}, {"y": execute(parts, given, range(5))[name]}, f"{size} {ops}")
    assert_same_bits(found, one_by_one(whole, given, 5), f"{size} {ops}")
    assert_near(found[name], foreign(attention(*size, ops), given)[name], 1e-4, f"{size} {ops}", 1e-6)


def test_attention_takes_keys_that_lie_transposed_already() -> None:
    graph = attention(20, 30, 8, "Mul:number", transposed=True)
    model = Model.load(graph)
    assert kinds(model).count("attention:attend") == 1
    given = columns(model, 3, special=False)
    for name, array in execute(model, given, range(3)).items():
        assert_near(array, foreign(graph, given)[name], 1e-4, name)


def test_a_row_of_nan_stays_alone_in_attention() -> None:
    model = Model.load(attention(20, 20, 8, "Add:mask"))
    given = columns(model, 6, special=False)
    before = execute(model, given, range(6))
    given["q"][2], given["mask"][4] = np.nan, np.inf
    after = execute(model, given, range(6))
    for name in before:
        keep = [0, 1, 3, 5]
        assert before[name][keep].tobytes() == after[name][keep].tobytes()


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("width", [1, 5, 33])
def test_x_times_sigmoid_is_one_step_with_the_bits_of_two(width: int, swapped: bool) -> None:
    def build(seen: bool) -> Any:
        c = Chain(x=rows(width))
        h = c.dense("x", width, width)
        gate = c.add("Sigmoid", h)
        return c.model(c.add("Mul", *((gate, h) if swapped else (h, gate))), *([gate] if seen else []))

    whole, parts = Model.load(build(False)), Model.load(build(True))
    assert len(whole.program.steps) == 1
    assert len(parts.program.steps) > 1
    given = columns(whole, 9)
    name = next(iter(whole.outputs))
    assert_same_bits({"y": execute(whole, given, range(9))[name]}, {"y": execute(parts, given, range(9))[name]}, f"width {width}")


def test_what_somebody_else_reads_is_not_fused_away() -> None:
    c = Chain(x=rows(4))
    gate = c.add("Sigmoid", "x")
    model = Model.load(c.model(c.add("Mul", "x", gate), c.add("Add", gate, "x")))
    given = columns(model, 4, special=False)
    product, total = execute(model, given, range(4)).values()
    np.testing.assert_allclose(product, given["x"] / (1 + np.exp(-given["x"])), rtol=1e-6)
    np.testing.assert_allclose(total, given["x"] + 1 / (1 + np.exp(-given["x"])), rtol=1e-6)


@pytest.mark.parametrize("width", [*range(1, 18), 31, 32, 33, 40, 63, 64, 65])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)], ids=str)
def test_softmax_of_short_rows_has_the_bits_of_single_rows(width: int, shape: tuple[int, ...]) -> None:
    c = Chain(x=rows(*shape, width))
    model = Model.load(c.model(c.add("Softmax", "x", axis=-1)))
    given = columns(model, 37)
    assert_same_bits(execute(model, given, range(37)), one_by_one(model, given, 37), f"width {width}")
    assert_near(next(iter(execute(model, given, range(37)).values())), _exact(given["x"]), 1e-6, f"width {width}")


def _exact(x: Any) -> Any:
    with np.errstate(invalid="ignore"):
        x = x.astype(np.float64)
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return (e / e.sum(axis=-1, keepdims=True)).astype(np.float32)


def _masked_rectifier(c: Chain, x: str) -> str:
    """max(x, 0) as tf2onnx writes it."""
    above = c.add("Greater", x, np.float32(0))
    kept = c.add("Mul", c.add("Cast", above, to=1), x)
    return c.add("Add", kept, c.add("Mul", np.float32(0), c.add("Cast", c.add("Not", above), to=1)))


def test_a_rectifier_of_masks_is_one_step_with_the_bits_of_relu() -> None:
    masked, plain = (Chain(x=rows(33)) for _ in range(2))
    whole = Model.load(masked.model(_masked_rectifier(masked, "x")))
    relu = Model.load(plain.model(plain.add("Relu", "x")))
    assert kinds(whole) == kinds(relu) == ["maps:unary"]
    given = columns(whole, 9, special=False)
    given["x"][0, :4] = np.nan, np.inf, -1e-45, 3e38
    found, expected = (next(iter(execute(model, given, range(9)).values())) for model in (whole, relu))
    assert_same_bits({"y": found}, {"y": expected}, "masks")


def test_a_rectifier_whose_mask_is_seen_stays_as_it_is() -> None:
    c = Chain(x=rows(5))
    above = c.add("Greater", "x", np.float32(0))
    kept = c.add("Mul", c.add("Cast", above, to=1), "x")
    y = c.add("Add", kept, c.add("Mul", np.float32(0), c.add("Cast", c.add("Not", above), to=1)))
    assert len(kinds(Model.load(c.model(y, above)))) > 2


def test_an_activation_between_transposes_joins_the_convolution() -> None:
    def graph(op: str, seen: bool) -> Any:
        c = Chain(x=rows(3, 6, 7))
        turned = c.add("Transpose", c.add("Conv", "x", weights(5, 3, 2, 2)), perm=[0, 2, 3, 1])
        active = _masked_rectifier(c, turned) if op == "masks" else c.add(op, turned)
        y = c.add("Conv", c.add("Transpose", active, perm=[0, 3, 1, 2]), weights(4, 5, 2, 2))
        return c.model(y, *([turned] if seen else []))

    for op in ("Tanh", "masks"):
        fused, apart = Model.load(graph(op, False)), Model.load(graph(op, True))
        assert len(kinds(fused)) == 2
        assert len(kinds(apart)) > 2
        given = columns(fused, 4, special=False)
        name = next(iter(fused.outputs))
        found = execute(fused, given, range(4))
        assert_same_bits({"y": found[name]}, {"y": execute(apart, given, range(4))[name]}, op)
        assert_near(found[name], foreign(graph(op, False), given)[name], 1e-4, op)


@pytest.mark.parametrize("ops", [["Abs", "Abs"], ["Tanh", "Relu", "Sigmoid"]], ids=str)
def test_several_activations_pass_one_transpose(ops: list[str]) -> None:
    def graph(seen: bool) -> Any:
        c = Chain(x=rows(3, 4, 5))
        turned = x = c.add("Transpose", "x", perm=[0, 2, 3, 1])
        for op in ops:
            x = c.add(op, x)
        return c.model(c.add("Add", x, weights(4, 5, 3)), *([turned] if seen else []))

    whole, parts = Model.load(graph(False)), Model.load(graph(True))
    assert not whole.slow_nodes
    given = columns(whole, 5)
    (found,) = execute(whole, given, range(5)).values()
    assert_same_bits({"y": found}, {"y": next(iter(execute(parts, given, range(5)).values()))}, str(ops))
    ordinary = columns(whole, 5, special=False)
    (again,) = execute(whole, ordinary, range(5)).values()
    assert_near(again, next(iter(foreign(graph(False), ordinary).values())), 1e-6, str(ops))
