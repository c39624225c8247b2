"""Resolves kernel references to addresses: from memory, from the package's prebuilt code, from the cache, or by compiling.

`address("cervello.native.kernels.gemm:gemm")` is a dict lookup after the first call. A kernel is compiled at most once per process, and
once per machine while its source is unchanged.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import llvmlite.binding as llvm

from cervello.codegen import cache, prebuilt
from cervello.errors import CompilationError


class Linked(NamedTuple):
    """A function in memory."""

    address: int
    arity: int


Progress = Callable[[int, int, str], None]  # done, total, reference of the kernel that is compiled next ("" at the end)

_linked: dict[str, Linked] = {}
_engines: list[Any] = []  # keep the machine code alive
_lock = threading.RLock()
_progress: list[Progress] = []


def _forget_locks() -> None:
    """Replaces locks in a forked child, where the thread that held a lock does not exist; also llvmlite's and numba's locks.

    A fork does not wait for a running compilation, because hooks of other modules may hold a lock that the compiling thread needs.
    """
    global _lock
    _lock = threading.RLock()
    owners = [llvm.ffi.lib._lock]
    if "numba.core.compiler_lock" in sys.modules:
        owners.append(sys.modules["numba.core.compiler_lock"].global_compiler_lock)
    for owner in owners:
        with contextlib.suppress(AttributeError):  # other versions may have no such attribute
            if owner._lock.acquire(blocking=False):
                owner._lock.release()
            else:
                owner._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


@contextlib.contextmanager
def progress(callback: Progress | None) -> Iterator[None]:
    """Reports compilation inside the block to `callback`."""
    if callback is None:
        yield
        return
    _progress.append(callback)
    try:
        yield
    finally:
        _progress.remove(callback)


def _load(entry: cache.ObjectCode) -> Linked:
    if not _engines:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    # One engine per object: symbols compiled by two processes may collide, and an engine refuses duplicate symbols.
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(entry.code))
    engine.finalize_object()
    address = engine.get_function_address(entry.symbol)
    if not address:
        raise CompilationError(f"object code of {entry.symbol!r}: expected that symbol, found none; delete the cache folder")
    _engines.append(engine)
    return Linked(address, entry.arity)


def stored(reference: str) -> cache.ObjectCode | None:
    """Stored code: the package's prebuilt code, else the cache's."""
    return prebuilt.read(reference) or cache.read(reference)


def is_stored(reference: str) -> bool:
    """Whether the function's code is prebuilt or cached."""
    found = prebuilt.bundled()
    return (found is not None and reference in found.kernels) or cache.has(reference)


def link(references: Iterable[str]) -> None:
    """Links functions into this process; compiles those that are not stored, and reports progress."""
    wanted = [name for name in dict.fromkeys(references) if name not in _linked]
    if not wanted:
        return
    with _lock:
        missing = []
        for name in wanted:
            entry = stored(name)
            if entry is None:
                missing.append(name)
            else:
                _linked.setdefault(name, _load(entry))
        if not missing:
            return
        with cache.compiling():
            for done, name in enumerate(missing):
                for report in _progress:
                    report(done, len(missing), name)
                entry = cache.read(name)  # another process may have compiled it while this one waited
                if entry is None:
                    from cervello.codegen import compiler

                    entry = compiler.compile_object(name)
                    cache.write(name, entry)
                _linked[name] = _load(entry)
            for report in _progress:
                report(len(missing), len(missing), "")


def linked(reference: str) -> Linked:
    """The function's address and number of words."""
    found = _linked.get(reference)
    if found is None:
        link([reference])
        found = _linked[reference]
    return found


def address(reference: str) -> int:
    """The function's address."""
    return linked(reference).address
