"""Law 1: a row's bits do not depend on its company, its place, the batch size, the chunking or the thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from native_cases import ALL, WIDTHS, Case, named
from native_graphs import one, policy, rows, weights
from native_rows import assert_same_bits, bits, columns, execute, one_by_one, some

from cervello.native import Model
from cervello.native.kernels.tiles import VECTORS
from cervello.native.program import encode

N = 70
SIZES = (1, 2, 3, 4, 5, 11, 12, 13, 16, 17, 24, 47, 48, 49, 64, 70)
CHUNKS = ([1] * N, [16, 1, 12, 13, 28], [48, 5, 11, 6], [69, 1])
# Every batch size from 1 to 70 for these, one per kernel family that treats rows in groups.
EVERY_SIZE = ("Gemm", "Gemm-9-terms", "Gemm-wide", "Gemm-tanh", "Gemm-into-windows", "attention", "Softmax-last", "ReduceSum-last",
              "ReduceSum-middle", "LayerNormalization", "LSTM-forward-state", "GRU-linear", "Conv", "Add-column-right", "Multinomial")
THREADED = ("Gemm-257-terms", "LSTM-bidirectional-state", "Conv", "Softmax-heads", "RandomNormalLike", "MatMul-computed-heads")


def _loaded(case: Case, width: int) -> tuple[Model, dict[str, Any], dict[str, Any]]:
    """A model, 70 rows of inputs with special ones among them, and the outputs of each row alone."""
    model = Model.load(case.build(width))
    assert model.batched
    assert not model.slow_nodes
    given = columns(model, N, positive=case.positive, integers=case.integers)
    return model, given, one_by_one(model, given, N)


def _check(model: Model, given: Any, alone: Any, rows: range | list[int], where: str, chunks: list[int] | None = None) -> None:
    assert_same_bits(execute(model, given, rows, chunks=chunks), some(model, alone, rows), where)


@pytest.mark.parametrize("case", ALL, ids=repr)
def test_rows_have_the_same_bits_in_any_batch_size_place_and_chunking(case: Case) -> None:
    random = np.random.default_rng(3)
    for width in WIDTHS:
        model, given, alone = _loaded(case, width)
        for n in SIZES:
            for first in {0, N - n, int(random.integers(N - n + 1))}:
                _check(model, given, alone, range(first, first + n), f"width {width}, rows {first} to {first + n}")
        _check(model, given, alone, random.permutation(N).tolist(), f"width {width}, shuffled")
        for chunks in CHUNKS:
            _check(model, given, alone, range(N), f"width {width}, chunks {chunks}", chunks)


@pytest.mark.skipif(VECTORS == 1, reason="tiles of this CPU are one vector wide: it has no half panels")
def test_half_panels_have_the_bits_of_single_rows() -> None:
    test_rows_have_the_same_bits_in_any_batch_size_place_and_chunking(named("Gemm-wide"))


@pytest.mark.parametrize("name", EVERY_SIZE)
def test_rows_have_the_same_bits_in_every_batch_size_up_to_70(name: str) -> None:
    for width in WIDTHS:
        model, given, alone = _loaded(named(name), width)
        for n in range(1, N + 1):
            _check(model, given, alone, range(N - n, N), f"width {width}, the last {n} rows")
            _check(model, given, alone, range(n), f"width {width}, the first {n} rows")


@pytest.mark.parametrize("case", ALL, ids=repr)
def test_special_rows_leave_ordinary_rows_unchanged(case: Case) -> None:
    model = Model.load(case.build(17))
    calm = columns(model, N, special=False, positive=case.positive, integers=case.integers)
    wild = columns(model, N, special=True, positive=case.positive, integers=case.integers)
    ordinary = [row for row in range(N) if row % 11 in (0, 1, 2, 4, 6)]
    mixed = {}
    for spec in model.inputs.values():
        data = wild[spec.name].copy()
        if spec.batch_axis is not None:
            np.moveaxis(data, spec.batch_axis, 0)[ordinary] = np.moveaxis(calm[spec.name], spec.batch_axis, 0)[ordinary]
        mixed[spec.name] = data
    expected, found = execute(model, calm, range(N)), execute(model, mixed, range(N))
    assert_same_bits(some(model, found, ordinary), some(model, expected, ordinary), "ordinary rows")


@pytest.mark.parametrize("name", THREADED)
def test_threads_that_share_a_model_give_the_bits_of_rows_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "LONG_WORK", -1)  # every run hands the interpreter to the other threads
    model, given, alone = _loaded(named(name), 33)

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(25):
            rows = random.permutation(N)[:random.integers(1, N + 1)].tolist()
            _check(model, given, alone, rows, f"thread {seed}, rows {rows}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_deterministic_rows_and_drawing_rows_share_a_batch() -> None:
    for name in ("RandomNormalLike", "RandomUniformLike", "Multinomial", "noise-beside-states"):
        model = Model.load(named(name).build(5))
        given = columns(model, N, special=False)
        flags = np.arange(N) % 3 == 0
        alone = one_by_one(model, given, N, flags)
        for chunks in (None, *CHUNKS):
            found = execute(model, given, range(N), chunks=chunks, deterministic=flags)
            assert_same_bits(found, alone, f"{name}, chunks {chunks}")


def test_a_negative_zero_bias_gives_the_same_zero_in_every_batch() -> None:
    """Sums cut into segments: an empty last segment must not turn -0 into +0."""
    for k in range(1, 40):
        w, bias = -np.abs(weights(k, 5)), np.full(5, -0.0, np.float32)
        model = Model.load(one("Gemm", rows(k), w, bias))
        given = {"x0": np.zeros((13, k), np.float32)}
        assert_same_bits(execute(model, given, range(13)), one_by_one(model, given, 13), f"{k} terms")


def test_run_bind_and_chunks_give_the_same_bits() -> None:
    model = Model.load(policy())
    obs = np.random.default_rng(0).standard_normal((N, 4)).astype(np.float32)
    whole = model.run({"obs": obs})["action"]
    for n in SIZES:
        out = np.full((n, 2), np.nan, np.float32)
        handle = model.bind({"obs": obs[:n]}, {"action": out})
        handle()
        np.testing.assert_array_equal(bits(out), bits(whole[:n]))
        np.testing.assert_array_equal(bits(model.run({"obs": obs[:n].copy()})["action"]), bits(whole[:n]))
