"""Every valid real policy, with the wrappers it asks for, in all four inferers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import cervello
from cervello import Model, Policy
from cervello.inferers.testing import same_bits, sample_row, take_row

SIZES = (1, 3, 64)
SLOW = ("az_gomoku15_skyzeroV3", "mlagents_Snake_attention600", "mlagents_Match3")  # large networks: fewer agents, to save time


def observe(specs: Mapping[str, cervello.TensorSpec], agent: int, step: int) -> dict[str, Any]:
    return {name: sample_row(spec, agent, step) for name, spec in specs.items()}


def columns(policy: Policy, n_rows: int, step: int) -> dict[str, Any]:
    rows = [observe(policy.inputs, agent, step) for agent in range(n_rows)]
    return {name: rows[0][name] if spec.batch_axis is None else np.stack([row[name] for row in rows], spec.batch_axis)
            for name, spec in policy.inputs.items()}


def test_all_inferers_give_an_agent_the_same_bits(shared_models: Any, valid_model: str) -> None:
    model = Model.load(shared_models.path(valid_model))
    sizes = (1, 3, 5) if valid_model.startswith(SLOW) else SIZES
    expected: dict[str, Any] = {}
    steps = 1 if valid_model.startswith(SLOW) else 2
    for n_rows in reversed(sizes):
        for inferer in ("memoizing", "basic", "fixed", "dynamic"):
            policy = Policy(model, inferer=inferer, wrappers="auto", seed=5)
            policy.begin_agents(range(n_rows))
            for step in range(steps):
                found = policy.infer_batch(list(range(n_rows)), columns(policy, n_rows, step))
                for name, spec in policy.outputs.items():
                    assert found[name].shape == spec.batched(n_rows)
                    column = expected.setdefault(f"{name} at {step}", found[name])
                    for row in range(n_rows):
                        assert same_bits(take_row(spec, found[name], row), take_row(spec, column, row)), (inferer, n_rows, step, name, row)
    assert expected, "no outputs"


def test_policies_exported_for_one_row_serve_many_agents(shared_models: Any) -> None:
    models = [Model.load(shared_models.path(name)) for name in shared_models.of_kind("valid")]
    assert all(model.batched for model in models)
    for model in (model for model in models if not model.random_nodes):
        policy = Policy(model)
        policy.begin_agents(range(3))
        rows = [observe(model.inputs, agent, 0) for agent in range(3)]
        found = policy.infer(dict(enumerate(rows)))
        for agent, row in enumerate(rows):
            one = model.run({name: np.expand_dims(value, model.inputs[name].batch_axis or 0) for name, value in row.items()})
            for name, spec in model.outputs.items():
                assert same_bits(np.asarray(found[agent][name]), take_row(spec, one[name], 0)), (model.name, name)


def test_there_are_forty_three_of_them(shared_models: Any) -> None:
    assert len(shared_models.of_kind("valid")) == 43
    assert len(shared_models.of_kind("invalid")) == 3


def test_an_invalid_one_is_refused_by_the_name_of_its_dangling_output(shared_models: Any, invalid_model: str) -> None:
    with pytest.raises(cervello.GraphError, match=r"output '.+': expected a node that produces it, found none"):
        cervello.load(shared_models.path(invalid_model), wrappers="auto")


def test_an_older_ml_agents_file_is_drawn_from_by_branch(shared_models: Any) -> None:
    branches = cervello.heads.MultiDiscrete("discrete_actions", [3, 3, 3], mask="action_masks")
    path = shared_models.path("mlagents_SoccerTwos")
    policy = cervello.load(path, wrappers=[cervello.Sample(branches, action="drawn")], seed=7)
    masks = np.ones((256, 9), np.float32)
    masks[:, [0, 5]] = 0
    policy.begin_agents(range(256))
    found = policy.infer_batch(range(256), {"vector_observation": np.zeros((256, 336), np.float32), "action_masks": masks})
    assert [set(column) for column in found["drawn"].T.tolist()] == [{1, 2}, {0, 1}, {0, 1, 2}]
    open_ones = [np.exp(found["discrete_actions"][0, at].astype(np.float64)) for at in ([1, 2], [3, 4], [6, 7, 8])]
    assert [part.sum() for part in open_ones] == pytest.approx([1, 1, 1], abs=1e-5)  # they are log-probabilities
    filled = cervello.load(path, wrappers=[cervello.Fill("action_masks", 1.0), cervello.Sample(branches, action="drawn")])
    assert list(filled.inputs) == ["vector_observation"]
