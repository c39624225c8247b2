"""The cache of object code: hits, misses, and behaviour without a writable folder."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import cervello
from cervello.codegen import cache, compiler, linker, trust
from cervello.codegen.sources import closure
from cervello.errors import CompilationError

ROOT = Path(next(iter(cervello.__path__))).parent
KERNEL = "cervello.native.kernels.unary:relu"
ENTRY = cache.ObjectCode("symbol", 2, b"\x7fELF\n\n code")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of this test's own."""
    monkeypatch.setenv("CERVELLO_CACHE_DIR", str(tmp_path))
    cache.folder.cache_clear()
    cache.key.cache_clear()
    yield tmp_path
    cache.folder.cache_clear()
    cache.key.cache_clear()


def _fresh(code: str, folder: Path, **variables: str) -> str:
    """Runs Python in another process with this cache folder, and compiles for this CPU instead of using prebuilt code."""
    name, features = cache.cpu()
    environment = os.environ | {"CERVELLO_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT), "NUMBA_CPU_NAME": name,
                                "NUMBA_CPU_FEATURES": features, **variables}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=300)
    return done.stdout.strip()


def test_written_code_is_read(folder: Path) -> None:
    assert cache.read("cervello.b:c") is None
    cache.write("cervello.b:c", ENTRY)
    assert cache.read("cervello.b:c") == ENTRY
    assert (folder / cache.key() / "cervello.b.c.o").is_file()


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: data + b"x", lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\n" + data,
    lambda data: data.replace(b"code", b"c0de"), lambda data: b"{}\ncode", lambda data: b"[1]\ncode", lambda data: b"\xff\n\xff"])
def test_a_damaged_file_is_ignored(folder: Path, damage) -> None:
    cache.write("cervello.b:c", ENTRY)
    path = folder / cache.key() / "cervello.b.c.o"
    path.write_bytes(damage(path.read_bytes()))
    assert cache.read("cervello.b:c") is None


def test_a_damaged_file_is_compiled_again(folder: Path) -> None:
    program = f"from cervello.codegen import linker; print(linker.address('{KERNEL}') != 0)"
    assert _fresh(program, folder) == "True"
    (path,) = folder.glob("*/*relu.o")
    sound = path.read_bytes()
    path.write_bytes(sound[:-9])
    assert _fresh(program, folder) == "True"
    assert json.loads(path.read_bytes().partition(b"\n")[0])["sha256"]
    assert len(path.read_bytes()) == len(sound)


def test_writing_leaves_no_partial_files(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: cache.write(f"cervello.b:k{i % 3}", ENTRY), range(60)))
    assert sorted(p.name for p in (folder / cache.key()).iterdir()) == ["cervello.b.k0.o", "cervello.b.k1.o", "cervello.b.k2.o"]


def test_the_key_names_the_cpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.key()
    for variable, value in (("NUMBA_CPU_NAME", "haswell"), ("NUMBA_CPU_FEATURES", "+avx2")):
        monkeypatch.setenv(variable, value)
        cache.key.cache_clear()
        assert cache.key() != before
        monkeypatch.delenv(variable)


def test_the_key_changes_with_any_kernel_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.key()
    monkeypatch.setattr(cache, "_PACKAGE", folder / "copy")
    files = [folder / "copy" / pattern.replace("*", "k") for pattern in cache._SOURCES]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x = 1")
    keys = {before}
    for changed in (None, *files):
        if changed is not None:
            changed.write_text("x = 2")
        cache.key.cache_clear()
        keys.add(cache.key())
    assert len(keys) == 2 + len(cache._SOURCES)


def test_every_kernel_lies_in_a_file_that_the_key_hashes() -> None:
    package = Path(cache.__file__).parents[1]
    hashed = {path for pattern in cache._SOURCES for path in package.glob(pattern)}
    users = [p for p in package.rglob("*.py") if "from cervello.codegen.compiler import" in p.read_text(encoding="utf-8")]
    assert users
    assert [p for p in users if p not in hashed] == []


def _copied_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, which the key then hashes."""
    copy = folder / "copy" / "cervello"
    shutil.copytree(Path(cache.__file__).parents[1], copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "_PACKAGE", copy)
    cache.key.cache_clear()
    return copy


def test_the_key_changes_with_whatever_kernels_import(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process imports of this package for one kernel of each folder, its packages' own files aside, is in the key."""
    package = _copied_package(folder, monkeypatch)
    keys = {cache.key()}
    imported = [package / name for name in ("native/kernels/abi.py", "noise/layout.py", "codegen/simd.py", "errors.py", "noise/philox.py")]
    assert {p.parent.name for p in imported} >= {"kernels", "noise", "codegen", "cervello"}
    for path in imported:
        path.write_text(path.read_text(encoding="utf-8") + "\n_ = 1\n", encoding="utf-8")
        cache.key.cache_clear()
        keys.add(cache.key())
    assert len(keys) == 1 + len(imported)
    cache.key.cache_clear()


def test_packages_installed_beside_this_one_are_not_hashed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their versions are in the key; reading hundreds of files of theirs would delay every start."""
    package = _copied_package(folder, monkeypatch)
    for name in ("llvmlite", "numba", "numpy"):
        (package.parent / name).mkdir()
        (package.parent / name / "__init__.py").write_text("from numpy import *", encoding="utf-8")
    assert [path for path in cache._sources() if package not in path.parents] == []
    cache.key.cache_clear()


def test_a_comment_within_an_import_hides_nothing(tmp_path: Path) -> None:
    names = ("one", "two", "three", "four", "five")
    for name in names:
        (tmp_path / f"{name}.py").write_text("", encoding="utf-8")
    main = tmp_path / "main.py"
    main.write_text("from . import (  # these (all), and more)\n    one,  # import six\n    two,\n)\nimport three  # , four\n"
                    "from .five import (x)  # and (y\n", encoding="utf-8")
    assert [path.stem for path in closure([main], tmp_path)] == ["five", "main", "one", "three", "two"]


def test_every_import_of_a_hashed_file_is_hashed() -> None:
    """By the parser of Python, where the key reads lines."""
    package = Path(cache.__file__).parents[1]
    hashed = set(cache._sources())
    for path in hashed:
        for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("cervello"):
                names = [statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)]
            elif isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            else:
                continue
            for name in names:
                file = package.parent / (str(name).replace(".", "/") + ".py")
                assert not file.is_file() or file in hashed, f"{path}: {name}"


def test_a_users_kernel_is_compiled_again_when_a_file_changes_that_it_imports(folder: Path) -> None:
    program = "import mine.kernel; from cervello.codegen import entry; print(entry.fastcall_ints('mine.kernel:answer')(1))"
    modules = folder / "modules"
    (modules / "mine").mkdir(parents=True)
    (modules / "mine" / "__init__.py").write_text("")
    (modules / "mine" / "kernel.py").write_text("from .numbers import (  # all of them\n    NUMBER,\n)\n\n"
                                                "def answer(x):\n    return x + NUMBER\n")
    for number in (41, 42):
        (modules / "mine" / "numbers.py").write_text(f"NUMBER = {number}\n")
        assert _fresh(program, folder, PYTHONPATH=os.pathsep.join([str(ROOT), str(modules)])) == str(number + 1)


posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners and modes")


@posix
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_cache_below_a_folder_that_others_can_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, depth: int,
                                                                 ) -> None:
    root = tmp_path / "open" / "private"
    root.mkdir(parents=True)
    monkeypatch.setenv("CERVELLO_CACHE_DIR", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "instead"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "instead")
    cache.folder.cache_clear()
    try:
        assert cache.folder() == root.resolve() / cache.key()
        (root / cache.key(), root, tmp_path / "open")[depth].chmod(mode)
        cache.folder.cache_clear()
        with pytest.warns(RuntimeWarning, match="CERVELLO_CACHE_DIR .*: expected a folder that only you can write to, got other users .*; "
                                                "kernels are kept in .* instead"):
            used = cache.folder()
        assert used is not None
        assert used.is_relative_to((tmp_path / "instead").resolve())
    finally:
        cache.folder.cache_clear()


@posix
def test_a_parent_folder_with_a_sticky_bit_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /tmp does; the cache's own folder may not be one, for others could put files into it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setenv("CERVELLO_CACHE_DIR", str(shared / "mine"))
    cache.folder.cache_clear()
    try:
        used = cache.folder()
        assert used == shared.resolve() / "mine" / cache.key()
        assert used.stat().st_mode & 0o777 == used.parent.stat().st_mode & 0o777 == 0o700
        assert trust.is_owner_only(used)
        used.chmod(0o1777)
        assert not trust.is_owner_only(used)
    finally:
        cache.folder.cache_clear()


@posix
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only the administrator gives folders away")
@pytest.mark.parametrize("depth", [0, 1])
def test_a_folder_of_another_user_is_not_trusted(tmp_path: Path, depth: int) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    assert trust.is_owner_only(folder)
    os.chown((folder, folder.parent)[depth], 12345, 12345)
    assert not trust.is_owner_only(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_a_child_forked_while_another_thread_links_can_link(folder: Path) -> None:
    program = f"""
import os, threading, warnings
from cervello.codegen import linker
warnings.simplefilter("ignore")
inside, go_on = threading.Event(), threading.Event()
def hold():
    with linker._lock, linker.llvm.ffi.lib._lock:
        inside.set()
        go_on.wait()
holder = threading.Thread(target=hold)
holder.start()
inside.wait()
child = os.fork()
if child == 0:
    os._exit(0 if linker.address({KERNEL!r}) else 1)
go_on.set()
holder.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), linker.address({KERNEL!r}) != 0)
"""
    assert _fresh(program, folder) == "0 True"


def test_a_users_kernel_is_compiled_again_when_its_file_changes(folder: Path) -> None:
    program = "import linked_twice; from cervello.codegen import entry; print(entry.fastcall_ints('linked_twice:answer')(1))"
    module = folder / "modules" / "linked_twice.py"
    module.parent.mkdir()
    for number in (41, 42):
        module.write_text(f"def answer(x):\n    return x + {number}\n")
        assert _fresh(program, folder, PYTHONPATH=os.pathsep.join([str(ROOT), str(module.parent)])) == str(number + 1)


def test_without_a_writable_folder_code_stays_in_memory(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    variables = {"CERVELLO_CACHE_DIR": str(blocked), "XDG_CACHE_HOME": str(blocked), "HOME": str(blocked), "LOCALAPPDATA": str(blocked)}
    program = (f"import tempfile; tempfile.tempdir = {str(blocked)!r}\n"
               "from cervello.codegen import cache, linker\n"
               f"print(cache.folder(), linker.address({KERNEL!r}) != 0)")
    assert _fresh(program, blocked, **variables) == "None True"
    one_warning = ("import warnings\nwith warnings.catch_warnings(record=True) as said:\n    warnings.simplefilter('always')\n"
                   f"    import tempfile; tempfile.tempdir = {str(blocked)!r}\n    from cervello.codegen import cache\n"
                   "    cache.folder(), cache.folder()\nprint(*(each.message for each in said))")
    said = _fresh(one_warning, blocked, **variables)
    assert said.startswith(f"CERVELLO_CACHE_DIR {str(blocked)!r}: expected a folder that only you can write to, got ")
    assert said.endswith("; kernels will not be kept, and every process compiles them anew")
    assert said.count("CERVELLO_CACHE_DIR") == 1


def test_another_folder_serves_when_the_first_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    program = "from cervello.codegen import cache; print(cache.folder())"
    home = str(tmp_path / "home")
    assert _fresh(program, blocked, XDG_CACHE_HOME=home, LOCALAPPDATA=home, HOME=home).startswith(home)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners here")
def test_the_folder_is_private_to_the_user(folder: Path) -> None:
    assert cache.folder() is not None
    assert cache.folder().stat().st_mode & 0o077 == 0


def test_a_warm_process_compiles_nothing_and_imports_no_numba(tmp_path: Path) -> None:
    program = (f"from cervello.codegen import linker; linker.address('{KERNEL}')\n"
               "import sys; print('numba' in sys.modules)")
    assert _fresh(program, tmp_path) == "True"
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.o")}
    assert stamps
    assert _fresh(program, tmp_path) == "False"
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.o")} == stamps


def test_processes_that_start_together_compile_once(tmp_path: Path) -> None:
    program = f"from cervello.codegen import linker; linker.address('{KERNEL}')\nimport sys; print('numba' in sys.modules)"
    with ThreadPoolExecutor(3) as pool:
        compiled = list(pool.map(lambda _: _fresh(program, tmp_path), range(3)))
    assert sorted(compiled) == ["False", "False", "True"]


def test_progress_names_each_kernel_and_ends(folder: Path) -> None:
    name = "cervello.native.kernels.casts:u8_to_f32"
    kept, seen = linker._linked.pop(name, None), []
    try:
        with linker.progress(lambda done, total, what: seen.append((done, total, what))):
            linker.link([name])
    finally:
        if kept is not None:
            linker._linked[name] = kept
    assert seen == [(0, 1, name), (1, 1, "")]


def test_a_missing_kernel_is_named() -> None:
    with pytest.raises(CompilationError, match=r"kernel 'cervello\.native\.kernels\.unary:nothing': expected a function of that name"):
        compiler.compile_object("cervello.native.kernels.unary:nothing")


def test_code_that_cannot_be_compiled_is_named() -> None:
    with pytest.raises(CompilationError, match=r"kernel 'cervello\.native\.graph\.dims:written': expected compilable code, got"):
        compiler.compile_object("cervello.native.graph.dims:written")
