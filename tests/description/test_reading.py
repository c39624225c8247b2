"""A policy described in TOML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_models

import cervello
from cervello.errors import ConfigurationError, MissingFileError


def described(folder: Path, text: str, data: bytes | None = None) -> Path:
    (folder / "racer.onnx").write_bytes(small_models.noisy() if data is None else data)
    (folder / "racer.toml").write_text(text, encoding="utf-8")
    return folder / "racer.toml"


def test_a_description_loads_the_policy_that_its_options_load(tmp_path: Path) -> None:
    path = described(tmp_path, 'seed = 7\ninferer = {kind = "fixed", sizes = [1, 4]}\nwarmup = [4]\nname = "night racer"\n'
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
    ("warmup = [0]", "warmup: expected sizes of at least 1"),
    ('[spaces]\nobservation = {kind = "Box", low = 0}\naction = {kind = "Discrete", n = 2}\n', "spaces, observation"),
])
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        cervello.load(described(tmp_path, text))


def test_a_description_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"racer\.toml"):
        cervello.load(tmp_path / "racer.toml")
