"""Compiles all kernels of the package ahead, for the levels of x86-64 that a wheel carries code for.

    python scripts/build_code.py FOLDER

Writes FOLDER/x86-64-v3.code and FOLDER/x86-64-v4.code, each by a process of its own, since numba learns at its import what CPU it
compiles for. Takes minutes; the build of a wheel does it where HATCH_BUILD_HOOK_ENABLE_CUSTOM=true (see hatch_build.py). Any CPU of the
system will do: nothing of the code is run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import struct
import subprocess
import sys
import types
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Modules whose public functions are all compiled and called by reference; steps and blocks are listed where the verifier looks them up.
MODULES = tuple(f"cervello.{name}" for name in (
    "agents.membership.table_kernels", "native.kernels.roofline", "native.kernels.filling", "native.kernels.links",
    "native.kernels.observations", "native.kernels.runtime.arena_layout", "native.kernels.runtime.control",
    "native.kernels.runtime.execution", "native.kernels.runtime.frames", "native.kernels.runtime.thread_pool", "native.kernels.storing",
    "native.kernels.visit_flow", "noise.arguments", "noise.kernels", "wrappers.kernels"))
# What object code may refer to: names that every process has that loads it, whatever the versions of Python, numba and llvmlite.
OUTSIDE = frozenset({"", "memcpy", "memset", "PyErr_Occurred", "PyErr_SetString", "cervello_type_error", "PyLong_AsLongLong",
                     "PyLong_FromLongLong", "PyCapsule_GetPointer"})


def references() -> list[str]:
    """Every function of the package that is ever compiled, as `package.module:name`, sorted; builtins around them not included."""
    from cervello.native.memory import extents  # noqa: F401  (its modules declare the kernels)
    from cervello.native.memory.extents.blocks import BLOCKS
    from cervello.native.memory.extents.declaration import KERNELS

    found = {*BLOCKS, *KERNELS}
    for module in map(importlib.import_module, MODULES):
        found |= {f"{module.__name__}:{name}" for name, value in vars(module).items()
                  if isinstance(value, types.FunctionType) and value.__module__ == module.__name__ and not name.startswith("_")}
    return sorted(found)


def undefined_symbols(code: bytes) -> set[str]:
    """Names that an ELF object file of 64 bits, little end first, leaves to others.

    Source: System V ABI, chapter 4, "Object Files".
    """
    (table,), (size, count) = struct.unpack_from("<Q", code, 0x28), struct.unpack_from("<HH", code, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, table + size * i) for i in range(count)]
    found = set()
    for _, kind, _, _, start, n_bytes, link, _, _, _ in sections:
        if kind == 2:  # a table of symbols
            names = sections[link][4]
            for at in range(start, start + n_bytes, 24):
                name, _, _, section = struct.unpack_from("<IBBH", code, at)
                if section == 0:
                    found.add(code[names + name:code.index(b"\0", names + name)].decode())
    return found


def compile_level(path: Path, level_name: str, only: Iterable[str] = ()) -> None:
    """Compiles for a level, in a process that was started for it, and writes the file.

    Args:
      only: references; without any, all.
    """
    from cervello.codegen import compiler, entry, prebuilt

    level = next(each for each in prebuilt.LEVELS if each.name == level_name)
    entries = {name: entry.compile_shim(arity) for name, arity in entry.SHIMS.items()}
    entries |= {name: compiler.compile_object(name) for name in only or references()}
    for name, each in entries.items():
        if foreign := undefined_symbols(each.code) - OUTSIDE:
            sys.exit(f"{name}: expected code that refers to {sorted(OUTSIDE - {''})} only, got {sorted(foreign)}; "
                     "it would depend on the versions of what it was compiled with")
    prebuilt.write(path, level, entries, {"python": sys.version.split()[0], **{name: version(name) for name in ("numba", "llvmlite")}})
    print(f"{path.name}: {len(entries)} functions, {path.stat().st_size:,} bytes", flush=True)


def build(folder: Path, only: Iterable[str], level_names: Iterable[str]) -> bool:
    """Compiles for each level in a process of its own, at the same time.

    Returns:
      Whether all succeeded; those that did not have said why.
    """
    from cervello.codegen import prebuilt

    folder.mkdir(parents=True, exist_ok=True)
    children = []
    for level in prebuilt.LEVELS:
        if level.name in level_names:
            environment = os.environ | {"NUMBA_CPU_NAME": level.name, "NUMBA_CPU_FEATURES": level.flags}
            command = [sys.executable, str(Path(__file__).resolve()), "--compile", level.name, str(folder), *only]
            children.append(subprocess.Popen(command, env=environment))
    statuses = [child.wait() for child in children]
    return not any(statuses)


def main() -> int:
    from cervello.codegen import prebuilt

    names = [level.name for level in prebuilt.LEVELS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to write the files")
    parser.add_argument("only", nargs="*", metavar="package.module:name", help="compile these functions alone (default: all)")
    parser.add_argument("--level", choices=names, help="write code for this level alone (default: all)")
    parser.add_argument("--compile", choices=names, help=argparse.SUPPRESS)  # in a process that `build` has started
    arguments = parser.parse_args()
    if arguments.compile:
        compile_level(arguments.folder / f"{arguments.compile}.code", arguments.compile, arguments.only)
        return 0
    if not prebuilt.supported():
        print("object code is made on Linux on x86-64 only, so none is written here; kernels compile when they are first used")
        return 0
    return 0 if build(arguments.folder, arguments.only, [arguments.level] if arguments.level else names) else 1


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
