"""Tested versions of the compiler packages; others are refused with a clear error."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cervello
from cervello.codegen import versions
from cervello.errors import CompilationError

ROOT = Path(cervello.__file__).parents[1]


@pytest.mark.parametrize(("version", "tested"), [
    ("0.60.9", False), ("0.61", True), ("0.61.0rc1", True), ("0.68.1", True), ("0.69.0", False), ("1.0", False), ("", False)])
def test_bounds_are_from_one_version_to_before_another(version: str, tested: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(versions.TESTED, "numba", ("0.61", "0.69"))
    assert versions.is_tested("numba", version) is tested


def test_versions_are_read_without_importing() -> None:
    program = ("import sys; from cervello.codegen import versions; print([versions.installed(name) for name in versions.TESTED]); "
               "print('numba' in sys.modules)")
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120,
                           env=os.environ | {"PYTHONPATH": str(ROOT)}).stdout.splitlines()
    import llvmlite
    import numba
    import numpy
    import onnx

    assert found == [str([numba.__version__, llvmlite.__version__, numpy.__version__, onnx.__version__]), "False"]


def test_untested_versions_are_refused_before_anything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CERVELLO_UNTESTED_NUMBA", raising=False)
    versions.check_numba()
    monkeypatch.setitem(versions.TESTED, "numba", ("1.0", "1.1"))
    with pytest.raises(CompilationError, match=r"codegen: expected numba >= 1\.0 and < 1\.1, within what was run, got .*; "
                                               r"pip install 'numba>=1\.0,<1\.1', or set CERVELLO_UNTESTED_NUMBA=1 to try it"):
        versions.check_numba()
    monkeypatch.setenv("CERVELLO_UNTESTED_NUMBA", "1")
    versions.check_numba()


def test_the_compiler_checks_versions_when_it_is_imported() -> None:
    program = ("from cervello.codegen import versions; versions.TESTED['numba'] = ('1.0', '1.1')\n"
               "try:\n    import cervello.codegen.compiler\nexcept Exception as error:\n    print(type(error).__name__, error)")
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120,
                           env={**os.environ, "PYTHONPATH": str(ROOT), "CERVELLO_UNTESTED_NUMBA": ""}).stdout
    assert found.startswith("CompilationError codegen: expected numba >= 1.0")


def test_pyproject_has_the_same_bounds_and_the_package_its_version() -> None:
    path = ROOT / "pyproject.toml"
    if not path.exists():
        pytest.skip("installed without pyproject.toml")
    facts = tomllib.loads(path.read_text(encoding="utf-8"))
    for package, (low, high) in versions.TESTED.items():
        assert f"{package}>={low},<{high}" in facts["project"]["dependencies"]
    assert "version" not in facts["project"]
    assert facts["tool"]["hatch"]["version"]["path"] == "cervello/__init__.py"
    assert set(versions.TESTED) == {"numba", "llvmlite", "numpy", "onnx"}
