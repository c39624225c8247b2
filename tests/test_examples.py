"""Every example runs as a stranger would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from pages import assert_shown, blocks, text_of

import cervello

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
GALLERY = {command.removeprefix("$ python examples/"): shown for command, _, shown in (
    block.text.partition("\n") for block in blocks("docs/examples.md", "console"))}  # what the gallery shows, by command


def run(name: str, *arguments: object, folder: Path = ROOT) -> str:
    """What an example prints in a folder; an error of it fails the test."""
    # Where the package is tested from its sources, a program in another folder finds it by this path only.
    found = Path(cervello.__file__).parent.parent
    paths = [str(found), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run([sys.executable, EXAMPLES / name, *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, cwd=folder)
    assert done.returncode == 0, done.stderr
    if shown := GALLERY.get(" ".join([name, *map(str, arguments)])):
        assert_shown(shown, done.stdout)
    return done.stdout


def test_cartpole_stays_upright_in_a_vector_environment(tmp_path: Path) -> None:
    printed = run("cartpole_vector.py", folder=tmp_path)
    mean = re.search(r"mean return ([0-9.]+)", printed)
    assert mean, printed
    assert float(mean[1]) >= 450
    drawn = ElementTree.parse(tmp_path / "cartpole_vector.svg").getroot()
    texts = [each.text for each in drawn.iter() if each.text]
    assert {"CartPole-v1", "cartpole"} <= set(texts)
    assert len([each for each in drawn.iter() if each.tag.endswith("circle")]) >= 48  # a dot for each episode


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


def test_rollback_ends_where_a_game_without_latency_does() -> None:
    printed = run("rollback.py")
    rollbacks = re.search(r"(\d+) rollbacks, (\d+) ticks simulated again, (\d+) hunters came", printed)
    assert rollbacks, printed
    assert all(int(count) > 10 for count in rollbacks.groups())
    assert "were bitwise those without latency; at the end all 240 are" in printed
    assert re.search(r"a snapshot takes \d+ µs and [0-9,]+ bytes, a restore \d+ µs", printed)


def test_environments_play_better_and_better_while_a_policy_is_trained() -> None:
    printed = run("swap_while_training.py")
    means = re.search(r"mean return ([0-9.]+) at first, ([0-9.]+) at last", printed)
    assert means, printed
    assert float(means[1]) < 60
    assert float(means[2]) > 300
    assert "15 versions, errors of the watch: None" in printed
    turned = [float(mean) for mean in re.findall(r"update_weights, last layer times .*mean return ([0-9.]+)", printed)]
    assert turned[0] < 60
    assert turned[1] > 300


def test_agents_near_the_player_decide_more_often() -> None:
    printed = run("level_of_detail.py")
    shares = [float(share) for share in re.findall(r"decided in +([0-9.]+)% of frames", printed)]
    assert len(shares) == 4, printed
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 2 * shares[-1]
    assert re.search(r"frames of 6.0 ms: median [0-9.]+ ms, 95 of 100 within", printed)


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "any_model.py", "cartpole_vector.py", "custom_wrapper.py", "evaluate_and_swap.py", "evaluate_minari.py", "level_of_detail.py",
        "own_ops.py", "rollback.py", "self_play.py", "shared_weights.py", "swap_while_training.py", "train_cartpole.py", "train_ppo.py"}


def test_the_gallery_shows_each_of_them() -> None:
    shown = re.findall(r"^## `([\w./]+)`$", text_of("docs/examples.md"), re.MULTILINE)
    assert shown == [path.name for path in sorted(EXAMPLES.glob("*.py"))] + ["browser"]
    assert all(command.split()[0] in shown for command in GALLERY)
    assert len(next(block.text for block in blocks("docs/examples.md", "py")).splitlines()) < 15  # of self-play


def test_a_policy_evaluated_offline_is_swapped_in() -> None:
    printed = run("evaluate_and_swap.py", 20)
    off = [float(each) for each in re.findall(r"off by ([0-9.]+)", printed)]
    assert len(off) == 3
    assert max(off) < 0.3
    assert "swapped in: bolder, version 2" in printed
