"""A test suite for inferers: subclass it, override how yours is created, and run pytest.

    from cervello.inferers.testing import InfererContract

    class TestMyInferer(InfererContract):
        def make_model(self):
            return cervello.Model.load("racer.onnx")
        def make_inferer(self, model):
            return MyInferer(model)

Every method whose name begins with `test_` states one property that policies and wrappers rely on.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from cervello.errors import CervelloError
from cervello.inferers.config import InfererConfig
from cervello.inferers.named import choose
from cervello.native import Model
from cervello.noise import Streams, derive_keys
from cervello.spec import Array, Inferer, Specs, TensorSpec, View

SIZES = tuple(range(1, 18))
_CAPACITY = 32
_SEED = 11


def same_bits(a: Array, b: Array) -> bool:
    """Whether two arrays are equal bit for bit; NaNs are equal to each other."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    equal = np.ascontiguousarray(a).view(unsigned) == np.ascontiguousarray(b).view(unsigned)
    return bool((equal | (np.isnan(a) & np.isnan(b))).all())


def sample_row(spec: TensorSpec, agent: int, step: int) -> Array:
    """A synthetic value of one agent at one step: normal floats, integers 0 and 1, bools; a pure function of its arguments."""
    random = np.random.default_rng([zlib.crc32(spec.name.encode()), 0 if spec.batch_axis is None else agent, step])
    if spec.dtype.kind == "f":
        return np.asarray(random.standard_normal(spec.shape)).astype(spec.dtype)
    return random.integers(0, 2, spec.shape).astype(spec.dtype)


def stack_rows(spec: TensorSpec, rows: Iterable[Array]) -> Array:
    """One agent's rows as a column with the batch where the spec has it."""
    listed = list(rows)
    if spec.batch_axis is None:
        return np.asarray(listed[0])
    return np.ascontiguousarray(np.stack(listed, spec.batch_axis))


def take_row(spec: TensorSpec, column: Array, row: int) -> Array:
    """One agent's row of a column."""
    return column if spec.batch_axis is None else np.asarray(np.take(column, row, spec.batch_axis))


def sample_columns(specs: Specs, agents: Iterable[int], step: int = 0) -> dict[str, Array]:
    """Synthetic columns for agents."""
    listed = list(agents)
    return {name: stack_rows(spec, [sample_row(spec, agent, step) for agent in listed]) for name, spec in specs.items()}


class FakeAgents:
    """An inferer's view of agents, without a policy: agent k is in slot k and at step 0."""

    def __init__(self) -> None:
        keys, self.steps = np.zeros((_CAPACITY, 2), np.uint64), np.zeros(_CAPACITY, np.int64)
        numbers = np.arange(_CAPACITY)
        derive_keys(numbers, np.zeros_like(numbers), np.zeros_like(numbers), _SEED, numbers, keys)
        self.streams = Streams(keys, self.steps)


class InfererContract:
    """The properties of every inferer that policies and wrappers rely on. Override `make_model` and `make_inferer`."""

    exact = True  # whether results equal `Model.run` bit for bit; set to False for an inferer with arithmetic of its own

    def make_model(self) -> Model:
        """A model to infer with."""
        raise NotImplementedError("make_model")

    def make_inferer(self, model: Model) -> str | InfererConfig | Inferer:
        """The inferer under test: an object, or what `cervello.load(inferer=…)` takes."""
        raise NotImplementedError("make_inferer")

    def sample(self, specs: Specs, agents: Iterable[int], step: int = 0) -> dict[str, Array]:
        """Columns to infer; override it if synthetic numbers are not valid inputs."""
        return sample_columns(specs, agents, step)

    def _open(self) -> Inferer:
        return choose(self.make_inferer(model := self.make_model()), model)

    def _view(self, inferer: Inferer, agents: Iterable[int], outputs: dict[str, Array] | None = None, **options: Any) -> View:
        listed = list(agents)
        columns = self.sample(inferer.raw_inputs, listed) if listed else {
            name: np.zeros(spec.batched(0), spec.dtype) for name, spec in inferer.raw_inputs.items()}
        return View(len(listed), np.array(listed, np.int64), columns, {} if outputs is None else outputs, FakeAgents(), **options)

    def _infer(self, inferer: Inferer, agents: Iterable[int], **options: Any) -> dict[str, Array]:
        view = self._view(inferer, agents, **options)
        inferer.infer_raw(view)
        return view.outputs

    def test_it_has_the_methods_of_an_inferer(self) -> None:
        assert isinstance(self._open(), Inferer), "expected the methods of cervello.Inferer"

    def test_raw_specs_are_the_models(self) -> None:
        model = self.make_model()
        inferer = choose(self.make_inferer(model), model)
        assert dict(inferer.raw_inputs) == dict(model.inputs), "raw_inputs differ from the model's"
        assert dict(inferer.raw_outputs) == dict(model.outputs), "raw_outputs differ from the model's"

    def test_a_batch_size_is_between_one_and_the_rows_there_are(self) -> None:
        inferer = self._open()
        for most in (1, 2, 3, 7, 31, 32, 33, 1000):
            chosen = inferer.select_batch_size(most)
            assert 1 <= chosen <= most, f"select_batch_size({most}) gave {chosen}"

    def test_outputs_have_the_promised_shapes_and_types(self) -> None:
        inferer = self._open()
        for n_rows in SIZES:
            found = self._infer(inferer, range(n_rows))
            assert set(found) == set(inferer.raw_outputs), f"outputs {sorted(found)}"
            for name, spec in inferer.raw_outputs.items():
                assert found[name].shape == spec.batched(n_rows), f"{name}: {found[name].shape} for {n_rows} rows of {spec}"
                assert found[name].dtype == spec.dtype, f"{name}: {found[name].dtype}"

    def test_a_row_is_the_same_in_every_batch_and_place(self) -> None:
        inferer = self._open()
        alone = [self._infer(inferer, [agent]) for agent in SIZES]
        random = np.random.default_rng(0)
        for n_rows in SIZES:
            agents = random.permutation(len(SIZES))[:n_rows]
            found = self._infer(inferer, [SIZES[k] for k in agents])
            for row, k in enumerate(agents):
                for name, spec in inferer.raw_outputs.items():
                    assert same_bits(take_row(spec, found[name], row), take_row(spec, alone[k][name], 0)), (
                        f"{name}: agent {SIZES[k]} in row {row} of {n_rows} differs from the same agent alone")

    def test_results_are_the_models(self) -> None:
        model = self.make_model()
        if model.random_nodes or not self.exact:
            return
        inferer = choose(self.make_inferer(model), model)
        for n_rows in (1, 5, 17):
            found, expected = self._infer(inferer, range(n_rows)), model.run(self.sample(model.inputs, range(n_rows)))
            for name in inferer.raw_outputs:
                assert same_bits(found[name], expected[name]), f"{name}: differs from Model.run at {n_rows} rows"

    def test_a_nan_row_disturbs_no_other(self) -> None:
        inferer = self._open()
        clean, corrupted = self._view(inferer, range(9)), self._view(inferer, range(9))
        for name, spec in inferer.raw_inputs.items():
            if spec.dtype.kind == "f" and spec.batch_axis is not None:
                np.moveaxis(corrupted.inputs[name], spec.batch_axis, 0)[4] = np.nan
        inferer.infer_raw(clean)
        inferer.infer_raw(corrupted)
        for name, spec in inferer.raw_outputs.items():
            for row in (0, 3, 5, 8):
                assert same_bits(take_row(spec, clean.outputs[name], row), take_row(spec, corrupted.outputs[name], row)), (
                    f"{name}: NaN in row 4 reached row {row}")

    def test_given_output_arrays_are_filled(self) -> None:
        inferer = self._open()
        expected = self._infer(inferer, range(6))
        given = {name: np.zeros(spec.batched(6), spec.dtype) for name, spec in inferer.raw_outputs.items()}
        found = self._infer(inferer, range(6), outputs=dict(given))
        for name, array in given.items():
            assert same_bits(found[name], expected[name]), f"{name}: another result with an array given"
            assert found[name] is array, f"{name}: the given array was not used"

    def test_inputs_are_left_as_they_were(self) -> None:
        inferer = self._open()
        view = self._view(inferer, range(5))
        before = {name: column.copy() for name, column in view.inputs.items()}
        inferer.infer_raw(view)
        for name, column in before.items():
            assert same_bits(view.inputs[name], column), f"{name}: infer_raw wrote to its input"

    def test_results_of_one_batch_survive_the_next(self) -> None:
        inferer = self._open()
        first = self._infer(inferer, range(4))
        kept = {name: array.copy() for name, array in first.items()}
        self._infer(inferer, range(4, 8))
        for name, array in kept.items():
            assert same_bits(first[name], array), f"{name}: overwritten by the next batch"

    def test_no_rows_give_empty_outputs(self) -> None:
        inferer = self._open()
        found = self._infer(inferer, [])
        for name, spec in inferer.raw_outputs.items():
            assert found[name].shape == spec.batched(0), f"{name}: {found[name].shape} for no rows"

    def test_a_batch_that_does_not_fit_is_refused_and_the_next_one_runs(self) -> None:
        inferer = self._open()
        expected = self._infer(inferer, range(3))
        view = self._view(inferer, range(3))
        for name, spec in inferer.raw_inputs.items():
            view.inputs[name] = np.zeros((*spec.batched(3), 2), spec.dtype)
        try:
            inferer.infer_raw(view)
        except (CervelloError, ValueError):
            pass
        else:
            raise AssertionError("expected an error for inputs with one axis too many")
        found = self._infer(inferer, range(3))
        for name, array in expected.items():
            assert same_bits(found[name], array), f"{name}: changed after a batch that was refused"

    def test_agents_may_begin_and_end(self) -> None:
        inferer = self._open()
        expected = self._infer(inferer, range(3))
        for slot in (0, 1, 2, 1000):
            inferer.begin_agent(slot)
        inferer.end_agent(1000)
        found = self._infer(inferer, range(3))
        for name, array in expected.items():
            assert same_bits(found[name], array), f"{name}: changed by an agent that began and ended"

    def test_deterministic_rows_leave_the_others_alone(self) -> None:
        inferer = self._open()
        free = self._infer(inferer, range(4))
        mixed = self._infer(inferer, range(4), deterministic=np.array([True, False, True, False]))
        for name, spec in inferer.raw_outputs.items():
            for row in (1, 3):
                assert same_bits(take_row(spec, free[name], row), take_row(spec, mixed[name], row)), f"{name}: row {row} changed"

    def test_threads_may_infer_at_the_same_time(self) -> None:
        inferer = self._open()
        batches = [range(k, k + 2 + k) for k in range(4)]
        expected = [self._infer(inferer, batch) for batch in batches]
        wrong: list[str] = []

        def work(k: int) -> None:
            for _ in range(20):
                found = self._infer(inferer, batches[k])
                wrong.extend(name for name in found if not same_bits(found[name], expected[k][name]))

        threads = [threading.Thread(target=work, args=(k,)) for k in range(len(batches))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, f"{sorted(set(wrong))}: other results with other threads running"
