"""A policy described in TOML."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import small_models
from onnx import TensorProto, helper

import cervello
from cervello.errors import ConfigurationError, MissingFileError


def described(folder: Path, text: str, data: bytes | None = None) -> Path:
    (folder / "racer.onnx").write_bytes(small_models.noisy() if data is None else data)
    (folder / "racer.toml").write_text(text, encoding="utf-8")
    return folder / "racer.toml"


def test_a_description_loads_the_policy_that_its_options_load(tmp_path: Path) -> None:
    path = described(tmp_path, 'seed = 7\ninferer = {kind = "fixed", sizes = [1, 4]}\nwarmup = [4]\n'
                               'name = "night racer"\n'
                               '[[wrappers]]\nkind = "Clip"\nname = "action"\nlow = -0.5\n'
                               '[[wrappers]]\nkind = "Epsilon"\nkey = "epsilon"\n')
    found = cervello.load(path)
    same = cervello.load(tmp_path / "racer.onnx", seed=7, inferer=cervello.inferers.Fixed([1, 4]),
                         wrappers=[cervello.Clip("action", low=-0.5), cervello.Epsilon("epsilon")])
    assert found.name == "night racer"
    assert found.seed == 7
    for policy in (found, same):
        policy.begin_agents([1, 2])
    rows = {"obs": np.random.default_rng(0).standard_normal((2, 6))}
    assert found.infer_batch([1, 2], rows)["action"].tobytes() == same.infer_batch([1, 2], rows)["action"].tobytes()


def test_what_is_given_counts_more_than_the_description(tmp_path: Path) -> None:
    assert cervello.load(described(tmp_path, "seed = 7\n"), seed=9).seed == 9


def test_heads_and_spaces_are_described_too(tmp_path: Path) -> None:
    head = '[[wrappers]]\nkind = "Sample"\nhead = {kind = "Categorical", logits = "logits"}\n'
    policy = cervello.load(described(tmp_path, head, small_models.stochastic()))
    assert "log_prob" in policy.outputs
    spaces = ('wrappers = []\n[spaces]\nobservation = {kind = "Box", low = -1.0, high = 1.0, shape = [6]}\n'
              'action = {kind = "Box", low = -1.0, high = 1.0, shape = [3]}\nbox = "clip"\n')
    policy = cervello.load(described(tmp_path, spaces, small_models.feed_forward()))
    assert policy.predict(np.zeros(6, np.float32))[0].shape == (3,)


@pytest.mark.parametrize(("text", "message"), [
    ("sed = 7", "racer.toml.*'sed'"),
    ("seed = true", "racer.toml.*seed: expected an integer, got True"),
    ("seed = ", "expected TOML"),
    ('inferer = "quick"', "inferer: expected one of basic"),
    ('inferer = {kind = "fixed", size = [1]}', "inferer: expected keys among sizes.*'size'"),
    ('wrappers = ["Epsilon"]', r"wrappers\[0\]: expected a table"),
    ('[[wrappers]]\nkind = "Epsilon"\nkeys = "e"', r"wrappers\[0\]: expected keys among key.*'keys'"),
    ('[[wrappers]]\nkind = "Passive"', r"wrappers\[0\], kind: expected one of Clip"),
    ('[[wrappers]]\nkind = "Sample"\nhead = {kind = "Categorical", logit = "a"}', r"wrappers\[0\], head: expected keys.*'logit'"),
    ("rename = [1]", "rename: expected new names by the file's names"),
    ('rename = {smell = "odour"}', "rename 'smell': expected an input or a computed tensor"),
    ('rename = {obs = "action"}', "rename 'obs': expected a name that no other tensor"),
    ("warmup = [0]", "warmup: expected sizes of at least 1"),
    ('[spaces]\nobservation = {kind = "Box", low = 0}\naction = {kind = "Discrete", n = 2}\n', "spaces, observation"),
])
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        cervello.load(described(tmp_path, text))


def test_a_description_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"racer\.toml"):
        cervello.load(tmp_path / "racer.toml")


def test_renamed_inputs_and_outputs_survive_replacing_updating_and_pickling(tmp_path: Path) -> None:
    path = described(tmp_path, 'rename = {obs = "sight", action = "move"}\n'
                               '[[wrappers]]\nkind = "Epsilon"\nkey = "epsilon"\n')
    found, plain = cervello.load(path), cervello.load(path.with_suffix(".onnx"), wrappers=[cervello.Epsilon("epsilon")])
    assert (list(found.inputs), list(found.outputs)) == (["sight"], ["move"])
    rows = np.random.default_rng(0).standard_normal((3, 6))
    for policy in (found, plain):
        policy.begin_agents([1, 2, 3])

    def check() -> None:
        new, old = found.infer_batch([1, 2, 3], {"sight": rows})["move"], plain.infer_batch([1, 2, 3], {"obs": rows})["action"]
        assert new.tobytes() == old.tobytes()

    check()
    for policy in (found, plain):
        policy.replace(path.with_suffix(".onnx"))
    check()
    weights = {"scale": np.float32(0.5)}
    for policy in (found, plain):
        policy.update_weights(weights)
    check()
    assert list(pickle.loads(pickle.dumps(found)).outputs) == ["move"]


def test_a_tensor_that_branches_read_is_renamed_in_them_too() -> None:
    branches = {f"{side}_branch": helper.make_graph([helper.make_node(op, ["obs", "obs"], [side])], side, [], [
        helper.make_tensor_value_info(side, TensorProto.FLOAT, [1, 3])]) for side, op in (("then", "Add"), ("else", "Mul"))}
    nodes = [small_models.node("ReduceSum", "obs", "sum", keepdims=0), small_models.node("Greater", "sum zero", "big"),
             small_models.node("If", "big", "action", **branches)]
    data = small_models.graph(nodes, {"obs": (TensorProto.FLOAT, (1, 3))}, {"action": (TensorProto.FLOAT, (1, 3))},
                              {"zero": np.float32(0)})
    plain, found = (cervello.Model.load(data, rename=names) for names in (None, {"obs": "x", "action": "y"}))
    for value in (-2.0, 2.0):
        row = np.full((1, 3), value, np.float32)
        assert found.run({"x": row})["y"].tobytes() == plain.run({"obs": row})["action"].tobytes()
