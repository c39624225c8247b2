"""Runs rows of a model in any company, on poisoned memory, and compares bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.native import Model
from cervello.native.kernels import abi
from cervello.native.memory import arena
from cervello.noise import derive_keys
from cervello.spec import TensorSpec

Array = np.ndarray[Any, Any]
SEED, GUARD = 5, 64
ORDINARY = (0, 1, 2, 4, 6)  # rows, modulo 11, that hold nothing special


def columns(model: Model, n_rows: int, *, special: bool = True, positive: bool = False, integers: tuple[int, int] = (0, 2),
            seed: int = 0) -> dict[str, Array]:
    """Inputs of n_rows rows.

    Args:
      special: among ordinary rows put some of NaN, infinities, huge and denormal numbers.
      integers: bounds of integer inputs.
    """
    random = np.random.default_rng([seed, 77])
    found = {}
    for spec in model.inputs.values():
        shape = (n_rows, *spec.shape) if spec.batch_axis is not None else spec.shape
        if spec.dtype == bool:
            data = random.random(shape) < 0.5
        elif spec.dtype.kind in "iu":
            data = random.integers(*integers, shape).astype(spec.dtype)
        else:
            data = random.standard_normal(shape).astype(spec.dtype)
            if positive:
                data = np.abs(data) + spec.dtype.type(0.01)
            if special and spec.batch_axis is not None:
                _disturb(data, random)
        found[spec.name] = data if spec.batch_axis is None else np.ascontiguousarray(np.moveaxis(data, 0, spec.batch_axis))
    return found


def _disturb(data: Array, random: np.random.Generator) -> None:
    for row in range(len(data)):
        kind, place = row % 11, data[row:row + 1].reshape(1, -1)
        if not place.size:
            continue
        at = int(random.integers(place.size))
        if kind == 3:
            data[row] = np.nan
        elif kind == 5:
            data[row] = np.inf
        elif kind == 7:
            data[row] = -np.inf
        elif kind == 8:
            data[row] *= data.dtype.type(1e30)
        elif kind == 9:
            data[row] *= data.dtype.type(1e-40)
        elif kind == 10:
            place[0, at] = np.nan
            place[0, -1] = np.inf


def take(array: Array, spec: TensorSpec, rows: Any) -> Array:
    """Some rows of a column, as an array of their own."""
    if spec.batch_axis is None:
        return array
    return np.ascontiguousarray(np.take(array, rows, axis=spec.batch_axis))


def poisoned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """An array of bytes 0xFF (NaN, -1), and the bytes behind it, which nobody may write."""
    n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.full(n_bytes + GUARD, 0xFF, np.uint8)
    raw[n_bytes:] = 0xA5
    return raw[:n_bytes].view(dtype).reshape(shape), raw[n_bytes:]


def execute(model: Model, given: Mapping[str, Array], rows: Sequence[int], *, chunks: Sequence[int] | None = None,
            deterministic: Array | None = None, threads: int = 1) -> dict[str, Array]:
    """Runs the rows of `given` named by `rows`; row i draws noise as agent i. Arena and outputs are poisoned first."""
    index = np.asarray(rows, np.int64)
    n_rows = len(index)
    arrays = [take(given[spec.name], spec, index) for spec in model.inputs.values()]
    results, guards = [], []
    for spec in model.outputs.values():
        result, guard = poisoned(spec.batched(n_rows), spec.dtype)
        results.append(result)
        guards.append(guard)
    slots, steps = index.copy(), np.zeros(int(index.max()) + 1, np.int64)
    keys, zeros = np.zeros((len(steps), 2), np.uint64), np.zeros(len(steps), np.int64)
    agents = np.arange(len(steps))
    derive_keys(agents, zeros, zeros, SEED, agents, keys)
    flags = None if deterministic is None else np.ascontiguousarray(deterministic[index])
    run = model.acquire()
    try:
        run.context[abi.CTX.all_deterministic] = 0
        run.set_noise(slots.ctypes.data, keys.ctypes.data, steps.ctypes.data, 0 if flags is None else flags.ctypes.data)
        plan = model.resolve(n_rows, threads) if chunks is None else model.combine([(model.resolve(count), 1) for count in chunks])
        run.reserve(plan.arena_bytes)
        run.poison()
        memory = arena.borrow(plan.arena_bytes)  # that is the one the run will borrow, where it does not use its own
        memory.poison()
        arena.give_back(memory)
        model.run_rows(run, arrays, results, plan)
    finally:
        run.set_noise(0, 0, 0, 0)
        model.release(run)
    for name, guard in zip(model.outputs, guards, strict=True):
        assert (guard == 0xA5).all(), f"{name}: wrote behind its end"
    return dict(zip(model.outputs, results, strict=True))


def bits(array: Array) -> Array:
    """An array as integers; every NaN becomes the same one."""
    if array.dtype.kind != "f":
        return array.astype(np.int64)
    whole = array.copy()
    whole[np.isnan(whole)] = np.nan
    return whole.view(f"i{array.dtype.itemsize}")


def assert_same_bits(found: Mapping[str, Array], expected: Mapping[str, Array], where: str) -> None:
    for name, array in found.items():
        a, b = bits(array), bits(expected[name])
        if a.shape != b.shape or not np.array_equal(a, b):
            at = tuple(int(i) for i in np.argwhere(a != b)[0]) if a.shape == b.shape else "the shape"
            raise AssertionError(f"{where}, output {name!r}: bits differ at {at}: {found[name][at] if at != 'the shape' else a.shape} "
                                 f"for {expected[name][at] if at != 'the shape' else b.shape}")


def one_by_one(model: Model, given: Mapping[str, Array], n_rows: int, deterministic: Array | None = None) -> dict[str, Array]:
    """The outputs of every row run alone, put together."""
    alone = [execute(model, given, [row], deterministic=deterministic) for row in range(n_rows)]
    return {spec.name: np.concatenate([result[spec.name] for result in alone], axis=spec.batch_axis or 0)
            for spec in model.outputs.values()}


def some(model: Model, results: Mapping[str, Array], rows: Sequence[int]) -> dict[str, Array]:
    """Some rows of all outputs."""
    return {spec.name: take(results[spec.name], spec, list(rows)) for spec in model.outputs.values()}
