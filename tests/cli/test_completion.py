"""`cervello completion`: scripts that the shells themselves take."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_without_the_extra_the_error_names_it(cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    said = cervello("completion", "bash")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("cervello: completion: expected the package shtab, got ")
    assert said.err.endswith("; install the extra 'completion'\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_a_script_names_commands_and_options(shell: str, cervello: Callable[..., Any]) -> None:
    pytest.importorskip("shtab")
    said = cervello("completion", shell)
    assert (said.status, said.err) == (0, "")
    for word in ("compare", "doctor", "against", "onnxruntime"):
        assert word in said.out


def completed(script: Path, *words: str, folder: Path) -> list[str]:
    """What bash proposes for the last word."""
    line = " ".join(words)
    program = (f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
               f"COMP_LINE='{line}'; COMP_POINT={len(line)}; _shtab_cervello; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    found = subprocess.run(["bash", "-c", program], cwd=folder, capture_output=True, text=True, timeout=60, check=True,
                           env={"PATH": os.environ["PATH"]})
    return found.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None or sys.platform == "win32", reason="no bash here")
def test_bash_completes_commands_options_choices_and_files(tmp_path: Path, cervello: Callable[..., Any]) -> None:
    pytest.importorskip("shtab")
    script = tmp_path / "script"
    script.write_text(cervello("completion", "bash").out, encoding="utf-8")
    (tmp_path / "racer.onnx").touch()
    assert completed(script, "cervello", "do", folder=tmp_path) == ["doctor"]
    assert completed(script, "cervello", "compare", "--agai", folder=tmp_path) == ["--against"]
    assert completed(script, "cervello", "api", "rac", folder=tmp_path) == ["racer.onnx"]
