"""The Godot 4 client beyond the tests of all clients: its scripts parsed, run by the engine's web build, and its example played."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from godot_project import write_project
from golden import BAD_VALUES, CLIENTS, DATA, FRAMES, ROOT, decode, dump
from languages import ENGLISH, HERE, LANGUAGES, godot_4
from real_server import TIME_LIMIT_S, brains, serving, started
from responder import REPLIES, Responder
from test_clients import VALUES
from test_served import STEPS, WIDTHS, played

if TYPE_CHECKING:
    from engine_4 import Site

Page = Callable[..., list[str]]
SCRIPTS = [*sorted((CLIENTS / "godot4").glob("*.gd")), HERE / "godot4" / "driver_4.gd"]
LINT = {"max-line-length": 140, "max-returns": 30, "max-public-methods": 30, "function-arguments-number": 10, "tab-characters": 1}


def signatures(path: Path) -> dict[str, list[str]]:
    """Public functions and the names of their arguments."""
    found = re.findall(r"^func ([a-z]\w*)\((.*?)\)(?: -> \w+)?:$", path.read_text(encoding="utf-8"), re.M)
    return {name: re.findall(r"(?:^|, )(\w+)", re.sub(r"\{\}", "", arguments)) for name, arguments in found}


@pytest.mark.parametrize(("old", "new"), [("cervello_codec.gd", "cervello_codec_4.gd"), ("cervello_client_3.gd", "cervello_client_4.gd")])
def test_both_godots_have_the_same_calls_and_limits(old: str, new: str) -> None:
    before, after = CLIENTS / "godot" / old, CLIENTS / "godot4" / new
    assert signatures(before) == signatures(after)
    assert len(signatures(after)) >= 5
    limits = [dict(re.findall(r"^const ([A-Z_]+) :?= (\d+)", path.read_text(encoding="utf-8"), re.M)) for path in (before, after)]
    assert limits[0] == limits[1] != {}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_parsed_and_linted(path: Path) -> None:
    pytest.importorskip("gdtoolkit")
    from gdtoolkit.linter import DEFAULT_CONFIG, lint_code

    problems = lint_code(path.read_text(encoding="utf-8"), {**DEFAULT_CONFIG, **LINT})
    assert [f"{problem.line}: {problem.description}" for problem in problems] == []


@pytest.fixture
def site() -> Iterator[Site]:
    pytest.importorskip("websockets")
    from engine_4 import sites

    with sites() as found:
        yield found


@pytest.fixture
def page(site: Site) -> Page:
    """Gives what the driver prints in the engine's web build."""
    from engine_4 import run_page

    return functools.partial(run_page, site)


def test_the_codec_reads_and_writes_golden_frames_and_refuses_bad_values(page: Page) -> None:
    bodies = [*VALUES.values(), *BAD_VALUES.values()]
    lines = page("codec", given="".join(body.hex() + "\n" for body in bodies))
    assert len(lines) == len(bodies)
    for (name, body), line in zip(VALUES.items(), lines, strict=False):
        dumped, _, again = line.partition(" ")
        assert dumped == dump(decode(body)), name
        assert decode(bytes.fromhex(again)) == decode(body), name
        assert len(again) == 2 * len(body), f"{name}: not the shortest form"
    for name, line in zip(BAD_VALUES, lines[len(VALUES):], strict=True):
        assert line.startswith("bad frame: "), f"{name}: {line}"


def test_tcp_s_frames_are_cut_out_of_any_pieces(page: Page) -> None:
    replies = [FRAMES[f"{name}.reply"] for name in ("spec", "begin", "infer")]
    lines = page("pieces", given="".join(frame.hex() + "\n" for frame in [*replies, b"\xff\xff\xff\x7f"]))
    assert lines[:3] == [dump(decode(frame[4:])[3]) for frame in replies]
    assert lines[3:] == ["dead_server|last||, last: a frame of 2147483647 bytes; the limit is 16777216"]


@contextmanager
def responding(greeting: str = "", **options: int) -> Iterator[tuple[Responder, str]]:
    """A responder, and the address of a WebSocket that leads to it."""
    from relay import relayed

    with (Responder(greeting, **options) if greeting else Responder(**options)) as server, relayed(server.address) as address:
        yield server, address


def test_requests_are_the_golden_bytes_and_replies_are_read(page: Page) -> None:
    methods = next(session for session in DATA["sessions"] if session["name"] == "methods")
    sent = [name for what, name in methods["steps"] if what == "send"]
    sent = sent[:sent.index("stats") + 1]
    with responding() as (server, address):
        lines = page("golden", address, "cartpole")
        received = server.received
    assert [body.hex() for body in received[:-3]] == [FRAMES[name][4:].hex() for name in sent]
    assert received[-3:-1] == [FRAMES["notify.reward"][4:], FRAMES["notify.end"][4:]]
    assert lines == [dump(REPLIES[method]) for method in [*(decode(FRAMES[name][4:])[2] for name in sent[1:]), "ping"]]


@pytest.mark.parametrize(("policy", "kind", "cause"), [
    ("draining", "draining", "draining"), ("dead", "dead_server", "clos"), ("silent", "timeout", "no reply within 300 ms"),
    ("bomb", "dead_server", "nested deeper than 8"), ("refused", "refused", "code 5: agents 5, 4")])
def test_errors_name_kind_address_step_and_cause(page: Page, policy: str, kind: str, cause: str) -> None:
    with responding() as (_, address):
        (line,) = page("fail", address, policy, "300" if policy == "silent" else "5000")
    got, step, code, message = line.split("|")
    assert (got, step, code) == (kind, "infer", "5" if policy == "refused" else "")
    assert message.startswith(f"{address}, infer: ")
    assert cause in message


def test_replies_are_matched_by_id_and_agents_are_lost_after_a_reconnect(page: Page) -> None:
    with responding() as (_, address):
        assert sorted(page("overtaken", address, "cartpole")) == sorted([dump(REPLIES["infer"]), dump({})])
    with responding() as (server, address):
        lines = page("restart", address, "cartpole", "restart")
        received = [decode(body)[2] for body in server.received]
    assert [lines[0], *lines[4:]] == [dump(REPLIES["begin"]), dump(REPLIES["begin"]), dump(REPLIES["infer"])]
    failures = [tuple(line.split("|")[:3]) for line in lines[1:4]]
    assert failures == [("dead_server", "infer", ""), ("dead_server", "ping", ""), ("agents_lost", "infer", "")]
    assert received == ["hello", "begin", "infer", "hello", "begin", "infer"]


@pytest.mark.parametrize(("greeting", "kind", "step", "code"), [
    ("silent", "timeout", "hello", ""), ("refused", "refused", "hello", "6"), ("draining", "draining", "hello", "11")])
def test_a_hello_that_fails_says_so_within_its_time(page: Page, greeting: str, kind: str, step: str, code: str) -> None:
    with responding(greeting) as (_, address):
        (line,) = page("connect", address)
    assert line.startswith(f"{kind}|{step}|{code}|{address}, {step}: ")


@pytest.mark.parametrize("name", WIDTHS)
def test_the_client_is_answered_what_the_policy_decides(site: Site, page: Page, name: str, tmp_path: Path) -> None:
    with serving(brains(tmp_path / "brains", name), "ws", options=("--allow-origin", site.origin)) as (address,):
        lines = page("play", address, name, str(WIDTHS[name]), str(STEPS))
    expected = played(LANGUAGES["javascript"], name, address)
    assert lines[:-3] == expected[:-3]
    assert lines[-3].startswith(expected[-3])
    assert b"streams".hex() in lines[-2]
    assert lines[-1] == "1"


@pytest.mark.parametrize(("end", "kind"), [(signal.SIGTERM, "draining"), (signal.SIGKILL, "dead_server")])
def test_a_server_that_drains_and_one_that_was_killed_are_told_apart(site: Site, page: Page, end: signal.Signals, kind: str,
                                                                     tmp_path: Path) -> None:
    from cervello.bridge import Client

    folder, options = brains(tmp_path / "brains", "hunter"), ("--allow-origin", site.origin)
    with started(folder, "tcp", "ws", options=options) as (process, (tcp, address)), ThreadPoolExecutor(1) as threads:
        play = threads.submit(page, "outlive", address, "hunter", str(WIDTHS["hunter"]))
        with Client(tcp, connect_timeout_s=TIME_LIMIT_S) as watching:
            until = time.monotonic() + TIME_LIMIT_S / 2  # rows: then the page has read the reply to begin
            while watching.stats()["policies"]["hunter"]["rows"] < 3 and time.monotonic() < until:
                time.sleep(0.02)
        process.send_signal(end)
        begun, line = play.result(TIME_LIMIT_S)
    assert b"begun".hex() in begun
    assert re.match(rf"{kind}\|infer\|(11)?\|{re.escape(address)}, infer: ", line), line


def test_the_example_plays_a_hundred_frames_in_a_page(site: Site, tmp_path: Path) -> None:
    from engine_4 import running

    folder = tmp_path / "brains"
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "cartpole.onnx", folder)
    with serving(folder, "ws", options=("--allow-origin", site.origin)) as (address,), \
            running(site, CLIENTS / "godot4" / "example.gd", properties=f'address = "{address}"') as engine:
        engine.wait_for("window.printed && (printed.includes('100 frames') || failed.length)")
        assert engine.value("failed") == []


def test_the_example_plays_a_hundred_frames_over_tcp(tmp_path: Path) -> None:
    engine = godot_4()
    folder, project = tmp_path / "brains", tmp_path / "project"
    folder.mkdir()
    project.mkdir()
    shutil.copy(ROOT / "examples" / "cartpole.onnx", folder)
    with serving(folder, "tcp") as (address,):
        write_project(project, CLIENTS / "godot4" / "example.gd", f'address = "{address}"')
        process = subprocess.Popen([*engine, "--path", str(project)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=os.environ | ENGLISH)
        stopped = threading.Timer(TIME_LIMIT_S, process.kill)
        stopped.start()
        try:
            assert process.stdout is not None
            assert "100 frames\n" in iter(process.stdout.readline, "")
        finally:
            stopped.cancel()
            process.terminate()  # a game goes on after the example's frames
            _, complaints = process.communicate(timeout=TIME_LIMIT_S)
        assert complaints == ""
