"""Which files compiled code is made of: those of its functions, and all that they import of the same package.

Found by reading import statements and not by importing, so that it is cheap and nothing runs. Code that imports by other means than
statements at the start of a line is not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))", re.MULTILINE)
_COMMENT = re.compile(rb"#[^\n]*")
_NAME = re.compile(r"[\w.]+")


def closure(roots: Iterable[Path], base: Path) -> list[Path]:
    """The files, and all files below a folder that they import, directly or through others; sorted.

    A package's `__init__` counts only where something is imported from it that is no module of its own.

    Args:
      base: the folder that top-level packages and modules lie in.
    """
    waiting = [path for path in roots if path.is_file()]
    found = set(waiting)
    while waiting:
        path = waiting.pop()
        for imported in _imported(path, base):
            if imported not in found:
                found.add(imported)
                waiting.append(imported)
    return sorted(found)


def _imported(path: Path, base: Path) -> Iterator[Path]:
    """The files that one file imports."""
    for match in _IMPORT.finditer(_COMMENT.sub(b"", path.read_bytes())):
        source, names, modules = (part.decode("ascii", "replace") if part else "" for part in match.groups())
        if modules:
            for module in modules.split(","):
                words = _NAME.findall(module)  # "a.b as c"
                if words:
                    yield from _file(base / words[0].replace(".", "/"))
            continue
        level = len(source) - len(source.lstrip("."))
        folder = path.parents[level - 1] if level else base
        module_path = folder / source.lstrip(".").replace(".", "/")
        inside = True
        for part in names.strip("()").split(","):
            words = _NAME.findall(part)  # "a as b", or nothing behind the last comma
            if words:
                submodules = list(_file(module_path / words[0]))
                yield from submodules
                inside &= bool(submodules)
        if not inside or "*" in names:
            yield from _file(module_path)


def _file(module: Path) -> Iterator[Path]:
    """The file of a module or package, where it lies there."""
    for path in (module.with_name(module.name + ".py"), module / "__init__.py"):
        if path.is_file():
            yield path
            return
