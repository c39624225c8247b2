"""Real policies: all valid ones run as onnxruntime runs them, wholly planned, row by row or together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_oracle import assert_near, running
from native_rows import assert_same_bits, execute, one_by_one, some

from cervello.errors import GraphError
from cervello.native import Model
from cervello.native.memory import arena_plan, verifier

Array = np.ndarray[Any, Any]


# Magnitudes of observations: ordinary, far outside of what was trained on, below the normal floats, none.
KINDS: dict[str, float] = {"ordinary": 1.0, "huge": 1e4, "denormal": 1e-41, "zero": 0.0}
SIZES = (1, 2, 7, 64, 1000)
FEW = (1, 2, 7, 16)  # for denormals, which make some CPUs a hundred times slower, with onnxruntime as here


def _inputs(model: Model, n_rows: int, scale: float = 1.0) -> dict[str, Array]:
    """Normal observations of a scale; masks and sequence lengths of ones; random bools."""
    random = np.random.default_rng(n_rows)
    found: dict[str, Array] = {}
    for spec in model.inputs.values():
        shape = spec.batched(n_rows)
        if spec.dtype == bool:
            found[spec.name] = random.random(shape) < 0.5
        elif "mask" in spec.name or spec.name == "seq_lens":
            found[spec.name] = np.ones(shape, spec.dtype)
        else:
            found[spec.name] = (random.standard_normal(shape) * scale).astype(spec.dtype)
    return found


def _piece(array: Array, spec: Any, rows: Any) -> Array:
    return array if spec.batch_axis is None else np.take(array, rows, axis=spec.batch_axis)


def _as_exported(model: Model, record: dict[str, Any], given: dict[str, Array]) -> dict[str, Array]:
    """Inputs in the shapes the file declares: a rank-1 export has no batch axis."""
    ranks = {i["name"]: len(i["shape"]) for i in record["inputs"]}
    return {name: array.reshape(array.shape[1:]) if array.ndim > ranks[name] else array for name, array in given.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_valid_models_agree_with_onnxruntime_at_every_batch_size(shared_models: Any, valid_model: str, kind: str) -> None:
    record = shared_models.entries[valid_model]
    model = Model.load(shared_models.path(valid_model))
    assert not model.slow_nodes, f"outside the planned tier: {dict(model.slow_nodes)}"
    checked = [name for name in (*model.outputs, *model.constants) if name not in record["outputs_random"]]
    reference = running(str(shared_models.path(valid_model)))
    for n_rows in (FEW if kind == "denormal" else SIZES) if model.batched else (1,):
        given = _inputs(model, n_rows, KINDS[kind])
        found = {**model.run(given, seed=1), **model.constants}
        together = "3" in record["runs_at_batch"]  # else onnxruntime takes a row at a time: those at both ends and between
        for rows in _pieces(n_rows) if together else sorted({0, n_rows // 2, n_rows - 1}):
            chosen = list(rows) if together else [rows]
            piece = {name: _piece(given[name], spec, chosen) for name, spec in model.inputs.items()}
            expected = reference(_as_exported(model, record, piece))
            assert set(expected) == {*model.outputs, *model.constants}
            nudged = reference(_as_exported(model, record, _nudged(piece))) if kind == "huge" else expected
            for name in checked:
                spec = model.outputs.get(name)
                own = found[name] if spec is None else _piece(found[name], spec, chosen)
                assert_near(own.reshape(expected[name].shape), expected[name], 1e-4, f"{n_rows} rows, {name}",
                            max(1e-5, 4 * _change(nudged[name], expected[name])))


def _nudged(given: dict[str, Array]) -> dict[str, Array]:
    """Every float moved to its neighbour. Where terms of 1e4 cancel, float32 leaves that much open, in onnxruntime as here."""
    return {name: np.nextafter(array, np.float32(np.inf)) if array.dtype == np.float32 else array for name, array in given.items()}


def _change(one: Array, other: Array) -> float:
    both = np.isfinite(one) & np.isfinite(other) if one.dtype.kind == "f" else np.zeros(one.shape, bool)
    return float(np.abs(one[both].astype(np.float64) - other[both]).max(initial=0.0))


def _pieces(n_rows: int) -> list[range]:
    """Rows that onnxruntime runs at once: it keeps all intermediate values of all rows. Of many, those at both ends."""
    pieces = [range(first, min(first + 64, n_rows)) for first in range(0, n_rows, 64)]
    return pieces if len(pieces) < 3 else [pieces[0], pieces[-1]]


def test_valid_models_give_every_row_the_same_bits_in_any_batch(shared_models: Any, valid_model: str) -> None:
    model = Model.load(shared_models.path(valid_model))
    n_rows = 17
    given = _inputs(model, n_rows)
    alone = one_by_one(model, given, n_rows)
    for rows in ([0, 1], range(3, 8), range(n_rows), [16, 2, 9, 9, 0, 5, 7, 8, 1, 4, 3, 12, 11]):
        assert_same_bits(execute(model, given, rows), some(model, alone, rows), f"rows {list(rows)}")
    assert_same_bits(execute(model, given, range(n_rows), chunks=[1, 12, 4]), alone, "chunks")


def test_valid_models_have_verified_plans_no_larger_than_their_buffers(shared_models: Any, valid_model: str) -> None:
    model = Model.load(shared_models.path(valid_model))
    verifier.verify(model.program.steps, model.program.layout, model.batched)
    lives = arena_plan.lifetimes(model.program.steps)
    for n_rows in (1, 3, 64) if model.batched else (1,):
        plan = model.plan(n_rows)
        bound = sum(-(-b.n_bytes // 64) * 64 for b in plan.buffers) if n_rows == 1 else None
        assert plan.peak_bytes <= plan.arena_bytes
        assert len(plan.buffers) == len(lives)
        assert bound is None or plan.arena_bytes <= bound
        assert str(plan)


def test_invalid_models_are_refused_with_the_name_of_the_dangling_output(shared_models: Any, invalid_model: str) -> None:
    with pytest.raises(GraphError, match="output 'is_continuous_control': expected a node that produces it, found none"):
        Model.load(shared_models.path(invalid_model))


def test_there_are_43_valid_and_3_invalid_models(shared_models: Any) -> None:
    assert (len(shared_models.of_kind("valid")), len(shared_models.of_kind("invalid"))) == (43, 3)
