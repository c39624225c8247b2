"""Tested and installed versions of the compiler packages, read without importing them."""

from __future__ import annotations

import importlib.util
import os
import re
from functools import cache
from pathlib import Path

from cervello.errors import CompilationError

# (first version, first version above) by package; pyproject.toml has the same bounds. Tested, with bitwise equal results: numba 0.61.0 with
# llvmlite 0.44.0, numpy 1.26.0 and onnx 1.17.0; numba 0.61.2, 0.62.1, 0.63.1, 0.64.0, 0.65.1, 0.66.0, 0.67.0 and 0.68.1, each with the
# newest llvmlite, numpy and onnx that it supports.
TESTED = {"numba": ("0.61", "0.69"), "llvmlite": ("0.44", "0.51"), "numpy": ("1.26", "2.5"), "onnx": ("1.17", "1.24")}
_ANYWAY = "CERVELLO_UNTESTED_NUMBA"
_METADATA = re.compile(r"-(.+)\.dist-info$")


@cache
def dist_info(package: str) -> tuple[str, ...]:
    """Names of an installed package's metadata folders, NAME-VERSION.dist-info; () if there are none beside the package.

    Source: Python Packaging User Guide, "Recording installed projects".
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return ()
    return tuple(sorted(path.name for path in Path(spec.origin).parents[1].glob(f"{package}-*.dist-info")))


def installed(package: str) -> str:
    """The version of an installed package: from its metadata folder, else from importlib.metadata, which is slower to import."""
    if described := dist_info(package):
        found = _METADATA.search(described[-1])
        if found is not None:
            return found[1]
    from importlib.metadata import version

    return version(package)


def is_tested(package: str, version: str) -> bool:
    """Whether a version is within the bounds of `TESTED`."""
    low, high = TESTED[package]
    return _numbers(low) <= _numbers(version) < _numbers(high)


def _numbers(version: str) -> tuple[int, ...]:
    """The release numbers of a version: 0.61.2rc1 is (0, 61, 2)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return () if found is None else tuple(map(int, found[0].split(".")))


def check_numba() -> None:
    """Refuses untested versions of numba and llvmlite: this package uses their private interfaces, so compiled code could be wrong.

    Raises:
      CompilationError: a version is outside of `TESTED`, and CERVELLO_UNTESTED_NUMBA is not 1.
    """
    if os.environ.get(_ANYWAY) == "1":
        return
    for package in ("numba", "llvmlite"):
        found, (low, high) = installed(package), TESTED[package]
        if not is_tested(package, found):
            raise CompilationError(f"codegen: expected {package} >= {low} and < {high}, within what was run, got {found}; "
                                   f"pip install '{package}>={low},<{high}', or set {_ANYWAY}=1 to try it")
