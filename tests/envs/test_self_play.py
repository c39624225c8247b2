"""The example of self-play, with a real learner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cervello

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("pettingzoo.classic", reason="pettingzoo's classic games")

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "self_play.py"


def test_a_learner_plays_against_its_own_past(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(cervello.__file__).parent.parent)}
    command = [sys.executable, "-W", "ignore", str(EXAMPLE)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    assert "generation_3" in done.stdout
    assert (tmp_path / "self_play.svg").read_text(encoding="utf-8").startswith("<svg")
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == [f"generation_{k}.onnx" for k in range(4)]
