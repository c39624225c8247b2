"""Sample inside the compiled call: it is really taken, and gives the bits of the hooks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import cervello
from cervello import heads
from cervello.errors import InputError


def _file(seed: int = 0, **outputs: int) -> bytes:
    """obs [N, 4] to linear outputs of these widths."""
    rng = np.random.default_rng(seed)
    weights = [numpy_helper.from_array(rng.standard_normal((4, width)).astype(np.float32), f"W{name}") for name, width in outputs.items()]
    nodes = [helper.make_node("MatMul", ["obs", f"W{name}"], [name]) for name in outputs]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name, width in outputs.items()]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["N", 4])], ports, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def _columns(rng: np.random.Generator, n: int, mask: Any) -> dict[str, np.ndarray]:
    columns = {"obs": rng.standard_normal((n, 4)).astype(np.float32)}
    if mask is not None:
        allowed = rng.random((n, 6)) < 0.4
        allowed[:, [0, 3, 4]] = True  # something for every choice of 3, 1 and 2
        columns["m"] = allowed.astype(mask)
    return columns


def _policy(sample: cervello.Sample, **outputs: int) -> cervello.Policy:
    policy = cervello.load(_file(**outputs), wrappers=[sample], seed=3)
    policy.begin_agents(list(range(70)))
    return policy


def _by_hooks(sample: cervello.Sample, **outputs: int) -> cervello.Policy:
    policy = _policy(sample, **outputs)
    policy._core.engine.fast_path = None
    return policy


def _watch(policy: cervello.Policy) -> list[bool]:
    """Whether each batch from here on was decided by the compiled call."""
    fast_path, taken = policy._core.engine.fast_path, []
    assert fast_path is not None

    class Watched:
        def infer(self, *given: Any) -> Any:
            found = fast_path.infer(*given)
            taken.append(found is not None)
            return found

        def invalidate(self) -> None:
            fast_path.invalidate()

    policy._core.engine.fast_path = Watched()  # type: ignore[assignment]
    return taken


def _check_same(a: Any, b: Any) -> None:
    assert list(a) == list(b)
    for name in a:
        assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape)
        assert a[name].tobytes() == b[name].tobytes(), name


_CASES = [
    (lambda: cervello.Sample(heads.Categorical("logits")), {"logits": 6}, None),
    (lambda: cervello.Sample(heads.Categorical("logits"), log_prob=None, entropy=None, hide=True), {"logits": 6}, None),
    (lambda: cervello.Sample(heads.Categorical("logits"), action=None, log_prob=None), {"logits": 6}, None),
    (lambda: cervello.Sample(heads.Categorical("logits", mask="m")), {"logits": 6}, np.int8),
    (lambda: cervello.Sample(heads.Categorical("logits", mask="m", empty_mask="ignore")), {"logits": 6}, np.bool_),
    (lambda: cervello.Sample(heads.Categorical("logits", mask="m")), {"logits": 6, "m": 6}, None),
    (lambda: cervello.Sample(heads.MultiDiscrete("logits", [3, 1, 2], mask="m"), extra={"deterministic": "greedy"}), {"logits": 6},
     np.int8),
    (lambda: cervello.Sample(heads.EpsilonGreedy("logits", 0.3, mask="m")), {"logits": 6}, np.int8),
    (lambda: cervello.Sample(heads.Bernoulli("logits")), {"logits": 6}, None),
    (lambda: cervello.Sample(heads.Gaussian("mean", log_std="s")), {"mean": 3, "s": 3}, None),
    (lambda: cervello.Sample(heads.Gaussian("mean", std=0.5)), {"mean": 3}, None),
    (lambda: cervello.Sample(heads.TanhGaussian("mean", std=[0.5, 1, 2]), extra={"pre_tanh": "u"}), {"mean": 3}, None),
    (lambda: cervello.Sample(heads.Deterministic("mean")), {"mean": 3}, None),
]


@pytest.mark.parametrize(("sample", "outputs", "mask"), _CASES)
def test_the_compiled_call_gives_the_bits_of_the_hooks(sample: Any, outputs: dict[str, int], mask: Any) -> None:
    compiled, hooks = _policy(sample(), **outputs), _by_hooks(sample(), **outputs)
    taken, rng = _watch(compiled), np.random.default_rng(1)
    batches = 0
    for n in (7, 1, 64, 3):
        for deterministic in (False, True, rng.random(n) < 0.5):
            ids, columns = rng.permutation(70)[:n].tolist(), _columns(rng, n, mask)
            _check_same(compiled.infer_batch(ids, columns, deterministic), hooks.infer_batch(ids, columns, deterministic))
            batches += 1
    assert taken == [True] * batches
    _check_same(compiled.infer_batch([], _columns(rng, 0, mask)), hooks.infer_batch([], _columns(rng, 0, mask)))


def test_a_mask_that_allows_nothing_is_refused_and_changes_nothing() -> None:
    policy, other = (_policy(cervello.Sample(heads.Categorical("logits", mask="m")), logits=6) for _ in range(2))
    good = {"obs": np.ones((2, 4), np.float32), "m": np.ones((2, 6), np.int8)}
    bad = {**good, "m": np.array([[1] * 6, [0] * 6], np.int8)}
    with pytest.raises(InputError, match="row 1"):
        policy.infer_batch([0, 1], bad)
    _check_same(policy.infer_batch([0, 1], good), other.infer_batch([0, 1], good))


def test_a_mask_may_not_lie_in_the_memory_of_an_output() -> None:
    compiled, hooks = (make(cervello.Sample(heads.Categorical("logits", mask="m")), logits=6) for make in (_policy, _by_hooks))
    obs = np.ones((2, 4), np.float32)
    for policy in (compiled, hooks):
        logits = np.full((2, 6), 1.5, np.float32)
        mask = np.ndarray((2, 6), np.int8, logits)
        policy.infer_batch([0, 1], {"obs": obs, "m": mask}, out={"logits": logits})
    taken = _watch(compiled)
    logits = np.full((2, 6), 1.5, np.float32)
    compiled.infer_batch([0, 1], {"obs": obs, "m": np.ndarray((2, 6), np.int8, logits)}, out={"logits": logits})
    assert taken == [False]


def test_a_swap_and_a_restored_snapshot_go_on_as_by_the_hooks() -> None:
    compiled, hooks = (make(cervello.Sample(heads.Categorical("logits")), logits=6) for make in (_policy, _by_hooks))
    columns, ids = {"obs": np.ones((5, 4), np.float32)}, [4, 9, 0, 33, 2]
    state = None
    for policy in (compiled, hooks):
        policy.infer_batch(ids, columns)
        state = policy.snapshot()
        policy.update_weights({"Wlogits": np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)})
    hooks._core.engine.fast_path = None
    first = dict(compiled.infer_batch(ids, columns))
    _check_same(first, hooks.infer_batch(ids, columns))
    assert state is not None
    compiled.restore(state)
    _check_same(first, compiled.infer_batch(ids, columns))


def test_deterministic_rows_take_the_compiled_call_without_a_head_too() -> None:
    policy = cervello.load(_file(logits=3))
    policy.begin_agents([0, 1])
    taken = _watch(policy)
    for deterministic in (True, np.array([True, False])):
        policy.infer_batch([0, 1], {"obs": np.ones((2, 4), np.float32)}, deterministic)
    assert taken == [True, True]
    with pytest.raises(InputError, match="deterministic"):
        policy.infer_batch([0, 1], {"obs": np.ones((2, 4), np.float32)}, np.array([True]))


def test_a_head_of_ones_own_keeps_to_the_hooks() -> None:
    class Own(heads.Categorical):
        pass

    assert _policy(cervello.Sample(Own("logits")), logits=6)._core.engine.fast_path is None
