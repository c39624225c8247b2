"""README.md: short, with pictures and figures as they are made. tests/test_documentation.py runs what it shows."""

from __future__ import annotations

import shlex
import subprocess
import sys

from pages import ROOT, blocks, text_of
from server_process import ServerProcess

import cervello
from cervello import bridge
from cervello.demo import policy_path


def test_it_has_two_screens_before_its_limits() -> None:
    assert len(text_of("README.md").partition("\n## Limits\n")[0].splitlines()) <= 100


def test_its_self_play_is_that_of_the_example() -> None:
    (block,) = blocks("README.md", "py")
    assert "envs.Opponents(" in block.text
    assert len(block.text.splitlines()) < 15
    assert block.text in (ROOT / "examples" / "self_play.py").read_text(encoding="utf-8")


def test_its_server_serves() -> None:
    (block,) = blocks("README.md", "bash")
    *words, listen, address = shlex.split(block.text, comments=True)
    assert (words, listen, address[:6]) == (["cervello", "serve", "--demo"], "--listen", "tcp://")
    with ServerProcess("--demo") as server, bridge.Client(server.address) as client:
        assert client.policies == ["grazer", "hunter", "scout"]


def test_the_drawing_is_what_the_command_draws() -> None:
    drawn = cervello.Model.load(policy_path("scout")).plan(64).to_svg()
    assert (ROOT / "docs" / "scout-plan.svg").read_text(encoding="utf-8") == drawn


def test_figures_are_those_of_the_benchmarks() -> None:
    command = [sys.executable, "benchmarks/readme.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
