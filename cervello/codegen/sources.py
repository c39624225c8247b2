"""Finds the source files of compiled code: files of functions, and the files of the same package that they import.

Import statements are parsed, not executed. Only import statements at the start of a line are followed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)#]*(?:#[^\n]*[^)#]*)*\)|[^\n]*)|import[ \t]+([^\n]*))",
                     re.MULTILINE)
_COMMENT = re.compile(r"#[^\n]*")
_NAME = re.compile(r"[\w.]+")


def closure(roots: Iterable[str | os.PathLike[str]], base: str | os.PathLike[str], outside: Container[str] = ()) -> dict[Path, bytes]:
    """The files and the files below `base` that they import, directly or indirectly: contents by path, sorted.

    A package's `__init__` is included only if a name that is not a module is imported from it.

    Args:
      base: the folder of top-level packages and modules; for installed packages, site-packages.
      outside: top-level packages that are not followed.
    """
    files = _Files()
    found: dict[str, bytes] = {}
    waiting = [path for path in (os.fspath(root) for root in roots) if files.has(*os.path.split(path))]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        with open(path, "rb") as file:
            found[path] = text = file.read()
        for imported in _imported(path, text, os.fspath(base), outside, files):
            if imported not in seen:
                seen.add(imported)
                waiting.append(imported)
    return {Path(path): found[path] for path in sorted(found)}


class _Files:
    """Lookup of existing files; each folder is read once."""

    def __init__(self) -> None:
        self._files: dict[str, set[str]] = {}
        self._folders: dict[str, set[str]] = {}

    def _read(self, folder: str) -> None:
        entries: list[os.DirEntry[str]] = []
        with contextlib.suppress(OSError), os.scandir(folder or ".") as found:
            entries.extend(found)
        self._folders[folder] = {entry.name for entry in entries if entry.is_dir()}
        self._files[folder] = {entry.name for entry in entries} - self._folders[folder]

    def has(self, folder: str, name: str) -> bool:
        """Whether the file exists."""
        if folder not in self._files:
            self._read(folder)
        return name in self._files[folder]

    def has_folder(self, path: str) -> bool:
        """Whether the folder exists."""
        parent, name = os.path.split(path)
        if parent not in self._folders:
            self._read(parent)
        return name in self._folders[parent]

    def of_module(self, path: str) -> str | None:
        """The file of a module or package; None if it does not exist."""
        folder, name = os.path.split(path)
        if self.has(folder, name + ".py"):
            return path + ".py"
        return os.path.join(path, "__init__.py") if self.has_folder(path) and self.has(path, "__init__.py") else None


def _statements(text: bytes) -> Iterator[re.Match[bytes]]:
    """Yields import statements; only lines that contain "import" are matched."""
    at = text.find(b"import")
    while at >= 0:
        match = _IMPORT.match(text, text.rfind(b"\n", 0, at) + 1)
        if match is not None:
            yield match
        at = text.find(b"import", at + 6 if match is None else max(match.end(), at + 6))


def _imported(path: str, text: bytes, base: str, outside: Container[str], files: _Files) -> Iterator[str]:
    """The files that one file imports."""
    for match in _statements(text):
        source, names, modules = (_COMMENT.sub("", part.decode("ascii", "replace")) if part else "" for part in match.groups())
        if modules:
            for module in modules.split(","):
                words = _NAME.findall(module)  # "a.b as c"
                if words and words[0].partition(".")[0] not in outside:
                    file = files.of_module(os.path.join(base, *words[0].split(".")))
                    if file is not None:
                        yield file
            continue
        level = len(source) - len(source.lstrip("."))
        if not level and source.partition(".")[0] in outside:
            continue
        folder = base
        if level:
            folder = path
            for _ in range(level):
                folder = os.path.dirname(folder)
        module = os.path.join(folder, *source.lstrip(".").split(".")) if source.strip(".") else folder
        words = [found[0] for found in map(_NAME.findall, names.strip("()").split(",")) if found]  # "a as b"; "" after a trailing comma
        submodules = [files.of_module(os.path.join(module, word)) for word in words] if files.has_folder(module) else [None]
        yield from filter(None, submodules)
        if None in submodules or "*" in names:
            file = files.of_module(module)
            if file is not None:
                yield file
