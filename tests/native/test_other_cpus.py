"""The same bits from code for older and other CPUs, in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import native_digest
import pytest

import cervello

GEMM = "cervello.native.kernels.gemm:gemm"
_WIDE = ("avx512", "avx10", "amx")
_SKYLAKE = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})
_ROOT = Path(next(iter(cervello.__path__))).parent


def _features(kept: frozenset[str]) -> str | None:
    """The host's features without wide ones, `kept` excepted; None when the host cannot run such code."""
    host = llvm.get_host_cpu_features()
    if not all(host.get(name, False) for name in ("avx2", "fma", *kept)):
        return None
    return ",".join(f"{'+' if on and (name in kept or not name.startswith(_WIDE)) else '-'}{name}" for name, on in host.items())


def _elsewhere(cpu: str, features: str, folder: Path, *arguments: str) -> str:
    """What the digest script prints when its code is compiled for another CPU."""
    environment = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "CERVELLO_CACHE_DIR": str(folder),
                                "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, str(Path(native_digest.__file__)), *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def here() -> str:
    return native_digest.digest()


def test_code_for_haswell_gives_the_hosts_bits_and_touches_no_wider_register(here: str, tmp_path: Path) -> None:
    features = _features(frozenset())
    if features is None:
        pytest.skip("the host lacks avx2 or fma")
    digest, _, assembly = _elsewhere("haswell", features, tmp_path, GEMM).partition("\n")
    assert digest == here
    assert re.search(r"\bv?fmadd\w*ps\b.*%ymm", assembly), "no fused multiply-add on ymm registers: is this the kernel?"
    wider = re.findall(r"%(?:zmm\d+|[xy]mm(?:1[6-9]|[23]\d)|k[0-7])\b", assembly)
    assert not wider, sorted(set(wider))


def test_code_for_skylake_x_gives_the_hosts_bits(here: str, tmp_path: Path) -> None:
    features = _features(_SKYLAKE)
    if features is None:
        pytest.skip("the host lacks avx512")
    digest, _, assembly = _elsewhere("skylake-avx512", features, tmp_path, GEMM).partition("\n")
    assert digest == here
    assert "%zmm" in assembly


def test_a_cpu_has_a_cache_folder_of_its_own(tmp_path: Path) -> None:
    features = _features(frozenset())
    if features is None:
        pytest.skip("the host lacks avx2 or fma")
    script = "from cervello.codegen import cache; print(cache.key())"
    keys = set()
    for name, flags in (("haswell", features), ("haswell", features.replace("+fma", "-fma")), ("skylake-avx512", features)):
        environment = os.environ | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": flags, "PYTHONPATH": str(_ROOT),
                                    "CERVELLO_CACHE_DIR": str(tmp_path)}
        keys.add(subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True).stdout)
    assert len(keys) == 3
