"""The same bits on other CPUs and under other floating-point modes; no numba in a process with a warm cache."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cervello.codegen import linker
from cervello.noise import KERNELS

PROGRAM = """
import hashlib, sys
import numpy as np
from cervello.noise import Streams, derive_keys
digest = hashlib.sha256()
slots = np.arange(150)
keys = np.zeros((150, 2), np.uint64)
derive_keys(slots, slots % 3, slots % 2, 7, slots, keys)
streams = Streams(keys, slots * 5)
digest.update(keys.tobytes())
for kind in (streams.fill_normal, streams.fill_fast_normal, streams.fill_uniform):
    for n, width in ((1, 1), (1, 36), (150, 2), (37, 6), (150, 700)):
        out = np.full((n, width), np.nan, np.float32)
        kind(out, slots[:n], 3, 0.7, slots[:n] % 5 == 1)
        digest.update(out.tobytes())
print(digest.hexdigest(), "numba" in sys.modules)
"""


def run(environment: dict[str, str], program: str = PROGRAM) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_a_warm_process_never_imports_numba(environment: dict[str, str]) -> None:
    linker.link(KERNELS)
    run(environment)  # the cache is warm now, even for the shims
    assert run(environment)[1] == "False"


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="another architecture")
def test_haswell_code_gives_the_same_bits(environment: dict[str, str], tmp_path: Path) -> None:
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    if not (features.get("avx2") and features.get("fma")):
        pytest.skip("this CPU cannot run Haswell code")
    for name in features:
        if name.startswith(("avx512", "avx10", "amx")):
            features[name] = False
    haswell = {
        **environment, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features.flatten(),
        "CERVELLO_CACHE_DIR": str(tmp_path)}
    here, there = run(environment), run(haswell)
    assert there[1] == "True"  # compiled afresh
    assert here[0] == there[0]


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="fesetround of x86 and glibc")
def test_another_rounding_mode_gives_the_same_bits(environment: dict[str, str]) -> None:
    upward = "import ctypes, ctypes.util\nround = ctypes.CDLL(ctypes.util.find_library('m')).fesetround\n"
    program = PROGRAM.replace("        kind(", "        round(0x800)\n        kind(").replace(
        "        digest.update(out", "        round(0)\n        digest.update(out")
    assert run(environment, upward + program)[0] == run(environment)[0]
