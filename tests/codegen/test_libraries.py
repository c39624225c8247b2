"""Kernels are optimised once, with what is inlined into them; functions that Python may call as well are compiled as numba does it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.codegen import CPUCodeLibrary, JITCodeLibrary

sys.path.insert(0, str(Path(__file__).parent))  # kernels are found by module name

import library_kernels

from cervello.codegen import compiler, entry


def test_a_kernel_is_optimised_once_with_what_is_inlined_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[str] = []
    optimise = CPUCodeLibrary._optimize_final_module
    monkeypatch.setattr(CPUCodeLibrary, "_optimize_final_module", lambda self: (passes.append(self.name), optimise(self)))
    compiler.compile_object("library_kernels:nested")
    assert [name for name in passes if name != "nrt"] == ["nested"]  # nrt: numba's own, made with the first kernel of a process


def test_a_users_function_in_a_kernel_can_still_be_called_from_python() -> None:
    numbers = np.array([1.5, -2.0])
    assert entry.fastcall_ints("library_kernels:doubled")(numbers.ctypes.data) == 0
    assert numbers.tolist() == [3.0, -2.0]
    assert library_kernels.twice(4.0) == 8.0


def test_a_users_function_from_numbas_cache_works_in_a_kernel_and_from_python(tmp_path: Path) -> None:
    (tmp_path / "cached_function.py").write_text(
        "import numba\n"
        "from cervello.codegen.memory import read_f64, write_f64\n"
        "@numba.njit(cache=True)\n"
        "def twice(x):\n"
        "    return x * 2.0\n"
        "def doubled(address):\n"
        "    write_f64(address, 0, twice(read_f64(address, 0)))\n"
        "    return 0\n")
    in_kernel = (
        "import numpy as np\n"
        "import cached_function\n"
        "from cervello.codegen import compiler, entry, linker\n"
        "linker._linked['cached_function:doubled'] = linker._load(compiler.compile_object('cached_function:doubled'))\n"
        "numbers = np.array([1.5])\n"
        "entry.fastcall_ints('cached_function:doubled')(numbers.ctypes.data)\n"
        "print(numbers[0], cached_function.twice(4.0), sum(cached_function.twice.stats.cache_hits.values()))\n")
    in_python = "import cached_function\nprint(cached_function.twice(4.0), sum(cached_function.twice.stats.cache_hits.values()))\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for script, printed in ((in_kernel, "3.0 8.0 0"), (in_kernel, "3.0 8.0 1"), (in_python, "8.0 1")):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
        assert done.stdout.strip() == printed


def test_numba_compiles_other_functions_as_before() -> None:
    compiler.compile_object("library_kernels:nested")
    own = numba.njit("int64(int64)")(lambda x: x + 1)
    assert type(own.overloads[own.signatures[0]].library) is JITCodeLibrary


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_while_a_thread_compiles_kernels_has_numbas_own_code_generator() -> None:
    script = (
        "import os, threading\n"
        "import numba\n"
        "from cervello.codegen import libraries, linker\n"
        "inside, done = threading.Event(), threading.Event()\n"
        "def compile():\n"
        "    with libraries.kernel_libraries():\n"
        "        inside.set()\n"
        "        done.wait()\n"
        "thread = threading.Thread(target=compile, daemon=True)\n"
        "thread.start()\n"
        "inside.wait()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    print(numba.cfunc('int64(int64)')(lambda x: x + 1).ctypes(3), flush=True)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "done.set()\n"
        "thread.join()\n"
        "print(numba.cfunc('int64(int64)')(lambda x: x + 1).ctypes(4))\n")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4", "5"]
