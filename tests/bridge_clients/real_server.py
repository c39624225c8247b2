"""A real `cervello serve` for the clients of other languages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cervello
from cervello.demo import policy_path

TIME_LIMIT_S = 60.0
SEED = 5


def brains(folder: Path, *names: str) -> Path:
    """A folder of the demo's policies as a server takes it."""
    folder.mkdir()
    for name in names:
        shutil.copy(policy_path(name), folder / f"{name}.onnx")
        (folder / f"{name}.toml").write_text(f'wrappers = "auto"\nseed = {SEED}\n', encoding="utf-8")
    return folder


@contextmanager
def started(folder: Path, *schemes: str, options: tuple[str, ...] = ()) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A server of the folder and the addresses on which it listens, one for each scheme (tcp, ws, unix)."""
    listen: list[str] = []
    for scheme in schemes:
        listen += ["--listen", f"unix:{folder.parent / 'socket'}" if scheme == "unix" else f"{scheme}://127.0.0.1:0"]
    process = subprocess.Popen([sys.executable, "-m", "cervello", "serve", str(folder), *listen, *options],
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=os.environ | {"PYTHONPATH": str(Path(cervello.__file__).parents[1])})
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in schemes]
        assert all(line.startswith("listening ") for line in lines), process.communicate(timeout=TIME_LIMIT_S)
        yield process, [line.split()[1] for line in lines]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=TIME_LIMIT_S)


@contextmanager
def serving(folder: Path, *schemes: str, options: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """The addresses of a server that must end with status 0 and without a traceback in its log."""
    with started(folder, *schemes, options=options) as (process, addresses):
        yield addresses
        process.terminate()
        _, log = process.communicate(timeout=TIME_LIMIT_S)
        assert (process.returncode, "Traceback" in log) == (0, False), log
