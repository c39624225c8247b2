"""The example of training: torch learns, Cervello acts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import cervello

pytest.importorskip("torch")

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "train_ppo.py"


def test_a_learner_trains_on_experience_of_both_actors(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)}
    command = [sys.executable, "-W", "ignore", str(EXAMPLE), "--steps", "32768"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    recent = re.findall(r"mean return of the last 100 episodes +([\d.]+)", done.stdout)
    assert float(recent[-1]) > 60  # one that learns nothing has 22
    assert re.search(r"acting in cervello: [\d.]+% of the time", done.stdout)
    assert re.search(r"acting in torch: [\d.]+% of the time", done.stdout)
    assert "CartPole-v1, while training" in ElementTree.parse(tmp_path / "train_ppo.svg").getroot()[0].text
    played = re.search(r"^train_ppo +([\d.]+)", done.stdout, re.MULTILINE)
    assert played is not None
    assert float(played[1]) > 60
    policy = cervello.load(tmp_path / "train_ppo.onnx")
    assert list(policy.outputs) == ["logits"]
