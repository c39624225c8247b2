"""Says whether a folder of built distributions holds what it must, and nothing else.

    python scripts/check_dist.py FOLDER

FOLDER holds one sdist and one wheel, as `python -m build` writes them.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

POLICIES = tuple(f"cervello/demo/policies/{name}.onnx" for name in ("grazer", "hunter", "scout"))
PACKAGE = ("cervello/__init__.py", "cervello/__main__.py", "cervello/py.typed", *POLICIES)
AROUND = ("pyproject.toml", "mkdocs.yml", "README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", ".ci/run", "scripts/test.py",
          "tests/conftest.py", "tests/mutations.py", "examples/cartpole.onnx", "docs/decisions/0001-layout.md",
          "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md")
FEWEST_MODULES = 50  # a distribution that lost a folder has fewer


def one(folder: Path, pattern: str) -> Path:
    """The only file that matches."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"{folder}: expected one {pattern}, got {[path.name for path in found]}")
    return found[0]


def check(what: str, names: set[str], expected: tuple[str, ...], roots: tuple[str, ...]) -> list[str]:
    """What is wrong with a list of files."""
    wrong = [f"{what}: {name} is missing" for name in expected if name not in names]
    wrong += [f"{what}: {name} does not belong there" for name in sorted(names)
              if "__pycache__" in name or name.endswith(".pyc") or not name.startswith(roots)]
    if sum(name.startswith("cervello/") and name.endswith(".py") for name in names) < FEWEST_MODULES:
        wrong.append(f"{what}: fewer than {FEWEST_MODULES} modules")
    print(f"{what}: {len(names)} files")
    return wrong


def main(folder: Path) -> int:
    sdist, wheel = one(folder, "*.tar.gz"), one(folder, "*.whl")
    with tarfile.open(sdist) as archive:
        in_sdist = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if not name.endswith("/")}
        metadata = next(name for name in in_wheel if name.endswith(".dist-info/METADATA")).partition("/")[0]
    wrong = check(sdist.name, in_sdist, PACKAGE + AROUND,
                  ("cervello/", "clients/", "tests/", "examples/", "benchmarks/", "docs/", "scripts/", ".ci/", ".github/", "pyproject.toml",
                   "mkdocs.yml", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md",
                   "LICENSE-", "PKG-INFO", ".gitignore"))
    wrong += check(wheel.name, in_wheel, (*PACKAGE, f"{metadata}/licenses/LICENSE-MIT", f"{metadata}/licenses/LICENSE-APACHE",
                                          f"{metadata}/entry_points.txt"), ("cervello/", f"{metadata}/"))
    lost = {name for name in in_sdist if name.startswith("cervello/")} ^ {name for name in in_wheel if name.startswith("cervello/")}
    wrong += [f"{name}: in one of the two only" for name in sorted(lost)]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
