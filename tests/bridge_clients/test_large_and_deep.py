"""Long replies arrive over WebSockets, and nested headers cost no client memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import small_models
from golden import BOMB, dump
from languages import ENGLISH, LANGUAGES, Language, is_godot, run
from real_server import serving

import cervello

WIDE = 100_000  # outputs of an agent: a reply to three has 1.2 MB


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, bytes]]:
    """The address of a server, and what it must answer to three agents."""
    pytest.importorskip("websockets")
    folder = tmp_path_factory.mktemp("brains")
    (folder / "wide.onnx").write_bytes(small_models.feed_forward(width=2, hidden=4, actions=WIDE))
    policy = cervello.load(folder / "wide.onnx")
    policy.begin_agents([1, 2, 3])
    row, column = np.mgrid[:3, :2]
    outputs = policy.infer_batch([1, 2, 3], {"obs": (((7 * row + column) % 11 - 5) / 4).astype(np.float32)})
    with serving(folder, "ws") as (address,):
        yield address, outputs["action"].tobytes()


@pytest.mark.parametrize("name", [name for name, language in LANGUAGES.items() if "ws" in language.schemes])
def test_replies_of_a_megabyte_arrive_over_a_websocket(name: str, build: Callable[[str], list[str]], served: tuple[str, bytes]) -> None:
    address, action = served
    lines = run(build(name), "play", address, "wide", "2", "1")
    assert lines[1] == dump({"agents": [1, 2, 3], "outputs": {"action": action}, "skipped": [], "version": 1, "tick": 0})


def peak_bytes(command: list[str], body: bytes, tmp_path: Path) -> int:
    """What a driver's process needs at most to refuse a body, the least of three times."""
    given = tmp_path / "body.hex"
    given.write_text(body.hex() + "\n")
    godot = is_godot(command)
    found = []
    for _ in range(3):
        with given.open() as lines:
            process = subprocess.Popen(command if godot else [*command, "codec", str(given)], stdin=lines, stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, env=os.environ | ENGLISH | {"DRIVER": f"codec {given}"})
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        assert process.returncode == 0
        assert b"bad frame: " in said
        found.append(usage.ru_maxrss * 1024)
    return min(found)


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs a Unix")
def test_nested_headers_cost_no_client_a_megabyte(language: Language, driver: list[str], tmp_path: Path) -> None:
    """Against a body of the same length that is refused at its first byte."""
    if language is LANGUAGES["javascript"]:
        pytest.skip("Node's heap is looked at itself, in test_node_and_pages")
    known = peak_bytes(driver, b"\xc1" + BOMB[1:], tmp_path)
    assert peak_bytes(driver, BOMB, tmp_path) - known < 1 << 20
