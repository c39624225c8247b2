"""Branches, loops and functions of the file, against onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from native_flow import BATCHED, SINGLE, parsed
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits

from cervello.errors import ExecutionError, GraphError, UnsupportedError
from cervello.native import Model


def given_for(model: Model, n_rows: int, seed: int = 0) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    return {name: np.array([seed % 2 == 0]) if spec.dtype == bool else chance.standard_normal((n_rows, *spec.shape)).astype(np.float32)
            for name, spec in model.inputs.items()}


@pytest.mark.parametrize("name", BATCHED)
@pytest.mark.parametrize("n_rows", [1, 7])
def test_rows_run_as_in_onnxruntime(name: str, n_rows: int) -> None:
    proto = parsed(BATCHED[name], ', "mine" : 1' if "mine." in BATCHED[name] else "")
    model = Model.load(proto, strict=True)
    assert model.batched, model.plan().one_row
    given = given_for(model, n_rows)
    found = model.run(given)
    for key, expected in foreign(proto, given).items():
        assert_near(found[key], expected, 1e-5, f"{name}, {key}", 1e-6)


@pytest.mark.parametrize("name", BATCHED)
def test_rows_have_the_same_bits_apart_and_together(name: str) -> None:
    model = Model.load(parsed(BATCHED[name], ', "mine" : 1' if "mine." in BATCHED[name] else ""))
    given = given_for(model, 33)
    alone = [model.run({key: array[i:i + 1] for key, array in given.items()}) for i in range(33)]
    assert_same_bits(model.run(given), {key: np.concatenate([row[key] for row in alone]) for key in alone[0]}, name)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("seed", range(4))
def test_what_depends_on_data_runs_as_in_onnxruntime(name: str, seed: int) -> None:
    proto = parsed(SINGLE[name])
    model = Model.load(proto)
    assert model.batched == (name == "a-slow-op-in-a-loop")
    given = given_for(model, 1, seed)
    for _ in range(2):  # twice: nothing of the first run may be left
        found = model.run(given)
        for key, expected in foreign(proto, given).items():
            assert_near(found[key], expected, 1e-5, f"{name}, {key}", 1e-6)


def test_a_loop_that_never_ends_is_an_error() -> None:
    model = Model.load(parsed("""g (float[1, 4] x) => (float[1, 4] y)
        { y = Loop(, , x) <body = b (int64 i, bool c, float[1, 4] s) => (bool d, float[1, 4] t) { d = Identity(c) t = Add(s, x) }> }"""))
    with pytest.raises(ExecutionError, match="does not end"):
        model.run({"x": np.ones((1, 4), np.float32)})


def test_draws_in_a_loop_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="random op"):
        Model.load(parsed("""g (float[N, 4] x) => (float[N, 4] y) <int64 m = {2}>
            { y = Loop(m, , x) <body = b (int64 i, bool c, float[N, 4] s) => (bool d, float[N, 4] t)
              { d = Identity(c) r = RandomNormalLike(s) t = Add(s, r) }> }"""))


BAD: Mapping[str, tuple[str, str]] = {
    "a-state-that-grows": ("keeps its shape", """g (float[N, 4] x) => (float[N, 4] y) <int64 m = {2}>
        { y = Loop(m, , x) <body = b (int64 i, bool c, float[N, 4] s) => (bool d, float[N, 8] t)
          { d = Identity(c) t = Concat<axis = 1>(s, s) }> }"""),
    "branches-that-differ": ("branches that give the same", """g (bool[1] c, float[1, 4] x) => (float[1, 4] y)
        { y = If(c) <then_branch = t () => (float[1, 4] a) { a = Relu(x) }, else_branch = e () => (float[1, 8] b)
          { b = Concat<axis = 1>(x, x) }> }"""),
    "a-body-of-other-values": ("a body that takes 3", """g (float[N, 4] x) => (float[N, 4] y) <int64 m = {2}>
        { y = Loop(m, , x) <body = b (int64 i, bool c) => (bool d, float[N, 4] t) { d = Identity(c) t = Add(x, x) }> }"""),
    "a-result-of-each-of-iterations-that-data-end": ("a trip count", """g (bool c, float[1, 4] x) => (float[1, 4] y, float[T, 1, 4] z)
        <int64 m = {3}> { y, z = Loop(m, c, x) <body = b (int64 i, bool c1, float[1, 4] s) => (bool d, float[1, 4] t, float[1, 4] o)
          { d = Identity(c1) t = Add(x, s) o = Neg(t) }> }"""),
    "a-result-of-each-of-unknown-iterations": ("a trip count", """g (int64[1] m, float[1, 4] x) => (float[1, 4] y, float[T, 1, 4] z)
        { y, z = Loop(m, , x) <body = b (int64 i, bool c, float[1, 4] s) => (bool d, float[1, 4] t, float[1, 4] o)
          { d = Identity(c) t = Add(x, s) o = Neg(t) }> }"""),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_run_is_refused_with_the_node(name: str) -> None:
    reason, text = BAD[name]
    with pytest.raises(GraphError, match=reason):
        Model.load(parsed(text))


def test_a_function_that_calls_itself_is_refused() -> None:
    with pytest.raises(GraphError, match="calls itself"):
        Model.load(parsed("""g (float[N, 4] x) => (float[N, 4] y) { y = mine.f(x) }
            <domain: "mine", opset_import: ["" : 21, "mine" : 1]> f (v) => (w) { w = mine.f(v) }""", ', "mine" : 1'))


def test_turns_count_in_the_profile() -> None:
    from cervello.native.report.profile import profile

    model = Model.load(parsed(BATCHED["loop-in-a-loop"]))
    found = profile(model, given_for(model, 8), 8, rounds=1)
    times = {step.op: step.times for step in found.steps}
    assert (times["Sub"], times["Sigmoid"]) == (9, 3)  # one step runs Sub and Cos


def test_slow_ops_in_a_loop_are_named() -> None:
    model = Model.load(parsed(SINGLE["a-slow-op-in-a-loop"]))
    assert [node.partition(" ")[0] for node in model.slow_nodes] == ["Mod"]
