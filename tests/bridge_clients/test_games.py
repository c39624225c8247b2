"""The games to see: a page and a Godot project in which the demo's policies play through a real server. Each keeps its picture."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from golden import CLIENTS, ROOT
from languages import ENGLISH, tool
from real_server import TIME_LIMIT_S, brains, serving, started

TICKS = 60


def size(picture: bytes) -> tuple[int, int]:
    """Width and height of a PNG."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", picture[16:24])


def keep(picture: bytes, name: str, folder: Path) -> None:
    """Writes a picture into the folder that PICTURES names, else into the test's."""
    (Path(os.environ.get("PICTURES", folder)) / name).write_bytes(picture)


def test_a_page_plays_a_crowd(tmp_path: Path) -> None:
    pytest.importorskip("websockets")
    from browser import opened, pages

    canvas = "document.querySelector('canvas')"
    colours = f"new Set(new Uint32Array({canvas}.getContext('2d').getImageData(0, 112, 960, 640).data.buffer)).size"
    folder = brains(tmp_path / "brains", "hunter", "grazer")
    with pages(ROOT) as origin, started(folder, "ws", options=("--allow-origin", origin)) as (server, (address,)), \
            opened(f"{origin}/examples/browser/index.html?server={address}", tmp_path / "profile", 960, 752) as page:
        page.wait_for(f"Number({canvas}?.dataset.tick) >= {TICKS}")
        assert page.value(f"Number({canvas}.dataset.eaten)") > 300  # about 100 where everybody acts on chance
        assert page.value(colours) > 20
        picture = page.picture()
        server.terminate()
        page.wait_for(f"{canvas}.ariaLabel.startsWith('draining: {address}, ')")
        assert server.wait(TIME_LIMIT_S) == 0
    assert size(picture) == (960, 752)
    keep(picture, "browser.png", tmp_path)


def play(engine: list[str], folder: Path, *arguments: str) -> None:
    """The Godot project plays TICKS ticks against a server of its own, without an error of a script."""
    with serving(brains(folder / "brains", "hunter", "grazer"), "tcp") as (address,):
        done = subprocess.run([*engine, "--path", str(CLIENTS / "godot"), f"--server={address}", f"--ticks={TICKS}", *arguments],
                              capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False, env=os.environ | ENGLISH)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "SCRIPT ERROR" not in said, said
    result = re.search(rf"^> {TICKS} ticks, (\d+) eaten, (\d+) living$", done.stdout, re.M)
    assert result is not None, said
    eaten, living = map(int, result.groups())
    assert eaten > 150  # about 50 where everybody acts on chance
    assert 100 <= living <= 135


@contextmanager
def display() -> Iterator[dict[str, str]]:
    """A virtual X display."""
    process = subprocess.Popen([tool("Xvfb"), "-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield {"DISPLAY": f":{int(process.stdout.readline())}"}
    finally:
        process.terminate()
        process.communicate(timeout=TIME_LIMIT_S)


def test_a_godot_project_plays_a_crowd_without_a_screen(tmp_path: Path) -> None:
    play([tool("godot3-server")], tmp_path)


def test_a_godot_project_draws_a_crowd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tool("godot3")
    with display() as environment:
        monkeypatch.setenv("DISPLAY", environment["DISPLAY"])
        play([engine, "--audio-driver", "Dummy"], tmp_path, f"--picture={tmp_path / 'drawn.png'}")
    picture = (tmp_path / "drawn.png").read_bytes()
    assert size(picture) == (960, 752)
    assert len(picture) > 20_000  # an empty field has fewer
    keep(picture, "godot3.png", tmp_path)
