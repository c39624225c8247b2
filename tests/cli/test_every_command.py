"""What holds for each command: an example that its own parser takes, JSON, one line and status 2 for an error of the user."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cervello import cli

MODELS = ("api", "plan", "run", "benchmark", "profile", "doctor", "describe", "warmup")  # COMMAND FILE
MISSING: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(MODELS, ("nobody.onnx",)), "compare": ("nobody.onnx", "nobody.onnx"), "play": ("CartPole-v1", "nobody.onnx"),
    "evaluate": ("nobody.log", "nobody.onnx"), "serve": ("nobody",), "top": ("unix:nobody.sock",),
    "package": ("nobody.onnx", "out.crvo"), "unpack": ("nobody.crvo", "out.onnx"), "demo": ("--picture", "nowhere/arena.png")}
BROKEN: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(MODELS, ("broken.onnx",)), "compare": ("broken.onnx", "--against", "onnxruntime"),
    "play": ("CartPole-v1", "broken.onnx"), "evaluate": ("broken.onnx", "broken.onnx"), "serve": ("policies",),
    "package": ("broken.onnx", "out.crvo"), "unpack": ("broken.onnx", "out.onnx"), "top": ("broken.onnx",)}
BAD: dict[str, tuple[object, ...]] = {
    "demo": ("--ticks", "0"), "run": ("a.onnx", "-b", "many"), "play": ("E", "a.onnx", "--episodes", "0"), "api": ("a.onnx", "--dim", "x"),
    "plan": ("a.onnx", "--picture", "arena.pdf"), "benchmark": ("a.onnx", "-b", "3-1"), "profile": ("a.onnx", "--rounds", "0"),
    "compare": ("a.onnx", "b.onnx", "--tolerance", "much"), "doctor": ("a.onnx", "--dim", "x"), "evaluate": ("d", "p", "--estimators", "x"),
    "serve": ("policies", "--drain-s", "-1"), "top": ("tcp://127.0.0.1:1", "--interval", "-1"), "warmup": ("--fast",),
    "describe": ("a.onnx", "b.onnx"), "package": ("a.onnx",), "unpack": ("a.crvo",), "completion": ("csh",)}
COMMANDS = tuple(cli._COMMANDS)


@pytest.fixture
def folder(tmp_path: Path, scout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a file that was cut off, and a folder of policies with such a file."""
    (tmp_path / "broken.onnx").write_bytes(scout.read_bytes()[:-20])
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "broken.onnx").write_bytes(scout.read_bytes()[:-20])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_lists_name_every_command() -> None:
    assert set(MISSING) == set(COMMANDS) - {"completion"}
    assert set(BROKEN) == set(COMMANDS) - {"completion", "demo"}
    assert set(BAD) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_its_parser_takes(command: str, cervello: Callable[..., Any]) -> None:
    said = cervello(command, "--help")
    assert said.status == 0
    examples = cli._COMMANDS[command].EXAMPLES
    assert examples
    for example in examples:
        assert f"  {example}\n" in said.out
        words = shlex.split(example.partition(" > ")[0])  # the shell's part behind
        assert words[:2] == ["cervello", command]
        assert cli._parser().parse_args(words[1:]).command == command


@pytest.mark.parametrize("command", MISSING)
def test_a_file_that_is_missing(command: str, folder: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("-q", command, *MISSING[command])
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("cervello: ")
    assert "no" in said.err
    assert "Traceback" not in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", BROKEN)
def test_a_file_that_is_broken(command: str, folder: Path, cervello: Callable[..., Any]) -> None:
    if command == "compare":
        pytest.importorskip("onnxruntime")
    said = cervello("-q", command, *BROKEN[command])
    assert (said.status, said.out) == (2, "")
    last = said.err.splitlines()[-1]  # `serve` logs before it
    assert last.startswith("cervello: ")
    assert "Traceback" not in said.err


@pytest.mark.parametrize("what", ["a folder", "an empty file"])
@pytest.mark.parametrize("command", [*MODELS, "package", "unpack", "play", "serve"])
def test_what_is_no_policy_is_refused_with_a_remedy(command: str, what: str, folder: Path, cervello: Callable[..., Any]) -> None:
    path = folder / "other.onnx"
    path.mkdir() if what == "a folder" else path.touch()
    said = cervello("-q", command, *(("CartPole-v1",) if command == "play" else ()), path,
                    *(("out.onnx",) if command in ("package", "unpack") else ()))
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("cervello: ")
    assert said.err.count("\n") == 1
    assert "expected" in said.err
    assert not (folder / "out.onnx").exists()
    assert not (folder / "out.crvo").exists()


@pytest.mark.parametrize(("arguments", "message"), [
    (("package", "good.onnx", "nowhere/out.crvo"), "'nowhere/out.crvo': expected a path that is there, found none; check its spelling"),
    (("package", "policies", "out.crvo"), "'policies': expected a file, got a folder; name a file in it"),
    (("profile", "good.onnx", "--rounds", "1", "--trace", "policies"), "'policies': expected a file, got a folder"),
    (("serve", "good.onnx"), "expected a folder of policies, got the file 'good.onnx'; put it into a folder and name that"),
    (("serve", "--demo", "policies"), "argument FOLDER: not allowed with argument --demo"),
    (("serve", "--demo", "--record", "good.onnx", "--listen", "tcp://127.0.0.1:0"),
     "'good.onnx': expected a folder, or nothing yet, got a file")])
def test_a_path_that_does_not_serve_is_named_with_a_remedy(arguments: tuple[str, ...], message: str, folder: Path, scout: Path,
                                                           cervello: Callable[..., Any]) -> None:
    (folder / "good.onnx").write_bytes(scout.read_bytes())
    said = cervello("-q", *arguments)
    assert (said.status, said.out) == (2, "")
    assert message in said.err.splitlines()[-1]
    assert "Traceback" not in said.err


@pytest.mark.parametrize("command", BAD)
def test_an_option_that_is_wrong(command: str, folder: Path, cervello: Callable[..., Any]) -> None:
    said = cervello(command, *BAD[command])
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("cervello: ")
    assert said.err.endswith(f"see cervello {command} --help\n") or "unrecognized arguments" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(("command", "arguments", "keys"), [
    ("run", ("FILE", "-b", "2", "-n", "2", "--print-output"),
     ["name", "n_agents", "wrappers", "inputs", "outputs", "values", "first_call_s", "calls", "p50_s", "p99_s", "mean_s"]),
    ("describe", ("FILE",), ["file", "n_bytes", "container", "holds"]),
    ("warmup", ("FILE",), ["models", "compiled", "seconds", "cache"]),
    ("plan", ("FILE",), ["name", "n_rows", "piece_rows", "arena_bytes", "peak_bytes", "weight_bytes", "shared_bytes", "buffers", "steps",
                         "tiers", "slow", "one_row", "fused", "usage"])])
def test_json_stands_alone_on_stdout(command: str, arguments: tuple[str, ...], keys: list[str], wanderer: Path,
                                     cervello: Callable[..., Any]) -> None:
    said = cervello(command, *(wanderer if each == "FILE" else each for each in arguments), "--json")
    assert said.status == 0
    assert list(json.loads(said.out)) == keys


def test_json_of_what_is_not_finite_is_json(slowpoke: Path, cervello: Callable[..., Any]) -> None:
    facts = json.loads(cervello("run", slowpoke, "-n", "1", "--json").out, parse_constant=lambda word: pytest.fail(word))
    assert facts["outputs"][0]["not_finite"] == 1


def test_a_crvo_container_is_described_as_json(scout: Path, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    assert cervello("package", scout, tmp_path / "scout.crvo").status == 0
    facts = json.loads(cervello("describe", tmp_path / "scout.crvo", "--json").out)
    assert (facts["container"], facts["holds"]) == ("crvo", "onnx")


def test_a_leak_is_an_answer_of_no(scout: Path, cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello.native.report.leaks import Growth

    monkeypatch.setattr("cervello.native.report.leaks.growth", lambda call, calls: Growth(calls, 1 << 20, 1000, None))
    assert cervello("profile", scout, "--rounds", 1, "--leaks", 100).status == 1


def test_checks_that_fail_are_an_answer_of_no(cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello.evaluation.certify import Check

    checks = [Check("exact", "1.0", "1.0", True), Check("coverage", "0.5", "0.95", False)]
    monkeypatch.setattr("cervello.evaluation.certify.certify", lambda progress: checks)
    said = cervello("evaluate", "--certify")
    assert said.status == 1
    assert "FAILED" in said.out
    assert json.loads(cervello("evaluate", "--certify", "--json").out)["passed"] is False
