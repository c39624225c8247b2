"""A server's recording is evaluated and converted as docs/operations.md says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from server_process import ServerProcess
from serving import Running

import cervello
from cervello import bridge, recording
from cervello.bridge import Options
from cervello.bridge.recorded_spaces import recorded_spaces
from cervello.bridge.wire import Signature
from cervello.spaces import Spaces

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION = """outputs = ["logits"]

[[wrappers]]
kind = "Sample"
head = {kind = "Categorical", logits = "logits"}
"""
CONVERT = """\
from cervello import recording

recording.to_minari("logs/cartpole.log", "server/cartpole-v0")
"""
N_AGENTS, N_STEPS = 20, 6


def run(folder: Path, *command: str) -> str:
    """What a command of Python prints in a folder."""
    environment = {**os.environ, "MINARI_DATASETS_PATH": str(folder / "datasets"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a candidate, and with logs of a server that has served a described policy."""
    folder = tmp_path_factory.mktemp("played")
    brains = folder / "brains"
    brains.mkdir()
    for target in (brains / "cartpole.onnx", folder / "new.onnx"):
        shutil.copy(ROOT / "examples" / "cartpole.onnx", target)
    (brains / "cartpole.toml").write_text(DESCRIPTION)
    play(brains, folder / "logs")
    return folder


def play(brains: Path, logs: Path) -> None:
    """Plays against a server that records."""
    chance, ids = np.random.default_rng(0), range(N_AGENTS)
    with ServerProcess(brains, "--record", str(logs)) as server, bridge.Client(server.address, name="game") as client:
        policy = client.policy("cartpole")
        for step in range(N_STEPS):
            policy.infer(ids, {"obs": chance.standard_normal((N_AGENTS, 4)).astype(np.float32)}, begin=step == 0).result()
            policy.reward(ids, np.ones(N_AGENTS, np.float32))
        policy.end(ids, terminated=True, inputs={"obs": np.zeros((N_AGENTS, 4), np.float32)})
        client.policy("cartpole")  # an answer: what came before has been done


def test_observations_and_actions_have_the_names_of_inputs_and_outputs(played: Path) -> None:
    episodes = list(recording.read(played / "logs" / "cartpole.log"))
    assert len(episodes) == N_AGENTS
    assert {name: column.shape for name, column in episodes[0].observations.items()} == {"obs": (N_STEPS + 1, 4)}
    assert {name: column.shape for name, column in episodes[0].actions.items()} == {"logits": (N_STEPS, 2), "action": (N_STEPS,)}
    assert np.isfinite(episodes[0].log_prob).all()


def test_the_command_evaluates_another_file_on_a_servers_recording(played: Path) -> None:
    found = run(played, "-m", "cervello", "evaluate", "logs/cartpole.log", "new.onnx", "--head", "categorical:logits")
    assert found.startswith("reliable")


def test_a_candidate_that_knows_its_game_is_evaluated_on_a_servers_recording(played: Path) -> None:
    (played / "new.toml").write_text(DESCRIPTION + """
[spaces]
observation = {kind = "Box", low = -5.0, high = 5.0, shape = [4]}
action = {kind = "Discrete", n = 2}
""")
    assert run(played, "-m", "cervello", "evaluate", "logs/cartpole.log", "new.toml").startswith("reliable")


def test_it_becomes_a_minari_dataset(played: Path) -> None:
    pytest.importorskip("minari", reason="the extra minari is not installed")
    pytest.importorskip("h5py", reason="the extra minari is not installed")
    run(played, "-c", CONVERT)
    found = run(played, "-m", "cervello", "evaluate", "minari:server/cartpole-v0", "new.onnx", "--head", "categorical:logits")
    assert found.startswith("reliable")


def header(tmp_path: Path, description: str) -> tuple[Any, Any]:
    """The spaces in the log of a server that has served a described policy."""
    folder = tmp_path / "brains"
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "cartpole.onnx", folder / "cartpole.onnx")
    (folder / "cartpole.toml").write_text(description)
    with Running(Options(folder, listen=["tcp://127.0.0.1:0"], record=tmp_path / "logs")):
        pass
    log = recording.read(tmp_path / "logs" / "cartpole.log")
    return log.observation_space, log.action_space


def test_without_spaces_in_the_description_a_recording_has_those_of_the_inputs_and_outputs(tmp_path: Path) -> None:
    assert header(tmp_path, DESCRIPTION) == (
        spaces.Dict({"obs": spaces.Box(-np.inf, np.inf, (4,), np.float32)}),
        spaces.Dict({"logits": spaces.Box(-np.inf, np.inf, (2,), np.float32),
                     "action": spaces.Box(-2**63, 2**63 - 1, (), np.int64)}))


def test_spaces_of_the_description_are_recorded_in_the_policys_terms(tmp_path: Path) -> None:
    described = DESCRIPTION + """
[spaces]
observation = {kind = "Box", low = -5.0, high = 5.0, shape = [4]}
action = {kind = "Discrete", n = 2, start = 1}
"""
    assert header(tmp_path, described) == (
        spaces.Dict({"obs": spaces.Box(-5.0, 5.0, (4,), np.float32)}),
        spaces.Dict({"logits": spaces.Box(-np.inf, np.inf, (2,), np.float32), "action": spaces.Discrete(2)}))


def test_parts_of_an_observation_go_to_the_inputs_that_they_feed() -> None:
    box = spaces.Box(-5.0, 5.0, (4,), np.float64)
    game = spaces.Dict({"seen": box, "text": spaces.Text(9)}), spaces.MultiDiscrete([1, 1])
    policy = cervello.load(ROOT / "examples" / "cartpole.onnx", wrappers="auto",
                           spaces=Spaces(game, keys={"seen": "obs"}, action="logits"))
    signature = Signature("cartpole", policy)
    observations, actions = recorded_spaces(policy, signature.inputs, signature.outputs)
    assert observations == spaces.Dict({"obs": spaces.Box(-5.0, 5.0, (4,), np.float32),
                                        "action_mask": spaces.Box(-128, 127, (2,), np.int8)})  # which the drawing head reads
    assert actions["sampled_action"] == spaces.MultiDiscrete([1, 1])
