"""`cervello warmup`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cervello as package
from cervello.cli.warmup import COMMON
from cervello.codegen import cache, compiler, linker


def test_what_is_warm_needs_no_compilation(wanderer: Path, cervello: Callable[..., Any]) -> None:
    assert cervello("warmup", wanderer).status == 0
    said = cervello("warmup", wanderer)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("nothing to compile: every kernel was there\n")
    assert f"cache: {cache.folder()} (" in said.out


def test_a_cold_cache_is_filled_once(wanderer: Path, tmp_path: Path) -> None:
    name, features = cache.cpu()  # code for this very CPU, which no package carries
    environment = os.environ | {"CERVELLO_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(Path(package.__file__).parents[1]),
                                "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "cervello", "warmup", str(wanderer)], capture_output=True, text=True,
                              encoding="utf-8", env=environment, timeout=600, check=True)

    cold, warm = run(), run()
    assert cold.stdout.startswith("compiled ")
    assert cold.stderr.startswith(f"compiling kernels for this machine, once; kept in {tmp_path / 'cache'}")
    done, total = map(int, re.findall(r"^compiling kernels for this machine: (\d+) of (\d+) done$", cold.stderr, re.MULTILINE)[0])
    assert 0 <= done < total
    assert warm.stdout.startswith("nothing to compile")
    assert warm.stderr == ""


def test_the_common_kernels_exist() -> None:
    assert len(set(COMMON)) == len(COMMON)
    for name in COMMON:
        assert callable(compiler.find(name))


def test_without_models_the_demo_and_the_common_kernels_are_compiled(cervello: Callable[..., Any]) -> None:
    said = cervello("warmup")
    assert said.status == 0
    assert "cache: " in said.out
    assert all(linker.stored(name) is not None for name in COMMON)
