"""One copy of the weights."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from native_graphs import Chain, policy, rows, weights

from cervello.native import Model
from cervello.native.graph.tensors import Weight
from cervello.native.memory.weights import Weights


def _addresses(model: Model) -> set[int]:
    return {array.ctypes.data for array in model.weights.arrays()}


def test_equal_tensors_of_one_model_are_stored_once() -> None:
    c = Chain(x=rows(8))
    h = c.add("Tanh", c.dense("x", 8, 8, 0))
    model = Model.load(c.model(c.dense(h, 8, 8, 0)))
    assert len(model.weights.arrays()) == 2  # one packed matrix, one padded bias
    assert model.weights.n_bytes == (8 * 32 + 32) * 4


def test_equal_tensors_of_another_model_are_not_stored_again() -> None:
    first = Model.load(policy(0))
    second = Model.load(policy(0), share=first)
    assert _addresses(second) == _addresses(first)
    assert second.weights.shared_bytes == first.weights.n_bytes > 0
    assert second.plan().shared_bytes == first.weights.n_bytes


def test_different_tensors_are_stored_and_equal_ones_shared() -> None:
    first, other = Model.load(policy(0)), Model.load(policy(7))
    mixed = Chain(obs=rows(4))
    h = mixed.add("Tanh", mixed.dense("obs", 4, 64, 0))
    both = Model.load(mixed.model(mixed.dense(h, 64, 3, 40)), share=first)
    assert not _addresses(other) & _addresses(first)
    assert len(_addresses(both) & _addresses(first)) == 2
    assert len(_addresses(both) - _addresses(first)) == 2


def test_same_bytes_of_another_shape_or_type_are_not_equal() -> None:
    store = Weights()
    data = np.arange(6, dtype=np.float32)
    arrays = [store.store(Weight(a)) for a in (data, data.reshape(2, 3), data.view(np.int32))]
    assert len({a.ctypes.data for a in arrays}) == 3
    assert store.store(Weight(data.copy())) is arrays[0]


def test_stored_arrays_are_aligned_and_read_only() -> None:
    for array in Model.load(policy()).weights.arrays():
        assert array.ctypes.data % 64 == 0
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_results_stay_right_after_the_sharing_model_is_gone() -> None:
    obs = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    first = Model.load(policy(0))
    expected = first.run({"obs": obs})["action"]
    second = Model.load(policy(0), share=first)
    del first
    gc.collect()
    junk = [np.full(1 << 14, np.nan, np.float32) for _ in range(50)]
    np.testing.assert_array_equal(second.run({"obs": obs})["action"], expected)
    third = Model.load(policy(0), share=second)
    assert _addresses(third) == _addresses(second)
    assert junk


def test_changing_the_file_in_memory_changes_no_loaded_model() -> None:
    proto = policy(0)
    model = Model.load(proto)
    obs = np.ones((2, 4), np.float32)
    before = model.run({"obs": obs})["action"]
    for tensor in proto.graph.initializer:
        tensor.raw_data = bytes(len(tensor.raw_data))
    np.testing.assert_array_equal(model.run({"obs": obs})["action"], before)


def test_packed_panels_hold_32_columns_padded_with_zeros() -> None:
    w = weights(5, 33)
    c = Chain(x=rows(5))
    (panels,) = [a for a in Model.load(c.model(c.add("MatMul", "x", w))).weights.arrays() if a.ndim == 3]
    assert panels.shape == (2, 5, 32)
    np.testing.assert_array_equal(np.concatenate(panels, axis=1)[:, :33], w)
    assert not panels[1, :, 1:].any()


def test_a_loaded_model_holds_its_weights_once() -> None:
    """Not as the file has them beside the form that kernels read; what else a model holds is small."""
    tracemalloc = pytest.importorskip("tracemalloc")
    c = Chain(x=rows(256))
    image = c.add("Conv", c.add("Reshape", "x", np.array([-1, 64, 2, 2])), weights(128, 64, 2, 2))
    proto = c.model(c.dense(c.dense(c.add("Flatten", image), 128, 512, 1), 512, 512, 2)).SerializeToString()
    Model.load(proto)
    gc.collect()
    tracemalloc.start()
    model = Model.load(proto)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert model.weights.n_bytes < held < 1.05 * model.weights.n_bytes
