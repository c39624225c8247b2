"""What holds for every command: statuses, messages, options that all share, the entry point."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cervello as package
from cervello import cli
from cervello.cli import main

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")} | {
    "PYTHONPATH": str(Path(package.__file__).parents[1])}


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cervello", *map(str, arguments)], capture_output=True, text=True, encoding="utf-8",
                          env=ENVIRONMENT, timeout=300, check=False, **options)


def test_help_names_every_command(cervello: Callable[..., Any]) -> None:
    said = cervello("--help")
    assert said.status == 0
    assert not said.err
    assert [line.split()[0] for line in said.out.splitlines() if line[:5].strip() and line.startswith("    ")] == [*cli._COMMANDS]


@pytest.mark.parametrize("command", cli._COMMANDS)
def test_every_command_explains_itself(command: str, cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = cervello(command, "--help")
    assert said.status == 0
    assert said.out.startswith(f"usage: cervello {command}")
    assert "--quiet" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [("--version",), ("plan", "--version")])
def test_version(arguments: tuple[str, ...], cervello: Callable[..., Any]) -> None:
    said = cervello(*arguments)
    assert (said.status, said.err) == (0, "")
    assert said.out == f"cervello {package.__version__}, Python {'.'.join(map(str, sys.version_info[:3]))}\n"


def test_without_a_command_the_help_goes_to_stderr(cervello: Callable[..., Any]) -> None:
    said = cervello()
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("usage: cervello")


@pytest.mark.parametrize(("arguments", "message"), [
    (("fly",), "invalid choice: 'fly'"),
    (("plan",), "the following arguments are required: MODEL; see cervello plan --help"),
    (("plan", "x", "-b", "0"), "argument -b/--batch: expected a whole number from 1 to 1,000,000,000, got '0'; see cervello plan --help"),
    (("run", "x", "-b", "-3"), "argument -b/--batch: expected a whole number from 1 to 1,000,000,000, got '-3'"),
    (("plan", "x", "-b", "many"), "argument -b/--batch: expected a whole number from 1 to 1,000,000,000, got 'many'"),
    (("plan", "x", "-b", "1e3"), "got '1e3'"),
    (("plan", "x", "-b", "99999999999999999999"), "got '99999999999999999999'"),
    (("run", "x", "-n", "0"), "argument -n/--calls: expected a whole number from 1"),
    (("run", "x", "--seed", "-1"), "argument --seed: expected a whole number from 0"),
    (("run", "x", "--seed", str(2**64)), f"argument --seed: expected a whole number from 0 to {2**64 - 1:,}"),
    (("run", "x", "-r", "h_in"), "argument -r/--recurrent: expected auto or IN:OUT,IN:OUT, got 'h_in'"),
    (("run", "x", "--inferer", "quick"), "argument --inferer: invalid choice: 'quick'"),
    (("run", "x", "--inferer", "memoising"), "'memoising', expected one of basic, fixed, memoizing, dynamic; did you mean 'memoizing'?"),
    (("plya", "x"), "completion; did you mean 'play'?"),
    (("play", "x", "y", "--episodez", "3"), "unrecognized arguments: --episodez 3; see cervello play --help; did you mean '--episodes'?"),
    (("play", "x", "y", "--box", "clib"), "did you mean 'clip'?"),
    (("--nonsense",), "unrecognized arguments: --nonsense; see cervello --help"),
    (("demo", "--ticks", "0"), "argument --ticks: expected a whole number from 1 to 1,000,000, got '0'"),
    (("api", "a", "b"), "unrecognized arguments: b; see cervello api --help"),
])
def test_a_wrong_command_line_is_one_line_and_status_2(arguments: tuple[str, ...], message: str, cervello: Callable[..., Any]) -> None:
    said = cervello(*arguments)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("cervello: ")
    assert said.err.count("\n") == 1
    assert message in said.err


@pytest.mark.parametrize(("words", "found"), [
    ("evaluate play.log --seed 3 old.onnx new.onnx", ["play.log", ["old.onnx", "new.onnx"]]),
    ("evaluate --seed 3 play.log old.onnx -q new.onnx", ["play.log", ["old.onnx", "new.onnx"]]),
    ("compare old.onnx --seed 3 new.onnx", ["old.onnx", "new.onnx"]), ("compare --seed 3 old.onnx new.onnx", ["old.onnx", "new.onnx"])])
def test_options_may_stand_between_the_files(words: str, found: list[object]) -> None:
    options = cli._parser().parse_args(words.split())
    given = (options.dataset, options.policies) if options.command == "evaluate" else (str(options.model), str(options.other))
    assert [*given] == found
    assert options.seed == 3


def test_an_empty_file_and_a_folder_are_refused(scout: Path, cervello: Callable[..., Any]) -> None:
    empty = scout.with_name("empty.onnx")
    empty.touch()
    assert cervello("api", empty) == (2, "", "cervello: model 'empty': expected an ONNX file, got 0 bytes; export it again\n")
    assert cervello("api", scout.parent).status == 2


def test_quiet_stands_before_or_after_the_command(scout: Path, cervello: Callable[..., Any]) -> None:
    picture = scout.with_suffix(".svg")
    assert "picture: " in cervello("plan", scout, "--svg", picture).err
    assert cervello("plan", scout, "--svg", picture, "-q").err == ""
    assert cervello("-q", "plan", scout, "--svg", picture).err == ""


def test_lack_of_memory_is_an_error_message(scout: Path, cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 7 EiB")

    monkeypatch.setattr("cervello.native.Model.load", fail)
    assert cervello("run", scout) == (2, "", "cervello: not enough memory: Unable to allocate 7 EiB\n")


def test_an_interrupt_gives_130(scout: Path, cervello: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cervello.native.Model.load", fail)
    assert cervello("api", scout) == (130, "", "cervello: interrupted\n")


def test_a_defect_of_cervello_keeps_its_traceback(scout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("cervello.native.Model.load", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["api", str(scout)])


def test_names_from_files_reach_the_terminal_spelled_out(hostile: Path, cervello: Callable[..., Any]) -> None:
    for command in ("api", "plan", "run", "benchmark", "profile"):
        said = cervello(command, hostile)
        assert said.status == 0
        assert not {"\x1b", "\x07", "\u202e"} & set(said.out + said.err)
    assert r"\x1b[31mred\x1b[0m [bold]obs[/bold] \u202e" in cervello("api", hostile).out


def test_colours_honour_no_color(mixer: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    yellow = "\x1b[33m"
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["-q", "plan", str(mixer)])
    assert yellow in capfd.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    main(["-q", "plan", str(mixer)])
    assert yellow not in capfd.readouterr().out


# As a process ---------------------------------------------------------------------------------------------------------------


def test_the_module_runs_as_the_command(scout: Path) -> None:
    found = run("-q", "api", scout)
    assert (found.returncode, found.stderr) == (0, "")
    assert "action" in found.stdout


def test_the_module_hands_its_status_on(tmp_path: Path) -> None:
    found = run("api", "nobody.onnx", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("cervello: model 'nobody.onnx': expected a file, found none; check the path, the working folder is ")


def test_the_entry_point_is_main() -> None:
    found = [e for e in importlib.metadata.entry_points(group="console_scripts") if e.name == "cervello"]
    if not found:
        pytest.skip("cervello is not installed here, only importable")
    assert found[0].load() is main


HELP_OF_ALL = """
import argparse, sys
from cervello import cli

def expand(parser):  # argparse of Python 3.14 does so for each argument as it is added
    for action in parser._actions:
        if action.help:
            parser._get_formatter()._expand_help(action)
        for child in getattr(action, "choices", None) or () if isinstance(action, argparse._SubParsersAction) else ():
            expand(action.choices[child])

cli.main(["--help"])
expand(cli._parser())
print([name for name in ("rich", "numba", "scipy", "gymnasium", "cervello.evaluation", "cervello.bridge", "cervello.envs")
       if name in sys.modules])
"""


def test_help_of_every_command_imports_nothing_that_is_slow() -> None:
    found = subprocess.run([sys.executable, "-c", HELP_OF_ALL], capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=True)
    assert found.stdout.endswith("\n[]\n"), found.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes on Windows")
def test_a_closed_pipe_ends_the_command_quietly(scout: Path) -> None:
    ends = os.pipe()
    os.close(ends[0])
    with os.fdopen(ends[1], "w") as pipe:
        found = subprocess.run([sys.executable, "-m", "cervello", "-q", "plan", str(scout)], stdout=pipe, stderr=subprocess.PIPE, text=True,
                               env=ENVIRONMENT, timeout=300, check=False)
    assert (found.returncode, found.stderr) == (141, "")


@pytest.mark.skipif(sys.platform == "win32", reason="the shell is that of Unix")
@pytest.mark.parametrize(("closing", "file", "status", "message"), [
    (">&-", "scout.onnx", 0, ""), ("2>&-", "nobody.onnx", 2, ""), (">&-", "nobody.onnx", 2, "cervello: model 'nobody.onnx': ")])
def test_a_stream_that_the_caller_closed_is_left_alone(closing: str, file: str, status: int, message: str, scout: Path) -> None:
    command = f'"{sys.executable}" -m cervello -q api {file} {closing}'
    found = subprocess.run(["sh", "-c", command], cwd=scout.parent, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert (found.returncode, found.stdout) == (status, "")
    assert found.stderr.startswith(message)
    assert message or not found.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
def test_ctrl_c_ends_a_running_command(scout: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "cervello", "-q", "run", str(scout), "-n", "1000000000"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout is not None
        assert process.stdout.readline()  # its heading: it runs
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (130, "cervello: interrupted\n")
