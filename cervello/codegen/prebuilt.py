"""Object code in the wheel, so that a fresh installation does not compile; read only.

    <package>/codegen/object_code/<level>.code the SHA-256 of the next line; a line of JSON; the object code of all kernels

The levels are those of the x86-64 psABI, with exactly its instruction sets. A machine with a level's instruction sets runs its code. Its
results are bitwise those of code compiled for the machine, because kernels have a fixed order of operations (law 1). The line of JSON
holds the key, the compiler's versions, and {reference: [symbol, arity, start, bytes, SHA-256]}.

The key hashes the same as `cache.key` without the versions of Python, numba and llvmlite, because the code does not call them. It needs
`memcpy`, `memset` and six names of Python's stable ABI; `scripts/build_code.py` checks this. Code of other sources, for another system or
with another hash is ignored. Missing code comes from the cache, or is compiled.

Owner and mode of the folder are not checked, because the package's own modules are in the same place.

Source: System V ABI, AMD64 supplement 1.0, table 3.1 (micro-architecture levels).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import llvmlite.binding as llvm

from cervello.codegen import cache
from cervello.codegen.cache import ObjectCode

FOLDER: Final = Path(__file__).resolve().parent / "object_code"
_FORMAT = 1
_V2 = ("cmov", "crc32", "cx16", "cx8", "fxsr", "mmx", "popcnt", "sahf", "sse", "sse2", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")


class Level(NamedTuple):
    """A micro-architecture level. `features` are LLVM's names of its instruction sets; `name` is also LLVM's name of its baseline CPU."""

    name: str
    features: tuple[str, ...]

    @property
    def flags(self) -> str:
        """The features in LLVM's syntax: +avx,+avx2,…"""
        return ",".join(f"+{name}" for name in self.features)


LEVELS: Final = (Level("x86-64-v4", _V4), Level("x86-64-v3", _V3))  # best first


class Prebuilt(NamedTuple):
    """A file of object code for one level. Its header is checked; the code is checked when it is read.

    Attributes:
      kernels: by reference: symbol, arity, first byte after the line of JSON, bytes, SHA-256.
      made_by: the compiler's versions, by package.
      start: offset of the code in the file, in bytes.
    """

    path: Path
    level: Level
    key: str
    kernels: Mapping[str, tuple[str, int, int, int, str]]
    made_by: Mapping[str, str]
    start: int

    def code(self, reference: str) -> ObjectCode | None:
        """The code of a kernel; None if it is absent or damaged."""
        found = self.kernels.get(reference)
        if found is None:
            return None
        symbol, arity, start, n_bytes, expected = found
        try:
            with open(self.path, "rb") as file:
                file.seek(self.start + start)
                code = file.read(n_bytes)
        except OSError:
            return None
        return ObjectCode(symbol, arity, code) if hashlib.sha256(code).hexdigest() == expected else None


def supported() -> bool:
    """Whether this system can build and run prebuilt code: Linux on x86-64, in a 64-bit process."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 1 << 32


def runnable() -> list[Level]:
    """The levels whose code this machine can run, best first."""
    if not supported():
        return []
    host = llvm.get_host_cpu_features()
    return [level for level in LEVELS if all(host.get(name, False) for name in level.features)]


def key(level: Level) -> str:
    """The key of a level's code, a hash of the level and of these sources."""
    return cache.digest(["prebuilt", _FORMAT, platform.machine(), sys.platform, level.name, level.flags])


def write(path: Path, level: Level, entries: Mapping[str, ObjectCode], made_by: Mapping[str, str]) -> None:
    """Writes the code of kernels to one file.

    Args:
      entries: object code by reference.
      made_by: the compiler's versions, by package.

    Raises:
      OSError: it cannot be written.
    """
    kernels: dict[str, tuple[str, int, int, int, str]] = {}
    n_bytes = 0
    for reference, entry in entries.items():
        kernels[reference] = (entry.symbol, entry.arity, n_bytes, len(entry.code), hashlib.sha256(entry.code).hexdigest())
        n_bytes += len(entry.code)
    head = json.dumps({"key": key(level), "made_by": dict(made_by), "kernels": kernels}).encode()
    with open(path, "wb") as file:
        file.write(hashlib.sha256(head).hexdigest().encode() + b"\n" + head + b"\n")
        file.writelines(entry.code for entry in entries.values())


def load(path: Path, level: Level) -> Prebuilt | None:
    """Reads a file of code; None if it is absent, damaged, of other sources or for another system."""
    try:
        with open(path, "rb") as file:
            expected, head = file.readline().rstrip(b"\n"), file.readline()
            start = file.tell()
        if hashlib.sha256(head.rstrip(b"\n")).hexdigest().encode() != expected:
            return None
        facts: dict[str, Any] = json.loads(head)
        if facts["key"] != key(level):
            return None
        return Prebuilt(path, level, facts["key"], facts["kernels"], facts["made_by"], start)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@lru_cache(maxsize=1)
def bundled() -> Prebuilt | None:
    """The package's prebuilt code for the best level of this machine; None if there is none.

    With `NUMBA_CPU_NAME` or `NUMBA_CPU_FEATURES` set, prebuilt code is not used: these variables select another CPU.
    """
    if "NUMBA_CPU_NAME" in os.environ or "NUMBA_CPU_FEATURES" in os.environ or not FOLDER.is_dir():
        return None
    return next(filter(None, (load(FOLDER / f"{level.name}.code", level) for level in runnable())), None)


def read(reference: str) -> ObjectCode | None:
    """The prebuilt code of a kernel for this machine; None if it is absent or damaged."""
    found = bundled()
    return None if found is None else found.code(reference)
