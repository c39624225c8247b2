"""Sums with an activation behind them, and residuals behind products, run as one step with the bits of the steps they replace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from native_graphs import Chain, In, rows, weights
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello.native import Model

Array = np.ndarray[Any, Any]
_F64 = np.float64
ACTS: dict[str, tuple[dict[str, float], Callable[[Array], Array]]] = {
    "Relu": ({}, lambda x: np.where(x < 0, 0, x)), "LeakyRelu": ({"alpha": 0.125}, lambda x: np.where(x < 0, 0.125 * x, x)),
    "Tanh": ({}, np.tanh), "Sigmoid": ({}, lambda x: 1 / (1 + np.exp(-x))),
    "Elu": ({"alpha": 0.5}, lambda x: np.where(x < 0, 0.5 * np.expm1(x), x)),
    "Softplus": ({}, lambda x: np.logaddexp(0, x)), "Abs": ({}, np.abs), "HardSwish": ({}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1))}
OPS: dict[str, Callable[[Array, Array], Array]] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum,
                                                   "Div": np.divide}
N_ROWS = 23


def kinds(model: Model) -> list[str]:
    return [step.kernel.rpartition(".")[2] for step in model.program.steps]


def checked(build: Callable[[bool], Any], whole_kinds: list[str], where: str) -> tuple[Any, dict[str, Array], Array]:
    """A graph, inputs and its first output. Its steps are these, its bits those of the graph whose inner values are outputs, and of rows
    alone.

    Args:
      build: makes the graph, with inner values as outputs behind the first one or not.
    """
    whole, parts = Model.load(build(False)), Model.load(build(True))
    assert kinds(whole) == whole_kinds
    assert len(kinds(parts)) > len(whole_kinds)
    given = columns(whole, N_ROWS)
    name = next(iter(whole.outputs))
    found = execute(whole, given, range(N_ROWS))
    assert_same_bits({name: found[name]}, execute(parts, given, range(N_ROWS)), where)
    assert_same_bits(found, one_by_one(whole, given, N_ROWS), where)
    return build(False), given, found[name]


@pytest.mark.parametrize("width", [1, 5, 33, 1025])
@pytest.mark.parametrize("act", ACTS)
def test_a_sum_and_its_activation_are_one_step(act: str, width: int) -> None:
    attributes, function = ACTS[act]

    def build(seen: bool) -> Any:
        c = Chain(x=rows(width), y=rows(width))
        total = c.add("Add", "x", "y")
        return c.model(c.add(act, total, **attributes), *([total] if seen else []))

    graph, given, found = checked(build, ["maps:binary_activated"], act)
    with np.errstate(all="ignore"):
        total = given["x"] + given["y"]  # rounded once, as the graph has it
        exact = function(total.astype(_F64))
    keep = np.isfinite(total).all(1) & (np.abs(total) < 1e4).all(1)
    assert keep.sum() > N_ROWS / 2
    assert_near(found[keep], exact[keep].astype(np.float32), 1e-6, act, 1e-6)
    assert_near(found[keep], foreign(graph, given)[next(iter(foreign(graph, given)))][keep], 1e-6, f"{act} in onnxruntime", 1e-6)
    if act in ("Relu", "Abs", "LeakyRelu"):
        assert_near(found, exact.astype(np.float32), 1e-6, f"{act} of numbers that are none")


@pytest.mark.parametrize("op", OPS)
def test_other_ops_of_two_operands_take_an_activation_too(op: str) -> None:
    def build(seen: bool) -> Any:
        c = Chain(x=rows(7, 70), y=rows(7, 70))
        made = c.add(op, "x", "y")
        return c.model(c.add("Tanh", made), *([made] if seen else []))

    _, given, found = checked(build, ["maps:binary_activated"], op)
    with np.errstate(all="ignore"):
        exact = np.tanh(OPS[op](given["x"], given["y"]).astype(_F64)).astype(np.float32)
    assert_near(found, exact, 1e-6, op, 1e-6)


@pytest.mark.parametrize(("x", "y", "steps"), [
    (rows(3, 100), rows(1, 100), ["maps:binary_activated"]), (rows(3, 100), rows(3, 1), ["maps:binary_activated"]),
    (rows(1, 70), rows(3, 1), ["maps:binary_activated"]), (rows(5, 3), rows(1, 3), ["maps:binary", "maps:unary"]),
    (rows(3, 5), rows(3, 1), ["maps:binary", "maps:unary"]), (rows(2, 40), weights(40), ["maps:binary", "maps:unary"]),
    (rows(2, 80), weights(80), ["maps:binary_activated"]), (rows(9), np.float32(0.5), ["maps:binary_activated"]),
    (rows(4, 8, 9), rows(4, 1, 1), ["maps:binary_activated"])], ids=str)
@pytest.mark.parametrize("swapped", [False, True])
def test_operands_are_broadcast(x: In, y: In | Array, steps: list[str], swapped: bool) -> None:
    """Short runs leave their activation for a second step, which has all of them side by side."""
    def build(seen: bool) -> Any:
        c = Chain(**{"x": x, **({"y": y} if isinstance(y, In) else {})})
        other = "y" if isinstance(y, In) else c.const(y)
        total = c.add("Add", *((other, "x") if swapped else ("x", other)))
        return c.model(c.add("Relu", total), *([total] if seen else []))

    whole = Model.load(build(False))
    assert kinds(whole) == steps
    given = columns(whole, N_ROWS)
    (found,) = execute(whole, given, range(N_ROWS)).values()
    with np.errstate(all="ignore"):
        total = given["x"] + (given["y"] if isinstance(y, In) else y)
    assert_near(found, np.where(total < 0, np.float32(0), total), 0.0, f"{x} {y}")
    assert_same_bits({"y": found}, {"y": next(iter(one_by_one(whole, given, N_ROWS).values()))}, f"{x} {y}")


@pytest.mark.parametrize("reader", ["output", "other"])
def test_a_sum_that_is_read_elsewhere_stays(reader: str) -> None:
    c = Chain(x=rows(40), y=rows(40))
    total = c.add("Add", "x", "y")
    model = Model.load(c.model(c.add("Tanh", total), total if reader == "output" else c.add("Neg", total)))
    assert "maps:binary_activated" not in kinds(model)


def test_integers_stay_apart() -> None:
    c = Chain(x=In(("N", 9), np.dtype(np.int64)), y=In(("N", 9), np.dtype(np.int64)))
    model = Model.load(c.model(c.add("Abs", c.add("Sub", "x", "y"))))
    x, y = (np.random.default_rng(seed).integers(-9, 9, (5, 9)) for seed in (0, 1))
    assert next(iter(model.run({"x": x, "y": y}).values())).tolist() == np.abs(x - y).tolist()


def test_a_place_with_gaps_is_filled() -> None:
    c = Chain(x=rows(3, 1), y=rows(3, 1), z=rows(3, 4))
    made = c.add("Relu", c.add("Add", "x", "y"))
    model = Model.load(c.model(c.add("Concat", "z", made, axis=2)))
    given = columns(model, 9, special=False)
    (found,) = execute(model, given, range(9)).values()
    np.testing.assert_array_equal(found, np.concatenate([given["z"], np.maximum(given["x"] + given["y"], 0)], 2))


# Behind products --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["", "Relu", "Tanh"])
@pytest.mark.parametrize("width", [1, 9, 33, 64, 130])
@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_a_residual_behind_a_product_joins_it(op: str, width: int, act: str) -> None:
    """act((x @ w + bias) + x): the residual is read by the product as well."""
    k = 17 if width == 1 else width

    def build(seen: bool) -> Any:
        c = Chain(x=rows(width), h=rows(k)) if width == 1 else Chain(x=rows(width))
        source = "h" if width == 1 else "x"
        if op == "Gemm":
            made = c.dense(source, k, width)
        else:
            made = c.add("Add", c.add("MatMul", source, weights(k, width, seed=0, scale=0.3)), weights(width, seed=1))
        total = c.add("Add", "x", made)
        return c.model(c.add(act, total) if act else total, *([made] if seen else []))

    graph, given, found = checked(build, ["gemm:gemm_residual"], f"{op} {width} {act}")
    w, bias = weights(k, width, seed=0, scale=0.3).astype(_F64), weights(width, seed=1).astype(_F64)
    source = given["h" if width == 1 else "x"]
    with np.errstate(all="ignore"):
        exact = source.astype(_F64) @ w + bias + given["x"]
    exact = {"": exact, "Relu": np.where(exact < 0, 0, exact), "Tanh": np.tanh(exact)}[act]
    keep = (np.abs(source) < 1e4).all(1) & (np.abs(given["x"]) < 1e4).all(1)
    assert_near(found[keep], exact[keep].astype(np.float32), 1e-5, f"{op} {width}", 1e-5)
    ordinary = columns(Model.load(graph), N_ROWS, special=False)
    (again,) = execute(Model.load(graph), ordinary, range(N_ROWS)).values()
    assert_near(again, next(iter(foreign(graph, ordinary).values())), 1e-5, f"{op} {width} in onnxruntime", 1e-5)


def test_residuals_of_sequences_join_their_products() -> None:
    def build(seen: bool) -> Any:
        c = Chain(x=rows(5, 24))
        made = c.add("Add", c.add("MatMul", "x", weights(24, 24)), weights(24, seed=1))
        total = c.add("Add", made, "x")
        return c.model(c.add("Relu", total), *([made] if seen else []))

    checked(build, ["gemm:gemm_residual"], "a sequence")


@pytest.mark.parametrize("n_rows", [0, 1, 47, 48, 49, 150])
def test_rows_beyond_the_first_level_cache_get_their_own_residual(n_rows: int) -> None:
    c = Chain(x=rows(40), y=rows(40))
    model = Model.load(c.model(c.add("Relu", c.add("Add", c.dense("x", 40, 40), "y"))))
    x, y = (np.random.default_rng(seed).standard_normal((n_rows, 40)).astype(np.float32) for seed in (0, 1))
    (found,) = model.run({"x": x, "y": y}).values()
    exact = np.maximum(x.astype(_F64) @ weights(40, 40, scale=0.3) + weights(40, seed=1) + y, 0)
    assert_near(found, exact.astype(np.float32), 1e-5, f"{n_rows} rows")


@pytest.mark.parametrize("case", ["later", "narrow", "row", "after a residual", "after an activation", "twice"])
def test_other_sums_behind_products_are_right(case: str) -> None:
    """What is there too late, of another shape, or for which the kernel has no place."""
    k, width = 40, 4 if case == "narrow" else 40
    c = Chain(x=rows(k), y=rows(width))
    w, bias, more = weights(k, width, scale=0.3), weights(width, seed=1), weights(width, seed=2)
    made = c.dense("x", k, width)
    if case == "later":
        total = c.add("Add", made, c.add("Tanh", c.add("Neg", "y")))
    elif case == "row":
        total = c.add("Add", c.add("Add", made, more), "y")
    elif case == "after a residual":
        total = c.add("Add", c.add("Add", made, "y"), more)
    elif case == "after an activation":
        total = c.add("Add", c.add("Relu", made), "y")
    elif case == "twice":
        total = c.add("Add", made, made)
    else:
        total = c.add("Add", made, "y")
    graph = c.model(c.add("Sigmoid", total))
    model = Model.load(graph)
    given = columns(model, 9, special=False)
    (found,) = execute(model, given, range(9)).values()
    plain = given["x"].astype(_F64) @ w + bias
    y = given["y"].astype(_F64)
    total = {"later": plain + np.tanh(-y), "narrow": plain + y, "row": plain + more + y, "after a residual": plain + y + more,
             "after an activation": np.maximum(plain, 0) + y, "twice": 2 * plain}[case]
    assert_near(found, (1 / (1 + np.exp(-total))).astype(np.float32), 1e-6, case)
    assert_near(found, next(iter(foreign(graph, given).values())), 1e-6, f"{case} in onnxruntime")
    assert_same_bits({"y": found}, {"y": next(iter(one_by_one(model, given, 9).values()))}, case)


def test_a_residual_that_is_spread_over_a_sequence_stays_apart() -> None:
    c = Chain(x=rows(5, 24), y=rows(1, 24))
    model = Model.load(c.model(c.add("Add", c.add("MatMul", "x", weights(24, 24)), "y")))
    assert kinds(model) == ["gemm:gemm", "maps:binary"]
    given = columns(model, 7, special=False)
    (found,) = execute(model, given, range(7)).values()
    assert_near(found, (given["x"].astype(_F64) @ weights(24, 24) + given["y"]).astype(np.float32), 1e-6, "a sequence")


def test_blocks_of_two_layers_are_two_steps_each() -> None:
    """Blocks as robots' policies have them: x + w2 @ relu(w1 @ x), then a rectifier."""
    def build(seen: bool) -> Any:
        c = Chain(obs=rows(12))
        x = c.add("Relu", c.dense("obs", 12, 48))
        totals = []
        for i in range(3):
            h = c.add("Relu", c.dense(x, 48, 48, seed=4 * i + 2))
            totals.append(c.add("Add", c.dense(h, 48, 48, seed=4 * i + 4), x))
            x = c.add("Relu", totals[-1])
        return c.model(c.dense(x, 48, 3), *(totals if seen else []))

    checked(build, ["gemm:gemm", *["gemm:gemm", "gemm:gemm_residual"] * 3, "gemv:gemm"], "blocks")


# Behind convolutions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filters", [3, 16, 40])
def test_a_residual_behind_a_convolution_has_its_activation(filters: int) -> None:
    def build(seen: bool) -> Any:
        c = Chain(x=rows(filters, 7, 6))
        h = c.add("Relu", c.add("Conv", "x", weights(filters, filters, 3, 3, scale=0.1), pads=[1, 1, 1, 1]))
        made = c.add("Conv", h, weights(filters, filters, 3, 3, seed=1, scale=0.1), weights(filters), pads=[1, 1, 1, 1])
        total = c.add("Add", made, "x")
        return c.model(c.add("Relu", total), *([total] if seen else []))

    graph, _, _ = checked(build, [k := kinds(Model.load(build(False)))[0], k, "maps:binary_activated"], f"{filters} filters")
    model = Model.load(graph)
    given = columns(model, 5, special=False)
    (found,) = execute(model, given, range(5)).values()
    assert_near(found, next(iter(foreign(graph, given).values())), 1e-5, f"{filters} filters")


def test_statistics_of_a_batch_take_an_activation() -> None:
    def build(seen: bool) -> Any:
        c = Chain(x=rows(3, 9, 9))
        scale, shift, mean = (weights(3, seed=i) for i in range(3))
        made = c.add("BatchNormalization", c.add("Abs", "x"), scale, shift, mean, np.abs(weights(3, seed=4)) + np.float32(0.1))
        return c.model(c.add("Relu", made), *([made] if seen else []))

    checked(build, ["maps:unary", "maps:binary", "maps:binary_activated"], "BatchNormalization")
