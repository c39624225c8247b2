"""Loops whose condition is computed from their own counters, as tf2onnx writes them: the iterations are counted, and rows run together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_flow import parsed
from native_oracle import assert_near, foreign
from native_rows import assert_same_bits, columns, execute, one_by_one

from cervello.errors import GraphError
from cervello.native import Model

N = 5


def _loop(inputs: str, inside: str, constants: str = "", before: str = "", first: str = "yes", most: str = "") -> Any:
    """h ← tanh(h + x[:, i]) for each of 7 moments; every h is collected. `inside` computes the condition d and the next counter."""
    return parsed(f"""g (float[N, 7, 4] x) => (float[N, 4] y, float[T, N, 4] all)
      <int64 m = {{100}}, bool yes = {{1}}, int64 zero = {{0}}, int64 one = {{1}}, int64 seven = {{7}}, float half = {{6.5}} {constants}>
      {{ turned = Transpose<perm = [1, 0, 2]>(x) h0 = Gather<axis = 0>(turned, zero) {before}
        last, y, all = Loop({most}, {first}, {inputs}, h0) <body = b (int64 i, bool c, int64 k, float[N, 4] h) =>
          (bool d, int64 l, float[N, 4] h1, float[N, 4] o)
        {{ e = Gather<axis = 0>(turned, k) f = Add(e, h) h1 = Tanh(f) o = Neg(h1) {inside} }}> }}""")


NEXT = "l = Add(k, one)"
COUNTED: dict[str, tuple[Any, int]] = {
    "a counter against a constant": (_loop("zero", f"{NEXT} d = Less(l, seven)"), 7),
    "a counter as a float": (_loop("zero", f"{NEXT} g = Cast<to = 1>(l) d = Less(g, half)"), 7),
    "the turn itself": (_loop("zero", f"{NEXT} j = Add(i, one) d = Less(j, seven)"), 7),
    "a counter and the most turns": (_loop("zero", f"{NEXT} g = Less(l, seven) j = Add(i, one) q = Less(j, most) d = And(g, q)",
                                           ", int64 most = {4}"), 4),
    "the size of an axis": (_loop("zero", f"{NEXT} d = Less(l, size)", before="s = Shape<start = 1, end = 2>(x) size = Squeeze(s)"), 7),
    "from the end": (_loop("six", "l = Sub(k, one) d = GreaterOrEqual(l, zero)", ", int64 six = {6}"), 7),
    "a trip count that is smaller": (_loop("zero", f"{NEXT} d = Less(l, seven)", most="seven3", constants=", int64 seven3 = {3}"), 3),
    "one turn": (_loop("zero", f"{NEXT} d = Less(l, one)"), 1)}


@pytest.mark.parametrize("name", COUNTED)
def test_a_condition_that_is_known_ahead_is_a_trip_count_and_rows_run_together(name: str) -> None:
    proto, n_turns = COUNTED[name]
    model = Model.load(proto)
    assert model.batched, model.plan(1).one_row
    assert not model.slow_nodes
    assert model.outputs["all"].batched(N) == (n_turns, N, 4)
    given = columns(model, N, special=False)
    found = execute(model, given, range(N))
    assert_same_bits(found, one_by_one(model, given, N), name)
    for key, array in foreign(proto, given).items():
        assert_near(found[key], array, 1e-5, f"{name}, {key}", 1e-6)


def test_no_turn_runs_where_the_first_condition_is_false() -> None:
    model = Model.load(_loop("zero", f"{NEXT} d = Less(l, seven)", ", bool no = {0}", first="no"))
    x = np.ones((2, 7, 4), np.float32)
    found = model.run({"x": x})
    assert found["all"].shape == (0, 2, 4)
    np.testing.assert_array_equal(found["y"], x[:, 0])


@pytest.mark.parametrize("inside", [
    "l = Add(k, one) s = ReduceMax<keepdims = 0>(h1) d = Less(s, half)",  # data end it
    "l = Add(k, zero) d = Less(l, seven)",  # nothing ends it
    "l = Add(k, one) q = Mod(l, seven) d = Less(q, seven)"])
def test_collected_results_of_a_loop_that_data_end_are_refused_with_the_remedy(inside: str) -> None:
    with pytest.raises(GraphError, match=r"result 'all': expected a trip count .*; export the policy with a fixed number of steps"):
        Model.load(_loop("zero", inside))


def _carried(weights: str = "w", turns: int = 3) -> Any:
    """A recurrence whose weights are states of the loop that stay as they are, as tf2onnx writes SimpleRNN."""
    return parsed(f"""g (float[N, 2] x) => (float[N, 2] y, float[2, 2] v, float[T, N, 2] all)
      <int64 m = {{{turns}}}, float[2, 2] w = {{0.5, -0.25, 0.125, 1}}, float two = {{2}}>
      {{ doubled = Mul(x, two) y, v, other, all = Loop(m, , x, {weights}, doubled) <body = b (int64 i, bool c, float[N, 2] h, float[2, 2] u,
          float[N, 2] f) => (bool d, float[N, 2] h1, float[2, 2] u1, float[N, 2] f1, float[N, 2] o)
        {{ d = Identity(c) p = MatMul(h, u) q = Add(p, f) h1 = Tanh(q) u0 = Identity(u) u1 = Identity(u0) f1 = Identity(f)
          o = Neg(h1) }}> }}""")


@pytest.mark.parametrize("turns", [0, 3])
def test_weights_that_a_loop_carries_unchanged_are_constants_of_it(turns: int) -> None:
    proto = _carried(turns=turns)
    model = Model.load(proto)
    assert model.batched
    assert not model.slow_nodes
    assert any(step.kernel.startswith("cervello.native.kernels.gem") for step in model.program.steps)
    given = columns(model, N, special=False)
    found = execute(model, given, range(N))
    assert_same_bits(found, one_by_one(model, given, N), "carried")
    for key, array in {**found, **model.constants}.items():
        if array.size:  # of no turns, onnxruntime does not know how many rows each would have given
            assert_near(array, foreign(proto, given)[key], 1e-5, key, 1e-6)
