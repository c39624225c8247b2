"""No kernel accesses a byte outside its operands: every op, real policy and wrapper runs between guard pages.

In processes of their own, so that a fault is a failure that names the case. CERVELLO_GUARD_LONG=1 takes more widths and numbers of rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import guarded
import numpy as np
import pytest
from guarded_cases import ALL_FAMILIES

import cervello
from cervello.native.memory.extents.declaration import KERNELS

_HERE = Path(__file__).parents[1]
_ROOT = Path(next(iter(cervello.__path__))).parent
LONG = ["--long"] if os.environ.get("CERVELLO_GUARD_LONG") else []

pytestmark = pytest.mark.skipif(not guarded.supported(), reason="this system cannot forbid a process some of its memory (mprotect)")


def in_a_process(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a script of this folder."""
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    return subprocess.run([sys.executable, str(_HERE / script), *arguments], env=environment, check=False, capture_output=True, text=True)


def passed(ended: subprocess.CompletedProcess[str]) -> str:
    """The last line of a process that succeeded; a crashed process fails the test with its case."""
    last = ended.stdout.strip().rpartition("\n")[2]
    assert ended.returncode == 0, f"exit status {ended.returncode} in: {last}\n{ended.stderr[-3000:]}"
    return last


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_ops_access_nothing_outside_their_operands(family: str) -> None:
    assert passed(in_a_process("guarded.py", family, *LONG)).startswith(ALL_FAMILIES[family][-1].name)


def test_real_policies_access_nothing_outside_their_operands(shared_models: guarded.Any) -> None:
    assert passed(in_a_process("guarded.py", "models", str(shared_models.folder), *LONG)).startswith(shared_models.of_kind("valid")[-1])


def test_policies_with_wrappers_access_nothing_outside_their_state() -> None:
    assert passed(in_a_process("guarded_policies.py")) == "one_row_only, beginning watched"


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_no_program_with_a_corrupted_word_that_the_verifier_accepts_faults(family: str) -> None:
    refused, ran = passed(in_a_process("mutants.py", family, *LONG)).removeprefix("refused ").split(", ran ")
    assert int(refused) > 20
    assert int(ran) > 20


@pytest.mark.parametrize(("at_end", "offset"), [(True, 12), (False, -1)])
def test_the_harness_sees_a_single_byte_beside_an_array(at_end: bool, offset: int) -> None:
    read = f"import guarded, ctypes; memory = guarded.Guarded({at_end}); a = memory.take(12); print(a[0], flush=True); "
    ended = subprocess.run([sys.executable, "-c", f"{read}print(ctypes.c_uint8.from_address(a.ctypes.data + {offset}).value)"], check=False,
                           capture_output=True, text=True, env=os.environ | {"PYTHONPATH": f"{_HERE}{os.pathsep}{_ROOT}"})
    assert ended.returncode < 0
    assert ended.stdout == "255\n"


@pytest.mark.parametrize(("at_end", "offset"), [(True, -1), (False, 12)])
def test_the_harness_sees_a_byte_written_on_the_side_without_a_guard_page(at_end: bool, offset: int) -> None:
    memory = guarded.Guarded(at_end)
    taken = memory.take(12)
    memory.check()
    guarded.ctypes.c_uint8.from_address(taken.ctypes.data + offset).value = 1
    with pytest.raises(AssertionError, match="wrote outside a stretch of 12 bytes"):
        memory.check()


def test_memory_is_filled_before_use() -> None:
    assert np.isnan(guarded.Guarded(True).empty((3, 5), np.dtype(np.float32))).all()


def test_every_kernel_runs_between_pages() -> None:
    run = {step.kernel for cases in ALL_FAMILIES.values() for case in cases for step in guarded.Model.load(case.build(17)).program.steps}
    assert set(KERNELS) <= run
