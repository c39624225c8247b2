"""Tests the project as it is installed: a fresh virtual environment, a regular install, pytest.

    python scripts/test.py [arguments of pytest]

The environment is `.venv-test` beside this folder; it is made anew each time and left there, git ignores it. What is tested is the
installed package, not the folder `cervello`. Warnings are errors (pyproject.toml says so). Only the standard library is needed.

Exit status: pytest's; 2 when the environment cannot be made.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-test"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def step(what: str, command: list[str]) -> int:
    """Shows and runs a command of the new environment; returns its exit status."""
    print(f"\n--- {what}: {shlex.join(command)}", flush=True)
    # A path to sources would hide what has been installed.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    start = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    print(f"--- {what}: {time.monotonic() - start:.0f} s" + (f", exit status {status}" if status else ""), flush=True)
    return status


def main(arguments: list[str]) -> int:
    if Path(sys.prefix).resolve() == VENV:
        print(f"{VENV.name}: expected a Python from outside, got the environment that is about to be made anew; deactivate it",
              file=sys.stderr)
        return 2
    python = str(PYTHON)
    found = "import cervello, pathlib, sys; print(cervello.__file__); sys.exit(pathlib.Path(sys.prefix) not in pathlib.Path(" \
            "cervello.__file__).parents)"
    # -P keeps this folder off the import path: `import cervello` must find the installed one.
    for what, command in (("environment", [sys.executable, "-m", "venv", "--clear", str(VENV)]),
                          ("install", [python, "-m", "pip", "install", ".[test]"]),
                          ("installed", [python, "-P", "-c", found])):
        if step(what, command):
            return 2
    return step("tests", [python, "-P", "-m", "pytest", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
