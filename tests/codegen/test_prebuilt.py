"""Prebuilt object code in a wheel: when it is used, and when it is refused.

The code is made here for one level and what one policy needs, by the program that makes it for a wheel.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite.binding as llvm
import pytest

import cervello
from cervello.codegen import cache, entry, linker, prebuilt

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import build_code  # noqa: E402

V4, V3 = prebuilt.LEVELS
ENTRIES = {"cervello.b:c": cache.ObjectCode("one", 2, b"first\n code"), "cervello.b:d": cache.ObjectCode("two", 3, b"second")}
POLICY = ROOT / "examples" / "cartpole.onnx"
FIRST = """
import hashlib, sys, cervello, numpy
from cervello.codegen import linker
policy = cervello.load(sys.argv[1], wrappers="auto", seed=3)
policy.begin_agents(range(5))
found = hashlib.sha256()
for _ in range(3):
    random = numpy.random.default_rng(1)
    columns = {name: random.standard_normal(spec.batched(5)).astype(spec.dtype) for name, spec in policy.inputs.items()}
    for name, column in sorted(policy.infer_batch(range(5), columns).items()):
        found.update(name.encode() + numpy.ascontiguousarray(column).tobytes())
print(found.hexdigest(), "numba" in sys.modules, *sorted(linker._linked))
"""
host = pytest.mark.skipif(V3 not in prebuilt.runnable(), reason="this machine cannot run code for x86-64-v3")


def _act(package: Path, **variables: str) -> tuple[str, bool, list[str]]:
    """First actions in a new process: a hash of them, whether numba was imported, what was linked."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU")}
    environment |= {"PYTHONPATH": str(package), **variables}
    done = subprocess.run([sys.executable, "-P", "-c", FIRST, str(POLICY)], env=environment, check=True, capture_output=True, text=True,
                          timeout=300)
    found, numba, *linked = done.stdout.split()
    return found, numba == "True", linked


@pytest.fixture(scope="module")
def compiled() -> tuple[str, list[str]]:
    """The policy's first actions with code compiled for this machine, and the linked kernels."""
    name, features = cache.cpu()
    found, _, linked = _act(Path(cervello.__file__).parents[1], NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
    return found, linked


@pytest.fixture(scope="module")
def installed(compiled: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that carries code for x86-64-v3, as a wheel's installation does."""
    folder = tmp_path_factory.mktemp("installed")
    copy = folder / "cervello"
    shutil.copytree(Path(cervello.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "object_code"))
    subprocess.run([sys.executable, str(ROOT / "scripts" / "build_code.py"), "--level", V3.name, str(copy / "codegen" / "object_code"),
                    *compiled[1]], check=True, timeout=300, env=os.environ | {"PYTHONPATH": str(folder)})
    return folder


@host
def test_the_first_action_with_an_empty_cache_compiles_nothing_and_imports_no_numba(
        installed: Path, compiled: tuple[str, list[str]], tmp_path: Path) -> None:
    found, numba, linked = _act(installed, CERVELLO_CACHE_DIR=str(tmp_path / "empty"))
    assert (found, linked) == compiled, "other bits than those of code compiled for this machine"
    assert not numba
    assert not (tmp_path / "empty").exists()


@host
def test_a_kernel_whose_code_was_changed_is_compiled(installed: Path, compiled: tuple[str, list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(installed, folder)
    path = folder / "cervello" / "codegen" / "object_code" / f"{V3.name}.code"
    kernel = "cervello.native.kernels.runtime.arena_layout:resolve_layout"
    data = bytearray(path.read_bytes())
    start = len(b"".join(data.splitlines(keepends=True)[:2]))
    loaded = prebuilt.load(path, V3)
    assert loaded is not None
    data[start + loaded.kernels[kernel][2] + 70] ^= 1
    path.write_bytes(data)
    assert _act(folder, CERVELLO_CACHE_DIR=str(tmp_path / "code")) == (compiled[0], True, compiled[1])
    assert [each.name for each in (tmp_path / "code").glob("*/*.o")] == [kernel.replace(":", ".") + ".o"]


@host
def test_a_requested_cpu_gets_its_own_code(monkeypatch: pytest.MonkeyPatch, installed: Path) -> None:
    monkeypatch.setattr(prebuilt, "FOLDER", installed / "cervello" / "codegen" / "object_code")
    for variable in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        monkeypatch.delenv(variable, raising=False)
    prebuilt.bundled.cache_clear()
    found = prebuilt.bundled()
    assert found is not None
    assert found.level == V3
    assert set(found.kernels) > set(entry.SHIMS)
    for variable, value in (("NUMBA_CPU_NAME", "haswell"), ("NUMBA_CPU_FEATURES", V3.flags)):
        with monkeypatch.context() as within:
            within.setenv(variable, value)
            prebuilt.bundled.cache_clear()
            assert prebuilt.bundled() is None
    prebuilt.bundled.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package's folder of code for both levels, on a machine that knows both."""
    for level in prebuilt.LEVELS:
        prebuilt.write(tmp_path / f"{level.name}.code", level, ENTRIES, {"numba": "1"})
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path)
    monkeypatch.setattr(prebuilt, "supported", lambda: True)
    for variable in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        monkeypatch.delenv(variable, raising=False)
    _runs_on(monkeypatch, V4.features)
    yield tmp_path
    prebuilt.bundled.cache_clear()


def _runs_on(monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...]) -> None:
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: dict.fromkeys(V4.features, False) | dict.fromkeys(features, True))
    prebuilt.bundled.cache_clear()


def _level() -> str | None:
    prebuilt.bundled.cache_clear()
    found = prebuilt.bundled()
    return None if found is None else found.level.name


def test_written_code_is_read(folder: Path) -> None:
    assert {name: prebuilt.read(name) for name in ENTRIES} == ENTRIES
    assert {name: linker.stored(name) for name in ENTRIES} == ENTRIES
    assert prebuilt.read("cervello.b:e") is None


def test_a_machine_gets_the_best_level_that_it_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _level() == V4.name
    for lacking in sorted(set(V4.features) - set(V3.features)):
        _runs_on(monkeypatch, tuple(name for name in V4.features if name != lacking))
        assert _level() == V3.name
    for lacking in V3.features:
        _runs_on(monkeypatch, tuple(name for name in V4.features if name != lacking))
        assert _level() is None


def test_another_system_gets_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prebuilt, "supported", lambda: False)
    assert _level() is None


def test_code_for_another_level_is_not_used_under_a_levels_name(folder: Path) -> None:
    shutil.copy(folder / f"{V3.name}.code", folder / f"{V4.name}.code")
    assert _level() == V3.name


def test_code_of_other_sources_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = cache._sources()
    first = next(iter(sources))
    monkeypatch.setattr(cache, "_sources", lambda: sources | {first: sources[first] + b"\n"})
    assert _level() is None
    monkeypatch.setattr(cache, "_sources", lambda: sources)
    assert _level() == V4.name


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:64], lambda data: data[:80], lambda data: b"\n" + data, lambda data: b"0" * 64 + data[64:],
    lambda data: data.replace(b'"two"', b'"one"'), lambda data: data.replace(b", 3, ", b", 2, "),
    lambda data: data.replace(b'"key"', b'"KEY"'), lambda data: _headed(b"[]"), lambda data: _headed(b"{}"), lambda data: _headed(b"\xff"),
    lambda data: b"\xff\n\xff\n"])
def test_a_damaged_file_is_ignored(folder: Path, damage: Any) -> None:
    (folder / f"{V3.name}.code").unlink()
    path = folder / f"{V4.name}.code"
    path.write_bytes(damage(path.read_bytes()))
    assert _level() is None
    assert prebuilt.read("cervello.b:d") is None


def _headed(head: bytes) -> bytes:
    return hashlib.sha256(head).hexdigest().encode() + b"\n" + head + b"\n"


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data.replace(b"second", b"sEcond")])
def test_damaged_code_affects_only_its_kernel(folder: Path, damage: Any) -> None:
    path = folder / f"{V4.name}.code"
    path.write_bytes(damage(path.read_bytes()))
    assert prebuilt.read("cervello.b:d") is None
    assert prebuilt.read("cervello.b:c") == ENTRIES["cervello.b:c"]
    path.unlink()  # while the process runs
    assert prebuilt.read("cervello.b:c") is None


def test_every_function_that_is_called_by_reference_is_compiled_ahead() -> None:
    """By the words in the sources that name one, and by what this process has linked for other tests."""
    listed = set(build_code.references())
    package = Path(cervello.__file__).parent
    hashed = {path.relative_to(package.parent) for path in cache._sources()}
    named = {name for name in linker._linked if name.startswith("cervello.")}
    for path in package.rglob("*.py"):
        for name in re.findall(r"cervello(?:\.\w+)+:\w+", path.read_text(encoding="utf-8")):
            module, _, function = name.partition(":")
            of_kernels = Path(module.replace(".", "/") + ".py") in hashed
            if of_kernels and isinstance(getattr(importlib.import_module(module), function, None), FunctionType):
                named.add(name)
    assert len(named) > 15
    assert named - listed == set()


@pytest.mark.skipif(not prebuilt.supported(), reason="object files of other systems have another form")
def test_code_that_refers_to_other_names_is_found() -> None:
    shim = entry.compile_shim(2).code
    assert {name for name in build_code.undefined_symbols(shim) if name} == {
        "PyErr_Occurred", "PyErr_SetString", "cervello_type_error", "PyLong_AsLongLong", "PyLong_FromLongLong", "PyCapsule_GetPointer"}
    assert build_code.undefined_symbols(shim) <= build_code.OUTSIDE
    module = llvm.parse_assembly("declare float @expf(float)\n"
                                 "define float @f(float %x) {\n%y = call float @expf(float %x)\nret float %y\n}")
    foreign = entry._machine().emit_object(module)
    assert build_code.undefined_symbols(foreign) - build_code.OUTSIDE == {"expf"}
