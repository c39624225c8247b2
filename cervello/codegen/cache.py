"""A persistent cache of object code on disk, one file per kernel.

numba's own cache is not used: it misses edits in another file, raises at import when nothing is writable and can mix up two CPUs that
share a folder. The key of this cache hashes every kernel source and its imports from this package, the versions of numba, llvmlite and
Python, and the CPU's name and features. A stale file therefore has another key and is never found.

    <root>/<key>/<kernel>.o     a line of JSON {symbol, arity, sha256}, then the object code
    <root>/<key>/.lock          held while a process compiles, so that concurrent workers compile each kernel once

The root is `CERVELLO_CACHE_DIR`, else the user's cache folder, else a temporary folder: the first that only this user can write to. If
there is none, the code stays in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm

from cervello.codegen import versions
from cervello.codegen.sources import closure
from cervello.codegen.trust import is_owner_only, make_private

_PACKAGE = Path(__file__).resolve().parent.parent
# source files of all compiled functions
_SOURCES = ("codegen/*.py", "codegen/math/*.py", "noise/*.py", "native/kernels/*.py", "native/kernels/runtime/*.py",
            "agents/membership/table_kernels.py", "wrappers/kernels.py")
_VERSIONED = frozenset({"llvmlite", "numba", "numpy"})  # not hashed as sources: the key contains the compiler's versions


class ObjectCode(NamedTuple):
    """Machine code for one function: `int64 symbol(int64, …)` of `arity` words in numba's calling convention."""

    symbol: str
    arity: int
    code: bytes


def cpu() -> tuple[str, str]:
    """Name and features of the CPU that code is compiled for, by numba's own environment variables or the host's."""
    name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    return name, llvm.get_host_cpu_features().flatten() if features is None else features


@lru_cache(maxsize=1)
def key() -> str:
    """The name of the cache folder: a hash of this machine and of these sources."""
    facts = [sys.implementation.cache_tag, platform.machine(), sys.platform, *cpu()]
    return digest([*facts, *(_version(name) for name in ("numba", "llvmlite"))])


def digest(facts: Iterable[object]) -> str:
    """A hash of facts and of the sources of all compiled functions of this package."""
    hashed = hashlib.sha256("\0".join(map(str, facts)).encode())
    for path, text in _sources().items():
        hashed.update(path.name.encode() + b"\0" + text + b"\0")
    return hashed.hexdigest()[:24]


def _version(package: str) -> str:
    """The version of an installed package: its dist-info folders, else its metadata."""
    return " ".join(versions.dist_info(package)) or versions.installed(package)


def _sources() -> dict[Path, bytes]:
    """The source files of all compiled functions of this package and of their imports: contents by path."""
    return closure((path for pattern in _SOURCES for path in _PACKAGE.glob(pattern)), _PACKAGE.parent, _VERSIONED)


def _candidates() -> Iterator[Path]:
    if named := os.environ.get("CERVELLO_CACHE_DIR"):
        yield Path(named)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        if local:
            yield Path(local) / "cervello" / "code"
    elif sys.platform == "darwin":
        yield Path.home() / "Library" / "Caches" / "cervello"
    else:
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cervello"
    user = getattr(os, "getuid", lambda: os.environ.get("USERNAME", "user"))()
    yield Path(tempfile.gettempdir()) / f"cervello-{user}"


@lru_cache(maxsize=1)
def folder() -> Path | None:
    """The folder for this key, private to the user; None when nothing is writable."""
    found, skipped = None, {}
    for root in _candidates():
        path, reason = _usable(root)
        if not reason:
            found = path
            break
        skipped[str(root)] = reason
    named = os.environ.get("CERVELLO_CACHE_DIR")
    if named and (why := skipped.get(str(Path(named)))):
        instead = ("will not be kept, and every process compiles them anew" if found is None
                   else f"are kept in {str(found.parent)!r} instead")
        warnings.warn(f"CERVELLO_CACHE_DIR {named!r}: expected a folder that only you can write to, got {why}; kernels {instead}",
                      RuntimeWarning, stacklevel=2)
    return found


def refused() -> dict[str, str]:
    """Candidates that were skipped before `folder()`: reason by path."""
    found = {}
    for root in _candidates():
        _, reason = _usable(root)
        if not reason:
            break
        found[str(root)] = reason
    return found


def _usable(root: Path) -> tuple[Path, str]:
    """The folder for this key below a root, and the reason why it cannot be used; "" if it can."""
    path = root / key()
    try:
        path = path.resolve()
        make_private(path)
        if not is_owner_only(path):
            return path, "other users can write there, and code from there would be executed"
        with tempfile.NamedTemporaryFile(dir=path):
            return path, ""
    except (OSError, RuntimeError) as error:
        return path, getattr(error, "strerror", None) or str(error)


def has(reference: str) -> bool:
    """Whether the cache contains a kernel."""
    path = _file(reference)
    return path is not None and path.is_file()


def _file(reference: str) -> Path | None:
    base = folder()
    if base is None:
        return None
    module = reference.partition(":")[0]
    version = "" if module.startswith("cervello.") else _source_hash(module)
    if version is None:
        return None
    return base / (reference.replace(":", ".") + version + ".o")


def _source_hash(module: str) -> str | None:
    """A hash of a user's module, which `key` does not hash, and of its imports from its own package or folder. None if the module has no
    file, as in a notebook; its code is then not cached."""
    origin = getattr(sys.modules.get(module), "__file__", None)
    if origin is None and module not in sys.modules:
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(module)
            origin = spec.origin if spec is not None else None
    if not origin or not os.path.isfile(origin):
        return None
    path = Path(origin)
    digest = hashlib.sha256()
    for source, text in closure([path], path.parents[module.count(".")], {_PACKAGE.name, *_VERSIONED}).items():
        digest.update(source.name.encode() + b"\0" + text + b"\0")
    return "." + digest.hexdigest()[:16]


def read(reference: str) -> ObjectCode | None:
    """The cached code of a kernel; None if it is absent or damaged."""
    path = _file(reference)
    if path is None:
        return None
    try:
        head, _, code = path.read_bytes().partition(b"\n")
        facts = json.loads(head)
        if hashlib.sha256(code).hexdigest() == facts["sha256"]:
            return ObjectCode(facts["symbol"], facts["arity"], code)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def write(reference: str, entry: ObjectCode) -> None:
    """Stores code: writes a temporary file, then renames it, so that readers never see a partial file. A full disk is not an error."""
    path = _file(reference)
    if path is None:
        return
    head = {"symbol": entry.symbol, "arity": entry.arity, "sha256": hashlib.sha256(entry.code).hexdigest()}
    with contextlib.suppress(OSError):
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as temporary:
            temporary.write(json.dumps(head).encode() + b"\n" + entry.code)
        os.replace(temporary.name, path)


_held_locks: set[Any] = set()  # lock files


def _forget_locks() -> None:
    """Closes the lock files in a forked child: the parent holds these locks."""
    for lock in _held_locks:
        lock.close()
    _held_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Holds the lock that admits one compiling process at a time; does nothing without a cache folder."""
    base = folder()
    if base is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            lock = stack.enter_context(open(base / ".lock", "a+b"))
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
                stack.callback(lambda: (lock.seek(0), msvcrt.locking(lock.fileno(), msvcrt.LK_UNLCK, 1)))
            else:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX)
            _held_locks.add(lock)
            stack.callback(_held_locks.discard, lock)
        yield
