"""The JavaScript client in a headless Chromium, over WebSockets, against golden frames and a responder made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from golden import BAD_VALUES, CLIENTS, DATA, FRAMES, decode, dump
from languages import HERE
from responder import REPLIES, Responder
from test_clients import VALUES

pytest.importorskip("websockets")
from browser import opened, pages
from relay import relayed

Run = Callable[..., list[str]]
DRIVER = "/tests/bridge_clients/javascript/driver.html"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Plays a scenario in the page and gives the lines that it prints."""
    root = site(tmp_path_factory.mktemp("site"))
    profile = Path(tmp_path_factory.mktemp("chromium")) / "profile"
    with pages(root) as origin, opened(origin + DRIVER, profile, 320, 240) as page:
        page.wait_for("window.run !== undefined")

        def play(*given: str, bodies: Sequence[bytes] = ()) -> list[str]:
            (root / "given.hex").write_text("".join(body.hex() + "\n" for body in bodies))
            page.value(f"void run({json.dumps(given)})")
            page.wait_for("window.printed !== null")
            printed: list[str] = page.value("window.printed")
            return printed

        yield play


def site(root: Path) -> Path:
    """A folder for the browser, with the client and its driver at their places."""
    for folder, source in (("clients/javascript", CLIENTS / "javascript"), ("tests/bridge_clients/javascript", HERE / "javascript")):
        (root / folder).parent.mkdir(parents=True)
        (root / folder).symlink_to(source)
    return root


@contextmanager
def responding(greeting: str = "reply", frame_bytes: int = 16 << 20) -> Iterator[tuple[Responder, str]]:
    """A responder, and the address of a WebSocket that leads to it."""
    with Responder(greeting, frame_bytes) as server, relayed(server.address) as address:
        yield server, address


def test_the_codec_reads_and_writes_golden_frames_and_refuses_bad_values(run: Run) -> None:
    bodies = [*VALUES.values(), *BAD_VALUES.values()]
    lines = run("codec", bodies=bodies)
    assert len(lines) == len(bodies)
    for (name, body), line in zip(VALUES.items(), lines, strict=False):
        dumped, _, again = line.partition(" ")
        assert dumped == dump(decode(body)), name
        assert decode(bytes.fromhex(again)) == decode(body), name
        assert len(again) == 2 * len(body), f"{name}: not the shortest form"
    for name, line in zip(BAD_VALUES, lines[len(VALUES):], strict=True):
        assert line.startswith("bad frame: "), f"{name}: {line}"


def test_requests_are_the_golden_bytes_and_replies_are_read(run: Run) -> None:
    methods = next(session for session in DATA["sessions"] if session["name"] == "methods")
    sent = [name for what, name in methods["steps"] if what == "send"]
    sent = sent[:sent.index("stats") + 1]
    with responding() as (server, address):
        lines = run("golden", address, "cartpole")
        received = server.received
    assert [body.hex() for body in received[:-3]] == [FRAMES[name][4:].hex() for name in sent]
    assert received[-3:-1] == [FRAMES["notify.reward"][4:], FRAMES["notify.end"][4:]]
    assert lines == [dump(REPLIES[method]) for method in [*(decode(FRAMES[name][4:])[2] for name in sent[1:]), "ping"]]


@pytest.mark.parametrize(("policy", "kind", "cause"), [
    ("draining", "draining", "draining"), ("dead", "dead_server", "clos"), ("silent", "timeout", "no reply within 300 ms"),
    ("bomb", "dead_server", "nested deeper than 8"), ("refused", "refused", "code 5: agents 5, 4")])
def test_errors_name_kind_address_step_and_cause(run: Run, policy: str, kind: str, cause: str) -> None:
    with responding() as (_, address):
        (line,) = run("fail", address, policy, "300" if policy == "silent" else "5000")
    got, step, code, message = line.split("|")
    assert (got, step, code) == (kind, "infer", "5" if policy == "refused" else "")
    assert message.startswith(f"{address}, infer: ")
    assert cause in message


def test_replies_are_matched_by_id_and_agents_are_lost_after_a_reconnect(run: Run) -> None:
    with responding() as (_, address):
        assert sorted(run("overtaken", address, "cartpole")) == sorted([dump(REPLIES["infer"]), dump({})])
    with responding() as (server, address):
        lines = run("restart", address, "cartpole", "restart")
        received = [decode(body)[2] for body in server.received]
    assert [lines[0], *lines[4:]] == [dump(REPLIES["begin"]), dump(REPLIES["begin"]), dump(REPLIES["infer"])]
    assert [line.split("|")[:2] for line in lines[1:4]] == [["dead_server", "infer"], ["dead_server", "ping"], ["agents_lost", "infer"]]
    assert received == ["hello", "begin", "infer", "hello", "begin", "infer"]


@pytest.mark.parametrize(("greeting", "kind", "step"), [("silent", "timeout", "hello"), ("refused", "refused", "hello"),
                                                        ("draining", "draining", "hello")])
def test_a_hello_that_fails_says_so_within_its_time(run: Run, greeting: str, kind: str, step: str) -> None:
    with responding(greeting) as (_, address):
        (line,) = run("connect", address)
    assert line.startswith(f"{kind}|{step}|")
    assert f"|{address}, {step}: " in line


def test_a_page_of_the_public_web_needs_a_permission_and_is_told_so(tmp_path: Path) -> None:
    """Chromium takes the page's address for a public one, as that of a game's site; the server is on loopback."""
    with pages(site(tmp_path / "site")) as origin, responding() as (server, address):
        public = f"--ip-address-space-overrides={origin.removeprefix('http://')}=public"
        with opened(origin + DRIVER, tmp_path / "profile", 320, 240, public) as page:
            page.wait_for("window.run !== undefined")
            page.value("void navigator.permissions.query({ name: 'loopback-network' }).then(() => { window.known = true; }, "
                       "() => { window.known = false; })")
            page.wait_for("window.known !== undefined")
            if not page.value("window.known"):
                pytest.skip("this browser has no permission for loopback")

            def play() -> list[str]:
                page.value(f"void run({json.dumps(['overtaken', address, 'cartpole'])})")
                page.wait_for("window.printed !== null")
                printed: list[str] = page.value("window.printed")
                return printed

            (line,) = play()
            assert f"{address}, connect: the WebSocket was closed, code 1006; " in line
            assert 'may it reach the local network (its permission "loopback-network": denied)?' in line
            assert server.received == []
            page.send("Browser.grantPermissions", {"permissions": ["loopbackNetwork"], "origin": origin})
            assert sorted(play()) == sorted([dump(REPLIES["infer"]), dump({})])
