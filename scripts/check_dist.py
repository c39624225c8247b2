"""Says whether a folder of built distributions holds what it must, and nothing else.

    python scripts/check_dist.py FOLDER

FOLDER holds one sdist and one wheel, as `HATCH_BUILD_HOOK_ENABLE_CUSTOM=true python -m build` writes them. Needs what the package needs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

POLICIES = tuple(f"cervello/demo/policies/{name}.onnx" for name in ("grazer", "hunter", "scout"))
PACKAGE = ("cervello/__init__.py", "cervello/__main__.py", "cervello/py.typed", *POLICIES)
AROUND = ("pyproject.toml", "mkdocs.yml", "hatch_build.py", "scripts/build_code.py", "README.md", "CHANGELOG.md", "LICENSE-MIT",
          "LICENSE-APACHE", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", ".ci/run", "scripts/test.py", "tests/conftest.py",
          "tests/mutations.py", "examples/cartpole.onnx", "docs/decisions/0001-layout.md")
CODE = "cervello/codegen/object_code/"
# Run by the modules of the wheel: its code must be that of its own sources, and of all functions.
CHECK_CODE = """
import build_code
from cervello.codegen import entry, prebuilt
for level in prebuilt.LEVELS if prebuilt.supported() else ():
    path = prebuilt.FOLDER / f"{level.name}.code"
    found = prebuilt.load(path, level)
    if found is None:
        print(f"{path.name}: expected object code of the wheel's own sources, got " + ("another file" if path.exists() else "none"))
        continue
    for name in sorted({*entry.SHIMS, *build_code.references()} ^ set(found.kernels)):
        print(f"{path.name}: {name} is in one of the two only, the file and the list of what is compiled")
    for name in found.kernels:
        code = found.code(name)
        if code is None:
            print(f"{path.name}: {name} is damaged")
        elif build_code.undefined_symbols(code.code) - build_code.OUTSIDE:
            print(f"{path.name}: {name} refers to names that not every process has")
"""
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


def check_code(wheel: Path) -> list[str]:
    """What is wrong with a wheel's object code."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        paths = [folder, str(Path(__file__).resolve().parent)]
        done = subprocess.run([sys.executable, "-P", "-c", CHECK_CODE], env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, check=True,
                              stdout=subprocess.PIPE, text=True)
    return [f"{wheel.name}: {line}" for line in done.stdout.splitlines()]


def main(folder: Path) -> int:
    sdist, wheel = one(folder, "*.tar.gz"), one(folder, "*.whl")
    with tarfile.open(sdist) as archive:
        in_sdist = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if not name.endswith("/")}
        metadata = next(name for name in in_wheel if name.endswith(".dist-info/METADATA")).partition("/")[0]
    wrong = check(sdist.name, in_sdist, PACKAGE + AROUND,
                  ("cervello/", "clients/", "tests/", "examples/", "benchmarks/", "docs/", "scripts/", ".ci/", ".github/", "pyproject.toml",
                   "hatch_build.py", "mkdocs.yml", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md",
                   "LICENSE-", "PKG-INFO", ".gitignore"))
    wrong += check(wheel.name, in_wheel, (*PACKAGE, f"{metadata}/licenses/LICENSE-MIT", f"{metadata}/licenses/LICENSE-APACHE",
                                          f"{metadata}/entry_points.txt"), ("cervello/", f"{metadata}/"))
    wrong += [f"{sdist.name}: {name} does not belong there" for name in sorted(in_sdist) if name.startswith(CODE)]
    wrong += check_code(wheel)
    lost = {name for name in in_sdist if name.startswith("cervello/")} ^ {
        name for name in in_wheel if name.startswith("cervello/") and not name.startswith(CODE)}
    wrong += [f"{name}: in one of the two only" for name in sorted(lost)]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
