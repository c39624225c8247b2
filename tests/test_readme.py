"""README.md does what it says: its Python runs and prints what it shows, its commands run, what it names is there.

A Python block is followed by a text block with what it prints. A console block shows a command and what it prints, where numbers are
not compared and a line of `...` stands for any lines.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cervello
from cervello.demo import policy_path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(*kinds: str) -> list[tuple[str, str]]:
    """(kind, text) of fenced blocks, in order."""
    return [found for found in re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL) if found[0] in kinds]


def commands() -> list[str]:
    """`cervello …` lines of shell blocks."""
    lines = "".join(text for _, text in blocks("sh")).splitlines()
    return [line.partition("  #")[0].rstrip() for line in lines if line.startswith("cervello ")]


def run(command: str, folder: Path) -> str:
    """What a `cervello …` command prints in a folder with a copy of the examples."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    found = str(Path(cervello.__file__).parent.parent)
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    done = subprocess.run([sys.executable, "-m", *shlex.split(command)], cwd=folder, capture_output=True, text=True, encoding="utf-8",
                          timeout=300, env={**environment, "PYTHONPATH": found, "PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_blocks_run_in_order_and_print_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    found = blocks("python", "text")
    assert [kind for kind, _ in found] == ["python", "text"] * (len(found) // 2)
    names: dict[str, object] = {"__name__": "__main__"}
    for (_, source), (_, shown) in zip(found[::2], found[1::2], strict=True):
        exec(compile(source, "README.md", "exec"), names)
        assert capsys.readouterr().out == shown


@pytest.mark.parametrize("command", commands())
def test_the_commands_run(command: str, tmp_path: Path) -> None:
    assert run(command, tmp_path)


def test_every_command_is_shown() -> None:
    assert {line.split()[1] for line in commands()} == {"api", "benchmark", "demo", "plan", "profile", "run", "warmup"}


def numberless(text: str) -> str:
    return re.sub(r"-?\d[\d,.]*", "#", " ".join(text.replace("─", "").split()))


@pytest.mark.parametrize("block", [text for _, text in blocks("console")])
def test_the_console_shows_what_commands_print(block: str, tmp_path: Path) -> None:
    command, _, shown = block.partition("\n")
    pattern = " ?.* ?".join(re.escape(numberless(part)) for part in re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE))
    printed = numberless(run(command.removeprefix("$ "), tmp_path))
    assert re.fullmatch(pattern, printed), printed


def test_the_drawing_is_what_the_command_draws() -> None:
    drawn = cervello.Model.load(policy_path("scout")).plan(64).to_svg()
    assert (ROOT / "docs" / "scout-plan.svg").read_text(encoding="utf-8") == drawn


def test_what_it_names_is_there() -> None:
    named = set(re.findall(r"\b((?:benchmarks|docs|examples|scripts|tests)/[\w./-]*\w|(?<=\]\()[\w./-]+(?=\)))", TEXT))
    assert len(named) > 20
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def test_self_play_is_what_the_example_does_in_under_15_lines() -> None:
    shown = next(text for _, text in blocks("py"))
    assert shown in (ROOT / "examples" / "self_play.py").read_text(encoding="utf-8")
    assert len(shown.splitlines()) < 15
