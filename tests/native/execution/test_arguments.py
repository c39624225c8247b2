"""The door: any legal array gives the same bits and compiles nothing; anything else is refused by name."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import BOOL, I64, Chain, In, one, policy, rows, weights
from small_models import FLOAT, graph, node

from cervello.codegen import linker
from cervello.errors import InputError
from cervello.native import Model

Array = np.ndarray[Any, Any]
N = 9


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(policy())


@pytest.fixture
def obs() -> Array:
    return np.random.default_rng(0).standard_normal((N, 4)).astype(np.float32)


def _read_only(x: Array) -> Array:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


def _unaligned(x: Array) -> Array:
    raw = np.zeros(x.nbytes + 1, np.uint8)
    odd = raw[1:].view(x.dtype).reshape(x.shape)
    odd[...] = x
    assert not odd.flags.aligned
    return odd


def _strided(x: Array) -> Array:
    wide = np.full((2 * x.shape[0], 3 * x.shape[1]), np.nan, x.dtype)
    wide[::2, 1::3] = x
    return wide[::2, 1::3]


class _Subclass(np.ndarray[Any, Any]):
    pass


ODD: dict[str, Callable[[Array], Any]] = {
    "plain": np.copy, "read-only": _read_only, "unaligned": _unaligned, "strided": _strided, "Fortran": np.asfortranarray,
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1], "float64": lambda x: x.astype(np.float64), "list": lambda x: x.tolist(),
    "big-endian": lambda x: x.astype(">f4"), "subclass": lambda x: x.view(_Subclass), "memoryview": lambda x: memoryview(x.copy())}


@pytest.mark.parametrize("kind", ODD)
def test_odd_inputs_give_the_same_bits_and_compile_nothing(model: Model, obs: Array, kind: str) -> None:
    expected = model.run({"obs": obs})["action"]
    before = dict(linker._linked)
    for n_rows in (N, 1):
        given = ODD[kind](obs[:n_rows])
        np.testing.assert_array_equal(model.run({"obs": given})["action"].view(np.int32), expected[:n_rows].view(np.int32))
        np.testing.assert_array_equal(np.asarray(given, np.float32), obs[:n_rows])
    assert linker._linked == before


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.float16, bool])
def test_integers_and_bools_are_cast_to_a_float_input(model: Model, dtype: Any) -> None:
    values = np.random.default_rng(0).integers(0, 2, (N, 4))
    expected = model.run({"obs": values.astype(np.float32)})["action"]
    before = dict(linker._linked)
    np.testing.assert_array_equal(model.run({"obs": values.astype(dtype)})["action"], expected)
    assert linker._linked == before


@pytest.mark.parametrize("kind", ["unaligned", "strided", "Fortran", "subclass", "big-endian"])
def test_odd_outputs_receive_the_same_bits(model: Model, obs: Array, kind: str) -> None:
    expected = model.run({"obs": obs})["action"]
    out = ODD[kind](np.full_like(expected, np.nan))
    before = dict(linker._linked)
    if kind == "big-endian":
        with pytest.raises(InputError, match=r"out 'action': expected \(9, 2\) float32, got \(9, 2\) >f4"):
            model.run({"obs": obs}, out={"action": out})
        return
    assert model.run({"obs": obs}, out={"action": out})["action"] is out
    np.testing.assert_array_equal(np.asarray(out), expected)
    assert linker._linked == before


@pytest.mark.parametrize(("inputs", "message"), [
    ({}, r"^model 'g': expected inputs \['obs'\], got a dict in which input 'obs' is missing; give all of them$"),
    ({"observation": 0}, r"expected \['obs'\], got \['obs'\] missing; \['observation'\] unknown"),
    ({"obs": np.zeros((N, 4), np.float32), "extra": 0}, r"expected \['obs'\], got \['extra'\] unknown"),
    ({"obs": np.zeros((N, 5), np.float32)}, r"input 'obs': expected \(9, 4\) float32, got \(9, 5\) float32; check the environment"),
    ({"obs": np.zeros(4, np.float32)}, r"input 'obs': expected \(N, 4\) float32, got \(4,\) float32"),
    ({"obs": np.zeros((1, 2, 4), np.float32)}, r"expected \(N, 4\) float32, got \(1, 2, 4\) float32"),
    ({"obs": np.float32(1)}, r"expected \(N, 4\) float32, got \(\) float32"),
    ({"obs": np.zeros((N, 4), complex)}, r"input 'obs': expected float32, got complex128, which is never cast to it"),
    ({"obs": np.full((N, 4), "a")}, r"expected float32, got <U1, which is never cast"),
    ({"obs": np.full((N, 4), None)}, r"expected float32, got object"),
    ({"obs": np.zeros((0, 5), np.float32)}, r"expected \(0, 4\) float32, got \(0, 5\) float32"),
    ({"obs": np.zeros((0, 4), complex)}, r"expected float32, got complex128")])
def test_inputs_that_do_not_fit_are_refused_by_name(model: Model, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.run(inputs)


def test_inputs_of_unequal_length_are_refused() -> None:
    model = Model.load(one("Add", rows(3), rows(3)))
    with pytest.raises(InputError, match=r"input 'x1': expected \(4, 3\) float32, got \(5, 3\) float32"):
        model.run({"x0": np.zeros((4, 3), np.float32), "x1": np.zeros((5, 3), np.float32)})


@pytest.mark.parametrize(("target", "given"), [(BOOL, np.float32), (I64, np.float32), (I64, np.float64), (BOOL, np.int64),
                                               (np.dtype(np.int32), np.int64), (np.dtype(np.uint8), np.int8)])
def test_a_float_never_becomes_an_integer_or_a_bool(target: Any, given: Any) -> None:
    model = Model.load(one("Identity", rows(2, dtype=target)))
    for n_rows in (0, 3):
        with pytest.raises(InputError, match=f"input 'x0': expected {target}, got {np.dtype(given)}, which is never cast to it"):
            model.run({"x0": np.zeros((n_rows, 2), given)})


def test_smaller_integers_become_larger_ones() -> None:
    model = Model.load(one("Identity", rows(2, dtype=I64)))
    assert model.run({"x0": np.array([[1, -2]], np.int16)})["y0"].tolist() == [[1, -2]]


@pytest.mark.parametrize(("out", "message"), [
    (np.zeros((N, 3), np.float32), r"out 'action': expected \(9, 2\) float32, got \(9, 3\) float32"),
    (np.zeros((N + 1, 2), np.float32), r"expected \(9, 2\) float32, got \(10, 2\)"),
    (np.zeros((N, 2)), r"expected \(9, 2\) float32, got \(9, 2\) float64"), ([[0.0, 0.0]] * N, "expected .* float32, got list"),
    (_read_only(np.zeros((N, 2), np.float32)), "out 'action': expected an array that can be written, got a read-only one"),
    (np.lib.stride_tricks.as_strided(np.zeros(2, np.float32), (N, 2), (0, 4)), "out 'action': expected memory for every element, got")])
def test_outputs_that_do_not_fit_are_refused_by_name(model: Model, obs: Array, out: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.run({"obs": obs}, out={"action": out})


def test_an_unknown_output_is_refused(model: Model, obs: Array) -> None:
    with pytest.raises(InputError, match=r"out: expected names among \['action'\], got \['act'\]"):
        model.run({"obs": obs}, out={"act": np.zeros((N, 2), np.float32)})


def test_an_output_that_overlaps_an_input_is_right_all_the_same() -> None:
    c = Chain(x=rows(4), y=rows(4))
    early = c.add("Exp", "x")
    model = Model.load(c.model(early, c.add("Sub", c.add("Neg", "y"), early)))
    for n_rows in (1, 6):
        memory = np.random.default_rng(0).standard_normal((3, n_rows, 4)).astype(np.float32)
        x, y = memory[0].copy(), memory[1].copy()
        expected = list(model.run({"x": x, "y": y}).values())
        for shift in (0, 1, 4 * n_rows - 1):  # y itself, and windows that share some of it
            flat = np.zeros(12 * n_rows + 8, np.float32)
            own_x, own_y = (flat[k:k + 4 * n_rows].reshape(n_rows, 4) for k in (0, 4 * n_rows))
            own_x[...], own_y[...] = x, y
            out = flat[4 * n_rows + shift:8 * n_rows + shift].reshape(n_rows, 4)
            names = list(model.outputs)
            found = model.run({"x": own_x, "y": own_y}, out={names[0]: out})
            np.testing.assert_array_equal(found[names[0]], expected[0])
            np.testing.assert_array_equal(found[names[1]], expected[1])


def test_an_output_that_overlaps_an_input_shared_by_all_rows_is_right_all_the_same() -> None:
    c = Chain(x=rows(4), scale=In((4,)))
    early = c.add("Exp", "x")
    model = Model.load(c.model(early, c.add("Mul", c.add("Neg", "x"), "scale")))
    assert model.inputs["scale"].batch_axis is None
    x, memory = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32), np.arange(1, 41, dtype=np.float32)
    names = list(model.outputs)
    expected = model.run({"x": x, "scale": memory[20:24].copy()})
    for first in (0, 1, 19, 20):
        memory[:] = np.arange(1, 41)
        found = model.run({"x": x, "scale": memory[20:24]}, out={names[0]: memory[first:first + 20].reshape(5, 4)})
        np.testing.assert_array_equal(found[names[0]], expected[names[0]])
        np.testing.assert_array_equal(found[names[1]], expected[names[1]])


def test_two_outputs_in_one_place_are_refused(obs: Array) -> None:
    c = Chain(x=rows(4))
    model = Model.load(c.model(c.add("Exp", "x"), c.add("Neg", "x")))
    out = np.zeros((N, 4), np.float32)
    with pytest.raises(InputError, match="overlap"):
        model.run({"x": obs}, out=dict.fromkeys(model.outputs, out))


def test_no_rows_give_empty_arrays_and_leave_out_as_it_is(model: Model) -> None:
    assert model.run({"obs": np.zeros((0, 4), np.float32)})["action"].shape == (0, 2)
    out = np.zeros((0, 2), np.float32)
    assert model.run({"obs": np.zeros((0, 4))}, out={"action": out})["action"] is out
    handle = model.bind({"obs": np.zeros((0, 4), np.float32)}, {"action": out})
    handle()


def test_results_are_the_callers_own(model: Model, obs: Array) -> None:
    first = model.run({"obs": obs})["action"]
    kept = first.copy()
    model.run({"obs": obs + 1})
    np.testing.assert_array_equal(first, kept)
    assert first.flags.owndata


def test_steady_runs_allocate_nothing(model: Model, obs: Array) -> None:
    inputs, out = {"obs": obs}, {"action": np.zeros((N, 2), np.float32)}
    handle = model.bind(inputs, out)

    def steady(call: Callable[[], Any]) -> tuple[int, int]:
        for _ in range(100):
            call()
        tracemalloc.start()
        try:
            blocks = sys.getallocatedblocks()
            before = _numpy_bytes()
            for _ in range(10_000):
                call()
            return _numpy_bytes() - before, sys.getallocatedblocks() - blocks
        finally:
            tracemalloc.stop()

    for call in (lambda: model.run(inputs, out), handle):
        numpy_bytes, blocks = steady(call)
        assert numpy_bytes == 0
        assert abs(blocks) < 300  # tracemalloc's own


def _numpy_bytes() -> int:
    domain = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([domain]).traces)


@pytest.mark.parametrize(("change", "message"), [
    (lambda x: x.astype(np.float64), r"bind, 'obs': expected a C-contiguous, aligned float32 array of shape \(9, 4\), got float64"),
    (_strided, "bind, 'obs': expected a C-contiguous"), (_unaligned, "bind, 'obs': expected a C-contiguous, aligned"),
    (lambda x: x[:, :3].copy(), r"got float32 \(9, 3\)")])
def test_bind_refuses_arrays_it_would_have_to_copy(model: Model, obs: Array, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.bind({"obs": change(obs)}, {"action": np.zeros((N, 2), np.float32)})


def test_bind_refuses_outputs_that_overlap_and_names_that_lack(model: Model, obs: Array) -> None:
    with pytest.raises(InputError, match=r"bind, 'action': .* overlaps another"):
        model.bind({"obs": obs}, {"action": obs.reshape(-1)[:2 * N].reshape(N, 2)})
    with pytest.raises(InputError, match=r"model 'g': expected outputs \['action'\], got a dict in which output 'action' is missing"):
        model.bind({"obs": obs}, {})


def test_bound_buffers_are_read_again_at_each_call(model: Model, obs: Array) -> None:
    x, out = obs.copy(), np.zeros((N, 2), np.float32)
    handle = model.bind({"obs": x}, {"action": out})
    for scale in (1, 2, 3):
        x[...] = obs * scale
        handle()
        np.testing.assert_array_equal(out, model.run({"obs": obs * np.float32(scale)})["action"])


def test_another_librarys_float_mode_changes_nothing(obs: Array) -> None:
    import ctypes
    import ctypes.util
    import platform

    library = ctypes.util.find_library("m")
    if library is None or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("no way to set the rounding mode here")
    libm = ctypes.CDLL(library)
    model = Model.load(one("MatMul", rows(4), weights(4, 33)))
    expected = model.run({"x0": obs})["y0"]
    libm.fesetround(0x400)  # downward
    try:
        found = model.run({"x0": obs})["y0"]
        assert libm.fegetround() == 0x400
    finally:
        libm.fesetround(0)
    np.testing.assert_array_equal(found, expected)


# Arrays that the compiled door cannot read, names that it must not compare, memory that is not one's own ------------------------------


def _ranked(rank: int) -> tuple[Model, Array]:
    shape = tuple(2 if i % 3 == 0 else 1 for i in range(rank - 1))
    model = Model.load(one("Neg", In(("N", *shape), np.float32)))
    return model, np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)


@pytest.mark.parametrize("rank", [8, 9, 12])
def test_arrays_of_any_rank_run(rank: int) -> None:
    model, x = _ranked(rank)
    name = next(iter(model.outputs))
    for _ in range(2):
        np.testing.assert_array_equal(model.run({"x0": x})[name], -x)
    y = np.empty_like(x)
    model.bind({"x0": x}, {name: y})()
    np.testing.assert_array_equal(y, -x)
    with pytest.raises(InputError, match=r"bind, 'x0': expected a C-contiguous"):
        model.bind({"x0": x.astype(np.float64)}, {name: y})


def test_arrays_whose_layout_is_not_known_run(monkeypatch: pytest.MonkeyPatch, obs: Array) -> None:
    expected = Model.load(policy()).run({"obs": obs})["action"]
    monkeypatch.setattr("cervello.noise.layout.is_known", lambda: False)
    model = Model.load(policy())
    out = np.empty_like(expected)
    for _ in range(2):
        np.testing.assert_array_equal(model.run({"obs": obs})["action"], expected)
        np.testing.assert_array_equal(model.run({"obs": obs}, out={"action": out})["action"], expected)
    model.bind({"obs": obs}, {"action": out})()
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("computed", [False, True])
def test_transposes_of_seven_axes_are_outputs(computed: bool) -> None:
    order = (0, 6, 2, 5, 1, 4, 3)
    x = np.random.default_rng(0).standard_normal((5, 2, 3, 2, 3, 2, 3)).astype(np.float32)
    c = Chain(x=In(("N", 2, 3, 2, 3, 2, 3), np.float32))
    model = Model.load(c.model(c.add("Transpose", c.add("Neg", "x") if computed else "x", perm=order)))
    (found,) = model.run({"x": x}).values()
    np.testing.assert_array_equal(found, (-x if computed else x).transpose(order))
    assert not model.slow_nodes


class _Name(str):
    """A key that runs Python when it is compared."""

    __slots__ = ("seen",)
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        self.seen()  # type: ignore[misc]
        return str.__eq__(self, other)


def test_a_key_whose_equality_raises_hands_on_its_error(model: Model, obs: Array) -> None:
    def refuse() -> None:
        raise RuntimeError("not comparable")

    out = model.run({"obs": obs})["action"]
    name = _Name("action")
    name.seen = refuse  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="not comparable"):
        model.run({"obs": obs}, out={name: out})


def test_the_compiled_look_up_compares_no_foreign_key(model: Model, obs: Array) -> None:
    """Beside names that fit, too."""
    calls = []
    model.run({"obs": obs})
    run, plan = model.acquire(), model._plan(N)
    run.reserve(plan.arena_bytes)
    name = _Name("obs")
    name.seen = lambda: calls.append(1)  # type: ignore[assignment]
    out = {"action": np.zeros((N, 2), np.float32)}
    assert run.named(plan.address, N, {name: obs}, out) < 0
    assert run.named(plan.address, N, {"obs": obs}, {_Name("action"): out["action"]}) < 0
    assert calls == []
    assert run.named(plan.address, N, {"obs": obs}, out) == 0
    model.release(run)


def test_long_runs_hold_the_arrays_they_read(model: Model) -> None:
    """Other threads run meanwhile and may take them out of the dicts."""
    n = 200_000
    plan = model.program.resolve(n)
    assert plan.releases_gil
    x, y = np.ones((n, 4), np.float32), np.zeros((n, 2), np.float32)
    run = model.acquire()
    run.reserve(plan.arena_bytes)
    given, seen, over = {"obs": x}, [], threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.append(sys.getrefcount(x))

    watcher = threading.Thread(target=look)
    before = sys.getrefcount(x)
    watcher.start()
    for _ in range(30):
        assert run.named(plan.address, n, given, {"action": y}) == 0
    over.set()
    watcher.join()
    assert max(seen) > before
    assert sys.getrefcount(x) == before
    model.release(run)


def test_shared_outputs_that_overlap_are_refused() -> None:
    """Outputs that all rows share have no rows, and yet bytes."""
    c = Chain(x=rows(4))
    size = np.array([6_000], np.int64)
    wide = [c.add("ConstantOfShape", size, value=onnx.numpy_helper.from_array(np.full(1, v, np.float32))) for v in (1, 2)]
    names = [c.add("Neg", each) for each in wide]
    model = Model.load(c.model(c.add("Neg", "x"), *names))
    shared = [name for name, spec in model.outputs.items() if spec.batch_axis is None]
    assert shared == names
    x = np.ones((3, 4), np.float32)
    memory = np.zeros(9_000, np.float32)
    for _ in range(2):
        apart = model.run({"x": x})
        assert [float(apart[name][0]) for name in names] == [-1, -2]
        for first, second in (names, names[::-1]):
            with pytest.raises(InputError, match="expected memory of its own, got an array that overlaps"):
                model.run({"x": x}, out={**apart, first: memory[:6_000], second: memory[3_000:]})


def test_names_in_any_order_and_equal_names_find_their_arrays() -> None:
    """The door's own names in its order are found without a look-up, all others by one."""
    data = graph([node("Sub", "a b", "c"), node("Add", "a b", "d")], dict.fromkeys("ab", (FLOAT, ("N", 2))),
                 dict.fromkeys("cd", (FLOAT, ("N", 2))), {})
    model = Model.load(data)
    first, second = np.float32([[5, 6]]), np.float32([[1, 2]])
    model.run({"a": first, "b": second})  # the size is known from here on
    own, other = list(model.inputs), [str(bytearray(name.encode()), "ascii") for name in "ab"]
    for a, b in (own, other, (own[0], other[1])):
        for inputs in ({a: first, b: second}, {b: second, a: first}):
            for names in ("cd", "dc"):
                out = {name: np.empty((1, 2), np.float32) for name in names}
                model.run(inputs, out=out)
                assert [out[name].tolist() for name in "cd"] == [[[4, 4]], [[6, 8]]]
    for wrong in ({own[0]: first, "x": second}, {own[0]: first}, {own[1]: second, "x": first}):
        with pytest.raises(InputError):
            model.run(wrong)
