"""Every example runs as a stranger would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cervello

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: object) -> str:
    """What an example prints; an error of it fails the test."""
    # Where the package is tested from its sources, a program in another folder finds it by this path only.
    found = Path(cervello.__file__).parent.parent
    paths = [str(found), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run([sys.executable, EXAMPLES / name, *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, cwd=EXAMPLES.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cartpole_stays_upright_in_a_vector_environment() -> None:
    printed = run("cartpole_vector.py")
    mean = re.search(r"mean return ([0-9.]+)", printed)
    assert mean, printed
    assert float(mean[1]) >= 450


def test_the_cartpole_policy_can_be_found_again(tmp_path: Path) -> None:
    run("train_cartpole.py", tmp_path / "again.onnx")
    x = np.random.default_rng(0).uniform(-1, 1, (200, 4)).astype(np.float32)
    again, committed = (cervello.Model.load(path).run({"obs": x}) for path in (tmp_path / "again.onnx", EXAMPLES / "cartpole.onnx"))
    assert np.allclose(again["logits"], committed["logits"], rtol=1e-3, atol=1e-3)


def test_any_model_shows_a_policy_of_the_demo() -> None:
    printed = run("any_model.py")
    assert "wrappers: Recurrent({'h_in': 'h_out'})" in printed
    assert "agent_2 action" in printed


@pytest.mark.parametrize("name", ["mlagents_Hallway", "overcooked_rllib_lstm", "cervo_test", "robot_kinfer_multiinput"])
def test_any_model_shows_a_model_of_ones_own(shared_models: Any, name: str) -> None:
    printed = run("any_model.py", shared_models.path(name))
    assert name in printed
    assert "after 5 steps" in printed


def test_shared_weights_says_how_much_is_saved() -> None:
    saved = re.search(r"shares ([0-9,]+) of them \((\d+)% saved\)", run("shared_weights.py"))
    assert saved
    assert int(saved[2]) > 80


def test_the_custom_wrapper_keeps_every_promise() -> None:
    printed = run("custom_wrapper.py")
    from cervello.wrappers.testing import WrapperContract

    promises = [name for name in dir(WrapperContract) if name.startswith("test_")]
    assert printed.count("  ok  ") == len(promises)
    assert f"{len(promises)} promises kept" in printed


def test_the_custom_wrapper_is_also_a_test_file() -> None:
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES / "custom_wrapper.py"],
                          capture_output=True, text=True, timeout=300, cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)})
    assert done.returncode == 0, done.stdout
    assert "22 passed" in done.stdout


def test_ops_of_ones_own_run_planned() -> None:
    assert "equal to numpy; steps: ['MatMul', 'com.example.SquaredRelu', 'Add']" in run("own_ops.py")


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"any_model.py", "cartpole_vector.py", "custom_wrapper.py", "own_ops.py",
                                                             "shared_weights.py", "train_cartpole.py"}
