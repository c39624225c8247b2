"""The server answers the golden frames, which were written from the protocol's page alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serving import Running

from cervello.bridge import Options

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0", "unix"])
def test_every_session_goes_as_written(tmp_path: Path, listen: str) -> None:
    folder = tmp_path / "brains"
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "cartpole.onnx", folder)
    address = f"unix:{tmp_path}/s" if listen == "unix" else listen
    with Running(Options(folder, listen=[address])) as running:
        found = subprocess.run([sys.executable, str(ROOT / "scripts" / "golden_frames.py"), "--check", running.address],
                               capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_worked_example_of_the_page_is_made_of_golden_frames() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    golden = (ROOT / "tests" / "data" / "bridge_frames" / "frames.json").read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    (?:[0-9a-f]{2} ?)+\n)+", page, re.MULTILINE)
    assert len(blocks) == 8
    for block in blocks:
        assert "".join(block.split()) in golden
