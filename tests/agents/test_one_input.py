"""Observations without the dict of inputs, masks in any form, tensors that require grad, and rows that do not keep their batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import small_models
import stacks

import cervello
from cervello import Batcher, Policy, Runtime
from cervello.agents.policy import core as policies
from cervello.errors import InputError
from cervello.heads import Categorical
from cervello.native.execution.row_copies import row_copies
from cervello.native.execution.row_reader import RowReader


@pytest.fixture
def policy() -> Policy:
    found = Policy(stacks.model("feed_forward"))
    found.begin_agents(range(40))
    return found


def row(seed: int = 0, width: int = 6) -> Any:
    return np.random.default_rng(seed).standard_normal(width).astype(np.float32)


def test_a_row_alone_is_the_only_input(policy: Policy) -> None:
    expected = policy.model.run({"obs": row()[None]})["action"][0]
    batch, runtime = Batcher(policy), Runtime()
    batch.push(3, row())
    batch.extend({4: row(), 5: row().astype(np.float64)})
    decided = batch.execute()
    own = Policy(policy.model)
    runtime.add("npc", own)
    runtime.begin_agent("npc", 1)
    runtime.push("npc", 1, row())
    for found in (policy.infer_single(1, row()), policy.infer_single(1, row().tolist()), policy.infer({2: row()})[2],
                  policy.infer({2: row(1), 3: row()})[3], policy.infer({2: row().astype(np.float64), 3: {"obs": row()}})[2],
                  decided[3], decided[4], decided[5], runtime.run()["npc"][1]):
        assert np.array_equal(found["action"], expected)


def test_a_row_alone_is_refused_where_there_are_several_inputs() -> None:
    policy = Policy(cervello.Model.load(small_models.noisy()))
    policy.begin_agents([1, 2])
    for ask in (lambda: policy.infer({1: row()}), lambda: policy.infer({1: row(), 2: row()}), lambda: policy.infer_single(1, row()),
                lambda: Batcher(policy).push(1, row())):
        with pytest.raises(InputError, match=r"policy 'model', agent 1: expected a mapping of inputs \['obs', 'epsilon'\], got ndarray; an "
                                             "array alone is taken by policies with one input only"):
            ask()


def test_a_row_alone_beside_a_mask_that_may_be_left_out() -> None:
    policy = cervello.load(small_models.stochastic(), wrappers=[cervello.Sample(Categorical("logits", mask="allowed"))])
    policy.begin_agents([1, 2])
    assert 0 <= policy.infer_single(1, row(width=5))["action"] < 4
    assert set(policy.infer({1: row(width=5), 2: row(1, 5)})) == {1, 2}


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64, np.float32, np.float64])
def test_masks_of_any_type_allow_the_same(dtype: Any) -> None:
    sampling = cervello.load(small_models.stochastic(), wrappers=[cervello.Sample(Categorical("logits", mask="allowed"))])
    built_in = Policy(stacks.model("masked_argmax"))
    mask = np.array([0, 1, 0, 0], dtype)
    if mask.dtype.kind in "iu":
        mask *= dtype(100)
    if mask.dtype.itemsize > 1 and mask.dtype.kind in "iu":
        mask[1] = 256  # 0 in its lowest byte
    for policy, name in ((sampling, "allowed"), (built_in, "mask")):
        policy.begin_agents([1, 2])
        observation = {"obs": row(width=5), name: mask}
        columns = {"obs": np.stack([row(width=5)] * 2), name: np.stack([mask] * 2)}
        batch = Batcher(policy)
        batch.push(1, observation)
        found = [policy.infer_single(1, observation), policy.infer({1: observation, 2: observation})[2], batch.execute()[1]]
        assert [int(each["action"]) for each in found] == [1, 1, 1]
        assert policy.infer_batch([1, 2], columns)["action"].tolist() == [1, 1]


def test_a_mask_of_other_floats_is_refused() -> None:
    policy = cervello.load(small_models.stochastic(), wrappers=[cervello.Sample(Categorical("logits", mask="allowed"))], name="scout")
    policy.begin_agent(1)
    observation = {"obs": row(width=5), "allowed": np.array([0.5, 1, 0, 0])}
    for ask in (lambda: policy.infer_single(1, observation), lambda: policy.infer({1: observation}),
                lambda: policy.infer_batch([1], {name: each[None] for name, each in observation.items()}),
                lambda: Batcher(policy).push(1, observation)):
        with pytest.raises(InputError, match=r"policy 'scout'.*input 'allowed': expected a mask of bools, integers, or floats 0 and"):
            ask()


def test_tensors_that_require_grad_are_detached(policy: Policy) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(row()).requires_grad_()
    expected = policy.infer_single(1, row())["action"]
    batch = Batcher(policy)
    batch.push(1, {"obs": tensor})
    for found in (policy.infer_single(1, tensor)["action"], policy.infer({1: {"obs": tensor}})[1]["action"], batch.execute()[1]["action"],
                  policy.infer({1: tensor, 2: tensor * 1})[2]["action"], policy.infer_batch([1], {"obs": tensor[None]})["action"][0],
                  policy.model.run({"obs": tensor[None]})["action"][0]):
        assert np.array_equal(found, expected)
    with pytest.raises(InputError, match="policy 'model', input 'obs': expected an array that numpy can read, got Tensor"):
        policy.infer_batch([1], {"obs": tensor.detach().to(torch.bfloat16)[None]})


def test_a_row_that_an_agent_keeps_does_not_keep_the_batch(policy: Policy) -> None:
    observations = {i: row(i) for i in range(40)}
    batch = Batcher(policy)
    batch.extend(observations)
    for found in (policy.infer(observations), batch.execute()):
        assert all(found[i]["action"].flags.owndata and found[i]["action"].base is None for i in range(40))
    alone = policy.infer({1: row()})[1]["action"]
    assert alone.base is None or alone.base.nbytes == alone.nbytes


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_, np.int8])
@pytest.mark.parametrize("shape", [(0, 3), (1, 2), (5, 0), (7, 3), (4, 2, 3), (3, 1, 1, 2)])
def test_copies_of_rows_are_the_rows(dtype: Any, shape: tuple[int, ...]) -> None:
    column = (np.random.default_rng(0).standard_normal(shape) * 9).astype(dtype)
    for each in (column, np.moveaxis(np.moveaxis(column, 0, -1).copy(), -1, 0), column[::-1]):
        rows = row_copies(each)
        assert len(rows) == len(each)
        for copy, window in zip(rows, each, strict=True):
            assert (copy.dtype, copy.shape) == (column.dtype, window.shape)
            assert np.array_equal(copy, window)
            assert (copy.flags.owndata, copy.flags.writeable) == (True, True)


def test_rows_that_do_not_fit_as_they_are_take_the_way_through_python(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    class Key(str):
        __slots__ = ()

    readonly, strided = row(), np.stack([row(), row()], 1)[:, 0]
    readonly.flags.writeable = False
    given = {1: {"obs": row()}, 2: row(), 3: {Key("obs"): row()}, 4: strided, 5: readonly, 6: row().astype(np.float64), 7: row().tolist(),
             8: row().astype(">f4")}
    found = policy.infer(given)
    assert all(np.array_equal(each["action"], found[1]["action"]) for each in found.values())
    monkeypatch.setattr(RowReader, "of", classmethod(lambda cls, specs: None))
    slow = Policy(policy.model)
    monkeypatch.setattr(policies.PolicyCore, "make_reader", staticmethod(RowReader.of))
    slow.begin_agents(range(10))
    batch = Batcher(slow)
    batch.extend(given)
    assert all(np.array_equal(each["action"], found[1]["action"]) for each in batch.execute().values())


def test_a_refused_push_leaves_the_row_that_waits() -> None:
    policy = Policy(cervello.Model.load(small_models.noisy()))
    runtime = Runtime()
    runtime.add("npc", policy)
    runtime.begin_agent("npc", 1)
    good = {"obs": row(), "epsilon": row(1, 3)}
    runtime.push("npc", 1, good)
    with pytest.raises(InputError, match="policy 'model', agent 1, input 'epsilon'"):
        runtime.push("npc", 1, {"obs": row(5), "epsilon": row(1, 4)})
    expected = policy.model.run({name: each[None] for name, each in good.items()})["action"][0]
    assert np.array_equal(runtime.run()["npc"][1]["action"], expected)
