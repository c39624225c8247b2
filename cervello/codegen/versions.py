"""Tested and installed versions of the compiler packages, read without importing them."""

from __future__ import annotations

import importlib.util
import os
import re
from functools import cache
from pathlib import Path

from cervello.errors import CompilationError

# From this version on, and before that one; the bounds in pyproject.toml are the same. Run, with the same bits: numba 0.61.0 with llvmlite
# 0.44.0, numpy 1.26.0 and onnx 1.17.0; numba 0.61.2, 0.62.1, 0.63.1, 0.64.0, 0.65.1, 0.66.0, 0.67.0 and 0.68.1, each with the newest
# llvmlite, numpy and onnx that it takes.
TESTED = {"numba": ("0.61", "0.69"), "llvmlite": ("0.44", "0.51"), "numpy": ("1.26", "2.5"), "onnx": ("1.17", "1.24")}
_ANYWAY = "CERVELLO_UNTESTED_NUMBA"
_METADATA = re.compile(r"-(.+)\.dist-info$")


@cache
def dist_info(package: str) -> tuple[str, ...]:
    """Names of the folders beside an installed package that describe it, NAME-VERSION.dist-info; none where it is not installed so.

    Source: Python Packaging User Guide, "Recording installed projects".
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return ()
    return tuple(sorted(path.name for path in Path(spec.origin).parents[1].glob(f"{package}-*.dist-info")))


def installed(package: str) -> str:
    """The version of an installed package. Where no folder beside it tells, the metadata of all that is installed is asked, which takes
    part of every start."""
    if described := dist_info(package):
        found = _METADATA.search(described[-1])
        if found is not None:
            return found[1]
    from importlib.metadata import version

    return version(package)


def is_tested(package: str, version: str) -> bool:
    """Whether a version lies within the bounds of `TESTED`."""
    low, high = TESTED[package]
    return _numbers(low) <= _numbers(version) < _numbers(high)


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version: 0.61.2rc1 is (0, 61, 2)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return () if found is None else tuple(map(int, found[0].split(".")))


def check_numba() -> None:
    """Refuses versions of numba and llvmlite beyond those that were run: their private parts are used, so code might be wrong.

    Raises:
      CompilationError: a version outside of `TESTED`, unless CERVELLO_UNTESTED_NUMBA=1.
    """
    if os.environ.get(_ANYWAY) == "1":
        return
    for package in ("numba", "llvmlite"):
        found, (low, high) = installed(package), TESTED[package]
        if not is_tested(package, found):
            raise CompilationError(f"codegen: expected {package} >= {low} and < {high}, within what was run, got {found}; "
                                   f"pip install '{package}>={low},<{high}', or set {_ANYWAY}=1 to try it")
