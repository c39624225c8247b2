"""A server's recording is evaluated and converted as docs/operations.md says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from server_process import ServerProcess

from cervello import bridge, recording

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION = """outputs = ["logits"]

[[wrappers]]
kind = "Sample"
head = {kind = "Categorical", logits = "logits"}
"""
CONVERT = """\
import numpy as np
from gymnasium import spaces

from cervello import recording

observations = spaces.Dict({"obs": spaces.Box(-np.inf, np.inf, (4,), np.float32)})
actions = spaces.Dict({"logits": spaces.Box(-np.inf, np.inf, (2,), np.float32), "action": spaces.Discrete(2)})
recording.to_minari("logs/cartpole.log", "server/cartpole-v0", observation_space=observations, action_space=actions)
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
    chance, ids = np.random.default_rng(0), range(N_AGENTS)
    with ServerProcess(brains, "--record", str(folder / "logs")) as server, bridge.Client(server.address, name="game") as client:
        policy = client.policy("cartpole")
        for step in range(N_STEPS):
            policy.infer(ids, {"obs": chance.standard_normal((N_AGENTS, 4)).astype(np.float32)}, begin=step == 0).result()
            policy.reward(ids, np.ones(N_AGENTS, np.float32))
        policy.end(ids, terminated=True, inputs={"obs": np.zeros((N_AGENTS, 4), np.float32)})
        client.policy("cartpole")  # an answer: what came before has been done
    return folder


def test_observations_and_actions_have_the_names_of_inputs_and_outputs(played: Path) -> None:
    episodes = list(recording.read(played / "logs" / "cartpole.log"))
    assert len(episodes) == N_AGENTS
    assert {name: column.shape for name, column in episodes[0].observations.items()} == {"obs": (N_STEPS + 1, 4)}
    assert {name: column.shape for name, column in episodes[0].actions.items()} == {"logits": (N_STEPS, 2), "action": (N_STEPS,)}
    assert np.isfinite(episodes[0].log_prob).all()


def test_the_command_evaluates_another_file_on_a_servers_recording(played: Path) -> None:
    found = run(played, "-m", "cervello", "evaluate", "logs/cartpole.log", "new.onnx", "--head", "categorical:logits")
    assert found.startswith("reliable")


def test_it_becomes_a_minari_dataset(played: Path) -> None:
    pytest.importorskip("minari", reason="the extra minari is not installed")
    pytest.importorskip("h5py", reason="the extra minari is not installed")
    run(played, "-c", CONVERT)
    found = run(played, "-m", "cervello", "evaluate", "minari:server/cartpole-v0", "new.onnx", "--head", "categorical:logits")
    assert found.startswith("reliable")
