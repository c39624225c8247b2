"""Every client against golden frames and a responder made of them."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from golden import BAD_VALUES, DATA, FRAMES, KINDS, decode, dump, encode
from languages import Language, run
from responder import REPLIES, Responder

# Frames of clients carry `liberal`, a str that is no text, only towards servers.
VALUES = {name: data[4:] for name, data in FRAMES.items() if KINDS[name] != "bad" and name != "liberal"} | {
    "integers": encode([0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53 - 1, -1, -32, -33, -128, -129, -32768,
                        -32769, -2**31]),
    "lengths": encode(["a" * 31, "a" * 32, "é" * 200, "a" * 70000, b"b" * 255, b"b" * 256, b"b" * 65536, list(range(15)), list(range(16))]),
    "long_array": encode([list(range(66000))]), "long_map": encode({f"key{at:03}": at for at in range(300)}),
    "floats": encode([0.5, -1.25, 1e-3])}


def text(language: Language, value: object) -> str:
    """How the language's driver prints a value."""
    return dump(value, strings_only=language.strings_only, lists_only=language.lists_only)


def test_codecs_read_and_write_golden_frames(language: Language, driver: list[str]) -> None:
    lines = run(driver, "codec", given="".join(body.hex() + "\n" for body in VALUES.values()))
    assert len(lines) == len(VALUES)
    for (name, body), line in zip(VALUES.items(), lines, strict=True):
        dumped, _, again = line.partition(" ")
        assert dumped == text(language, decode(body)), name
        if not language.lists_only:  # else what is written again has another order and other types
            assert decode(bytes.fromhex(again)) == decode(body), name
            assert len(again) == 2 * len(body), f"{name}: not the shortest form"


def test_codecs_refuse_bad_values(driver: list[str]) -> None:
    lines = run(driver, "codec", given="".join(body.hex() + "\n" for body in BAD_VALUES.values()))
    assert len(lines) == len(BAD_VALUES)
    for name, line in zip(BAD_VALUES, lines, strict=True):
        assert line.startswith("bad frame: "), f"{name}: {line}"


def test_requests_are_the_golden_bytes_and_replies_are_read(language: Language, driver: list[str]) -> None:
    methods = next(session for session in DATA["sessions"] if session["name"] == "methods")
    sent = [name for what, name in methods["steps"] if what == "send"]
    sent = sent[:sent.index("stats") + 1]
    with Responder() as server:
        lines = run(driver, "golden", server.address, "cartpole")
        received = server.received
    assert [body.hex() for body in received[:-3]] == [FRAMES[name][4:].hex() for name in sent]
    assert received[-3:-1] == [FRAMES["notify.reward"][4:], FRAMES["notify.end"][4:]]
    methods_sent = [decode(FRAMES[name][4:])[2] for name in sent[1:]]
    assert lines == [text(language, REPLIES[method]) for method in [*methods_sent, "ping"]]


@pytest.mark.parametrize(("policy", "kind", "cause"), [
    ("draining", "draining", "draining"), ("dead", "dead_server", "clos"), ("silent", "timeout", "no reply within 300 ms"),
    ("bomb", "dead_server", "nested deeper than 8"), ("long", "dead_server", "2147483647"), ("half", "dead_server", "clos"),
    ("refused", "refused", "code 5: agents 5, 4")])
def test_errors_name_kind_address_step_and_cause(driver: list[str], policy: str, kind: str, cause: str) -> None:
    with Responder() as server:
        (line,) = run(driver, "fail", server.address, policy, "300" if policy == "silent" else "5000")
    got, step, code, message = line.split("|")
    assert (got, step, code) == (kind, "infer", "5" if policy == "refused" else "")
    assert message.startswith(f"{server.address}, infer: ")
    assert cause in message


def test_the_server_s_limit_holds_for_its_replies(driver: list[str]) -> None:
    with Responder(frame_bytes=1 << 20) as server:
        (line,) = run(driver, "fail", server.address, "over", "5000")
    assert line.startswith("dead_server|infer||")
    assert str((1 << 20) + 1) in line


def test_replies_in_single_bytes_and_late_ones_arrive(language: Language, driver: list[str]) -> None:
    with Responder() as server:
        for policy in ("drip", "slow"):
            assert run(driver, "fail", server.address, policy, "5000") == [text(language, REPLIES["infer"])]


def test_replies_are_matched_by_id(language: Language, driver: list[str]) -> None:
    with Responder() as server:
        lines = run(driver, "overtaken", server.address, "cartpole")
    assert sorted(lines) == sorted([text(language, REPLIES["infer"]), text(language, {})])


def test_agents_are_lost_after_a_reconnect_until_they_begin(language: Language, driver: list[str]) -> None:
    with Responder() as server:
        lines = run(driver, "restart", server.address, "cartpole", "restart")
        received = [decode(body)[2] for body in server.received]
    begun, infer = text(language, REPLIES["begin"]), text(language, REPLIES["infer"])
    assert lines[0] == begun
    assert re.match(r"dead_server\|infer\|\|", lines[1])
    assert re.match(r"dead_server\|ping\|\|", lines[2])
    assert re.match(rf"agents_lost\|infer\|\|{server.address}, infer: ", lines[3])
    assert lines[4:] == [begun, infer]
    assert received == ["hello", "begin", "infer", "hello", "begin", "infer"]


@pytest.mark.parametrize(("greeting", "kind", "step", "code"), [
    ("silent", "timeout", "hello", ""), ("refused", "refused", "hello", "6"), ("draining", "draining", "hello", "11")])
def test_a_hello_that_fails_says_so_within_its_time(driver: list[str], greeting: str, kind: str, step: str, code: str) -> None:
    with Responder(greeting) as server:
        (line,) = run(driver, "connect", server.address)
    assert line.startswith(f"{kind}|{step}|{code}|{server.address}, {step}: ")


@pytest.mark.parametrize("name", ["godot3", "godot4"])
@pytest.mark.parametrize(("greeting", "policy", "answer"), [
    ("silent", "", "waits"), ("reply", "silent", "waits"), ("reply", "half", "replied"), ("reply", "", "replied")])
def test_poll_costs_a_game_no_frame(build: Callable[[str], list[str]], name: str, greeting: str, policy: str, answer: str) -> None:
    with Responder(greeting) as server:
        (line,) = run(build(name), "frames", server.address, policy)
    median_us, _, last = line.split()
    assert int(median_us) < 4_000  # of the 16 ms of a frame
    assert last == answer


def test_nobody_listening_is_an_error_of_connect(driver: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (line,) = run(driver, "connect", f"tcp://127.0.0.1:{port}")
    assert line.startswith(f"dead_server|connect||tcp://127.0.0.1:{port}, connect: ")


def test_a_client_that_ends_abnormally_or_complains_fails_its_test() -> None:
    with pytest.raises(AssertionError):
        run(["sh", "-c", "echo fine; kill -9 $$"])
    with pytest.raises(AssertionError):
        run(["sh", "-c", "echo fine; echo 'script error' >&2"])
    assert run(["sh", "-c", "echo fine"]) == ["fine"]


def test_golden_frames_are_what_the_script_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import golden_frames

    monkeypatch.setattr(golden_frames, "FRAMES", tmp_path / "frames.json")
    assert golden_frames.main([]) == 0
    assert (tmp_path / "frames.json").read_text() == (Path(__file__).parents[1] / "data" / "bridge_frames" / "frames.json").read_text()
