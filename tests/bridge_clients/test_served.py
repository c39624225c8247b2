"""Every client against a real server: what it is answered is bit for bit what the policy decides here."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from golden import CLIENTS, ROOT, dump
from languages import LANGUAGES, Language, lua, run, tool
from real_server import SEED, TIME_LIMIT_S, brains, serving, started

import cervello
from cervello.bridge import Client
from cervello.demo import policy_path

EXAMPLES = {"javascript": "example.mjs", "c": "example.c", "lua": "example.lua", "csharp": "Example.cs"}
STREAMS = (7, 8, 2**62)
STEPS = 4
WIDTHS = {"hunter": 9, "grazer": 16}  # recurrent; sampled


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = brains(tmp_path_factory.mktemp("served") / "brains", *WIDTHS)
    shutil.copy(ROOT / "examples" / "cartpole.onnx", folder)
    schemes = ("tcp", "unix", "ws") if find_spec("websockets") else ("tcp", "unix")
    with serving(folder, *schemes) as found:
        yield dict(zip(schemes, found, strict=True))


def grid(count: int, width: int, step: int) -> np.ndarray:
    """The observations that every driver makes."""
    row, column = np.mgrid[:count, :width]
    return (((7 * row + 3 * step + column) % 11 - 5) / 4).astype(np.float32)


def played(language: Language, name: str, address: str) -> list[str]:
    """What the scenario `play` prints."""
    agents, width = [1, 2, 3], WIDTHS[name]
    policy = cervello.load(policy_path(name), wrappers="auto", seed=SEED)
    for agent, stream in zip(agents, STREAMS, strict=True):
        policy.begin_agents([agent], stream=stream, episode=0)
    streams = np.array(STREAMS, "<u8").tobytes()
    values: list[object] = [{"begun": 3, "streams": streams}]
    for step in range(STEPS):
        outputs = policy.infer_batch(agents, {"obs": grid(3, width, step)})
        values += [{"agents": agents, "outputs": {key: value.tobytes() for key, value in outputs.items()}, "skipped": [], "version": 1,
                    "tick": step}, {}]
    lines = [dump(value, strings_only=language.strings_only, lists_only=language.lists_only) for value in values]
    ended = dump({"ended": 1})
    return [*lines, dump({"restored": 3}), "true", ended, f"refused|infer|5|{address}, infer: code 5: ", "begun", "1"]


@pytest.mark.parametrize("name", WIDTHS)
def test_clients_are_answered_what_the_policy_decides(language: Language, driver: list[str], addresses: dict[str, str], name: str) -> None:
    for scheme in language.schemes:  # ws comes last
        if scheme == "ws":
            pytest.importorskip("websockets")
        lines = run(driver, "play", addresses[scheme], name, str(WIDTHS[name]), str(STEPS))
        expected = played(language, name, addresses[scheme])
        assert len(lines) == len(expected), lines
        for line, wanted in zip(lines[:-3], expected[:-3], strict=True):
            assert line == wanted
        refused, begun, left = lines[-3:]
        assert refused.startswith(expected[-3])
        assert b"streams".hex() in begun
        assert left == "1"  # agent 1, which began again


def available(build: Callable[[str], list[str]]) -> dict[str, list[str]]:
    """The drivers that this machine can build; the others are skipped by name in the tests above."""
    found = {}
    for name in LANGUAGES:
        with contextlib.suppress(pytest.skip.Exception):
            found[name] = build(name)
    return found


@pytest.mark.parametrize(("end", "kind"), [(signal.SIGTERM, "draining"), (signal.SIGKILL, "dead_server")])
def test_a_server_that_drains_and_one_that_was_killed_are_told_apart(build: Callable[[str], list[str]], tmp_path: Path, end: signal.Signals,
                                                                     kind: str) -> None:
    drivers = available(build)
    schemes = ("tcp", "unix", "ws") if find_spec("websockets") else ("tcp", "unix")
    with started(brains(tmp_path / "brains", "hunter"), *schemes) as (process, found), ThreadPoolExecutor(2 * len(drivers)) as threads:
        addresses = dict(zip(schemes, found, strict=True))
        plays = {}
        for name, driver in drivers.items():
            for scheme in filter(addresses.__contains__, LANGUAGES[name].schemes):
                address = addresses[scheme]
                plays[name, scheme] = address, threads.submit(run, driver, "outlive", address, "hunter", str(WIDTHS["hunter"]))
        with Client(addresses["tcp"], connect_timeout_s=TIME_LIMIT_S) as watching:
            until = time.monotonic() + TIME_LIMIT_S / 2
            while watching.stats()["policies"]["hunter"]["agents"] < 3 * len(plays) and time.monotonic() < until:
                time.sleep(0.02)
            playing = watching.stats()["policies"]["hunter"]["agents"]
        process.send_signal(end)
        for client, (address, play) in plays.items():
            begun, line = play.result()
            assert b"begun".hex() in begun, client
            assert re.match(rf"{kind}\|infer\|(11)?\|{re.escape(address)}, infer: ", line), (client, line)
        assert playing == 3 * len(plays)
        assert process.wait(TIME_LIMIT_S) == (0 if end == signal.SIGTERM else -end)


@pytest.mark.parametrize("name", ["godot3", "godot4"])
@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_calls_between_a_server_s_end_and_the_next_poll_name_the_end(build: Callable[[str], list[str]], tmp_path: Path, name: str,
                                                                     scheme: str) -> None:
    if scheme == "ws":
        pytest.importorskip("websockets")
    driver = build(name)
    with started(brains(tmp_path / "brains", "hunter"), "tcp", scheme) as (process, (tcp, address)), ThreadPoolExecutor(1) as threads:
        play = threads.submit(run, driver, "unpolled", address, "hunter", str(WIDTHS["hunter"]), "2000")
        with Client(tcp, connect_timeout_s=TIME_LIMIT_S) as watching:
            until = time.monotonic() + TIME_LIMIT_S / 2
            while watching.stats()["policies"]["hunter"]["agents"] < 3 and time.monotonic() < until:
                time.sleep(0.02)
        process.kill()
        line = play.result()[-1]
    assert line.startswith(f"dead_server|infer||{address}, infer: ")


def example(client: str, folder: Path) -> list[str]:
    """The command of a client's example loop, built where it needs to be."""
    source, made = CLIENTS / client / EXAMPLES[client], folder / "example"
    if client == "javascript":
        return [tool("node"), str(source)]
    if client == "lua":
        return [*lua("luajit"), str(source)]
    if client == "c":
        subprocess.run([tool("gcc"), "-std=c99", str(source), "-o", str(made)], check=True, timeout=TIME_LIMIT_S)
        return [str(made)]
    runtime = tool("mono")
    subprocess.run([tool("mcs"), str(source.with_name("Cervello.cs")), str(source), f"-out:{made}"], check=True, timeout=TIME_LIMIT_S)
    return [runtime, str(made)]


@pytest.mark.parametrize("client", EXAMPLES)
def test_examples_play_a_hundred_frames(client: str, addresses: dict[str, str], tmp_path: Path) -> None:
    assert run(example(client, tmp_path), addresses["tcp"], "cartpole") == ["100 frames"]
