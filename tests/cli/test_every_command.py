"""Every command does its work, prints JSON where it has a table, keeps to 80 columns, answers an error of the user, and has examples that
work. A command without a row in the table fails."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cartpole
import numpy as np
import pytest
from rich.cells import cell_len
from server_process import ServerProcess
from small_models import FLOAT, graph, node

from cervello import cli

LONG = "/network_body/observation_encoder/processors.0/normalizer/Sub_output_0"
SECOND = "a_policy_whose_file_has_a_name_that_no_column_of_a_table_can_hold.onnx"
USAGE = "see cervello {} --help"
WHOLE = "expected a whole number from 1 to "
MISSING = ("nobody.onnx", "model 'nobody.onnx': expected a file, found none", "check the path, the working folder is ")
UNREADABLE = "expected a path that is there, found none"
Found = Any  # what --json prints, read back


class Row(NamedTuple):
    """How a command is tried.

    Attributes:
      happy: words behind the command that do real work, with exit status 0.
      said: what stdout has then. made: the files that are written.
      look: what holds of the value that `happy` prints with --json; a text says why there is no --json.
      errors: words behind the command, the place that the message names, and the remedy.
    """

    happy: str
    said: tuple[str, ...]
    made: tuple[str, ...]
    look: Callable[[Found], bool] | str
    errors: tuple[tuple[str, str, str], ...]


ROWS = {
    "demo": Row(
        "--ticks 5 --picture arena.png", ("5 ticks, seed 0, up to ", "mean return [95%]", "picture: arena.png"), ("arena.png",),
        lambda found: found["ticks"] == 5 and list(found["species"]) == ["grazer", "hunter", "scout"],
        (("--picture nowhere/arena.png", f"'nowhere': {UNREADABLE}", "make its folder first"),
         ("--ticks 0", f"argument --ticks: {WHOLE}", USAGE))),
    "run": Row(
        "racer.onnx -b 5 -n 3", ("racer, 5 agents", "Recurrent({'h_in': 'h_out'})", "action", "5×3", "3 calls"), (),
        lambda found: [each["name"] for each in found["outputs"]] == ["action", LONG] and found["n_agents"] == 5,
        (MISSING, ("racer.onnx -b many", f"argument -b/--batch: {WHOLE}", USAGE))),
    "play": Row(
        f"CartPole-v1 old.onnx {SECOND} --episodes 2 --max-steps 20 --picture returns.svg --record games.log",
        ("CartPole-v1: actions are drawn, seed 0", "old", "a_policy_who"), ("returns.svg", "games.log"),
        lambda found: [len(each["returns"]) for each in found["policies"].values()] == [2, 2],
        (("CartPole-v1 nobody.onnx", *MISSING[1:]), ("CartPole-v1 old.onnx --episodes 0", f"argument --episodes: {WHOLE}", USAGE))),
    "api": Row(
        "racer.onnx", ("racer", "inputs", "epsilon", "Epsilon('epsilon')", "/network_body", "every step is on the planned tier"), (),
        lambda found: [each["name"] for each in found["outputs"]] == ["action", "h_out", LONG],
        (MISSING, ("racer.onnx --dim x", "argument --dim: expected NAME=SIZE", USAGE))),
    "plan": Row(
        "racer.onnx -b 64 --picture arena.svg --graph graph.svg", ("racer, 64 rows", "maps:unary", "/network_"), ("arena.svg", "graph.svg"),
        lambda found: found["n_rows"] == 64 and LONG in [step["node"].split("'")[1] for step in found["steps"]],
        (MISSING, ("racer.onnx --picture arena.pdf", "argument --picture/--svg: expected a file that ends in .svg or .png", USAGE))),
    "benchmark": Row(
        "racer.onnx -b 1-2,4096 -c 8 --columns --picture sizes.svg", ("racer", "agent-steps/s", "4,096"), ("sizes.svg",),
        lambda found: [each["batch_size"] for each in found] == [1, 2, 4096] and all(each["mean"] > 0 for each in found),
        (MISSING, ("racer.onnx -b 3-1", "argument -b/--batch-sizes: expected ranges LOW-HIGH", "did you mean 1-3?"))),
    "profile": Row(
        "racer.onnx -b 64 --rounds 2 --trace trace.json --picture steps.svg", ("racer, 64 rows", "of limit", "/net"),
        ("trace.json", "steps.svg"), lambda found: found["rounds"] == 2 and LONG in found["steps"][0]["node"],
        (MISSING, ("racer.onnx --rounds 0", f"argument --rounds: {WHOLE}", USAGE))),
    "compare": Row(
        "racer.onnx racer.crvo -b 1,3", ("racer.onnx and racer.crvo agree", "action", "/network_"), (),
        lambda found: found["agree"] and [each["tensor"] for each in found["outputs"]] == ["action", "h_out", LONG],
        (("racer.onnx nobody.onnx", *MISSING[1:]), ("racer.onnx", "compare: expected B or --against onnxruntime, got neither", USAGE))),
    "doctor": Row(
        "racer.onnx", ("nothing needs attention", "all at once", "cache"), (),
        lambda found: found["healthy"] and found["policy"]["name"] == "racer",
        (MISSING, ("--slow", "unrecognized arguments: --slow", "see"))),
    "evaluate": Row(
        f"play.log old.onnx {SECOND} --report evaluation.html --picture estimates.svg", ("old.onnx", "a_policy", "95% interval", "wis"),
        ("evaluation.html", "estimates.svg"), lambda found: list(found["policies"]) == ["old.onnx", SECOND] and found["n_episodes"] >= 40,
        (("nobody.log old.onnx", "recording 'nobody.log': expected a file or folder, found none", "check the path"),
         ("play.log old.onnx --estimators ips", "argument --estimators: expected names among is, pdis", USAGE))),
    "serve": Row(
        "brains --record episodes --ready-file ready.json", ("listening tcp://127.0.0.1:",), ("ready.json",),
        "it prints addresses, which --ready-file writes as JSON, and logs JSON lines",
        (("nobody", "folder 'nobody': expected a folder of policies, found none", "check the path"),
         ("brains --drain-s -1", "argument --drain-s: expected seconds of at least 0", USAGE))),
    "top": Row(
        "ADDRESS -n 1", ("1 connection", "policy", "agents", "p50 µs", "p99 µs", "errors", "racer"), (),
        lambda found: list(found["policies"]) == ["a_policy_whose_file_has_a_name_that_no_column_of_a_table_can_hold", "racer"],
        (("unix:nobody.sock", "unix:nobody.sock", "is it running"),
         ("ADDRESS --interval -1", "argument --interval: expected seconds", USAGE))),
    "warmup": Row(
        "racer.onnx", ("cache: ",), (), lambda found: found["models"] == ["racer.onnx"] and found["cache"]["kernels"] > 0,
        (MISSING, ("--fast", "unrecognized arguments: --fast", "see cervello"))),
    "describe": Row(
        "racer.crvo", ("a native cervo file containing onnx data",), (),
        lambda found: (found["container"], found["holds"]) == ("crvo", "onnx"),
        (("nobody.onnx", "model 'nobody.onnx': expected a file, found none", "check the path"),
         ("racer.onnx racer.crvo", "unrecognized arguments: racer.crvo", "see"))),
    "package": Row(
        "racer.onnx packed.crvo", (), ("packed.crvo",), "it writes a file and prints nothing",
        (("nobody.onnx out.crvo", "model 'nobody.onnx': expected a file, found none", "check the path"),
         ("racer.crvo out.crvo", "model 'racer.crvo': expected an ONNX file, got a container already", "package the ONNX file"))),
    "unpack": Row(
        "racer.crvo again.onnx", (), ("again.onnx",), "it writes a file and prints nothing",
        (("nobody.crvo out.onnx", "model 'nobody.crvo': expected a file, found none", "check the path"),
         ("racer.onnx out.onnx", "model 'racer.onnx': expected a container of cervo", "name a .crvo file"))),
    "completion": Row(
        "bash", ("_shtab_cervello", "--against", "onnxruntime"), (), "it prints a program for the shell",
        (("csh", "argument shell: invalid choice: 'csh'", USAGE),))}
ELSEWHERE = {  # beginnings of examples that are not run here, and why
    "cervello demo": "longer: a stage of .ci/run, with the short form above",
    "cervello serve": "serves until it is told to stop: the server below, and tests/test_readme.py",
    "cervello top": "asks the server below until it is told to stop",
    "cervello warmup": "compiles whatever is not compiled yet: tests/cli/test_warmup.py",
    "cervello evaluate minari:": "a data set that would be downloaded: tests/cli/test_evaluate.py"}


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command of the parser, with the commands of commands, and its parser."""
    children = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if words and not children:
        yield " ".join(words), parser
    for action in children:
        for name, child in action.choices.items():
            yield from commands(child, (*words, name))


PARSERS = dict(commands(cli._parser()))


def examples(said: str) -> list[str]:
    """The command lines in a text of --help; three blanks end one, and a remark follows."""
    return [re.split(r" {3,}", line.strip())[0] for line in said.splitlines() if line.startswith("  cervello ")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that rows and examples name: `racer` is recurrent and noisy and has a long name in it, the others play
    CartPole and fall soon."""
    folder = tmp_path_factory.mktemp("commands")
    shape = (FLOAT, ("N", 3))
    racer = graph([node("Add", "obs epsilon", LONG, name=LONG), node("Tanh", LONG, "action"), node("Add", "h_in obs", "h_out")],
                  dict.fromkeys(("obs", "epsilon", "h_in"), shape), dict.fromkeys(("action", "h_out", LONG), shape), {})
    (folder / "racer.onnx").write_bytes(racer)
    (folder / "racer.crvo").write_bytes(b"CRVO\0\0\0\1" + racer)
    for name, lean in (("old.onnx", 3.0), ("new.onnx", 1.0), (SECOND, 2.0)):
        (folder / name).write_bytes(cartpole.model(lean=lean))
    np.savez(folder / "frames.npz", obs=np.zeros((5, 4), np.float32))
    (folder / "brains").mkdir()
    shutil.copy(folder / "racer.onnx", folder / "brains")
    shutil.copy(folder / SECOND, folder / "brains")
    log = folder / "play.log"
    assert cli.main(["-q", "play", "CartPole-v1", str(folder / "old.onnx"), "--episodes", "40", "--record", str(log)]) == 0
    return folder


@pytest.fixture
def folder(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(prepared)
    return prepared


@pytest.fixture(scope="module")
def server(prepared: Path) -> Iterator[ServerProcess]:
    """The row of `serve`: it must end with 0 after SIGTERM, and log no error."""
    words = shlex.split(ROWS["serve"].happy)
    with ServerProcess(*(str(prepared / word) if not word.startswith("-") else word for word in words)) as running:
        yield running


def words_of(text: str, request: pytest.FixtureRequest) -> list[str]:
    """Words of a command line, with the server's address in place of ADDRESS."""
    return [request.getfixturevalue("server").address if word == "ADDRESS" else word for word in shlex.split(text)]


def test_every_command_has_a_row() -> None:
    assert set(PARSERS) == set(ROWS)


@pytest.mark.parametrize("command", [command for command in ROWS if command != "serve"])
def test_it_does_its_work_within_80_columns(command: str, folder: Path, cervello: Callable[..., Any], request: pytest.FixtureRequest,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROWS[command]
    if command == "completion":
        pytest.importorskip("shtab")
    for name in row.made:
        (folder / name).unlink(missing_ok=True)
    arguments = words_of(row.happy, request)
    monkeypatch.setenv("COLUMNS", "80")
    said = cervello(command, *arguments)
    assert said.status == 0, said.err
    assert [text for text in row.said if text not in said.out] == []
    assert [name for name in row.made if not (folder / name).stat().st_size] == []
    if command != "completion":
        assert max(map(cell_len, said.out.splitlines()), default=0) <= 80


def test_a_server_serves_what_its_row_says(server: ServerProcess, prepared: Path) -> None:
    assert server.address.startswith(ROWS["serve"].said[0].removeprefix("listening "))
    assert json.loads((prepared / "ready.json").read_text(encoding="utf-8")) == server.addresses


@pytest.mark.parametrize("command", [command for command, row in ROWS.items() if not isinstance(row.look, str)])
def test_json_stands_alone_on_stdout(command: str, folder: Path, cervello: Callable[..., Any], request: pytest.FixtureRequest) -> None:
    row = ROWS[command]
    said = cervello("-q", command, *words_of(row.happy, request), "--json")
    assert (said.status, said.err) == (0, "")
    found = json.loads(said.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert not isinstance(row.look, str)
    assert row.look(found), found


@pytest.mark.parametrize("command", ROWS)
def test_what_has_no_json_says_why(command: str) -> None:
    has = any("--json" in action.option_strings for action in PARSERS[command]._actions)
    assert has is not isinstance(ROWS[command].look, str)


@pytest.mark.parametrize(("command", "error"), [(command, error) for command, row in ROWS.items() for error in row.errors],
                         ids=lambda value: value if isinstance(value, str) else value[0])
def test_an_error_of_the_user_is_one_line_with_a_place_and_a_remedy(command: str, error: tuple[str, str, str], folder: Path,
                                                                    cervello: Callable[..., Any],
                                                                    request: pytest.FixtureRequest) -> None:
    words, place, remedy = error
    before = sorted(folder.iterdir())
    said = cervello("-q", command, *words_of(words, request))
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith(f"cervello: {place}"), said.err
    assert remedy.format(command) in said.err.partition(place)[2], said.err
    assert said.err.count("\n") == 1
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("command", ["", *ROWS])
def test_examples_of_the_help_work(command: str, folder: Path, cervello: Callable[..., Any]) -> None:
    said = cervello(*command.split(), "--help")
    found = examples(said.out)
    assert found
    for example in found:
        words = shlex.split(example.partition(" > ")[0])[1:]  # the shell's part behind
        options = cli._parser().parse_args(words)
        assert not command or options.command == command
        if any(example.startswith(beginning) for beginning in ELSEWHERE):
            continue
        if options.command == "completion":
            pytest.importorskip("shtab")
        if "onnxruntime" in words:
            pytest.importorskip("onnxruntime")
        if "pettingzoo.classic.tictactoe_v3:env" in words:
            continue
        done = cervello("-q", *words)
        assert done.status in ((0, 1) if words[:3] == ["compare", "old.onnx", "new.onnx"] else (0,)), (example, done.err)
