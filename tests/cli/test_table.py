"""Tables fit the terminal: names keep both ends, columns that matter least are left out, nothing is broken into pieces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper
from rich.cells import cell_len

from cervello.cli.table import Table, shortened
from cervello.cli.terminal import Terminal

LONG = "/network_body/observation_encoder/processors.0/normalizer/Sub"


@pytest.mark.parametrize(("text", "width", "expected"), [
    ("short", 5, "short"), ("abcdefgh", 5, "ab…gh"), ("abcdefgh", 4, "ab…h"), ("abcdefgh", 2, "a…"), ("abcdefgh", 1, "…"), ("abc", 0, ""),
    ("", 3, ""), ("観測観測観測", 7, "観測…測")])
def test_names_are_shortened_in_the_middle(text: str, width: int, expected: str) -> None:
    assert shortened(text, width) == expected
    assert cell_len(shortened(text, width)) <= width


def lines(table: Table, width: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], str]:
    monkeypatch.setenv("COLUMNS", str(width))
    with Terminal() as terminal:
        terminal.print(table)
    said = capfd.readouterr()
    return said.out.splitlines(), said.err


def test_optional_columns_go_first_and_are_named(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table([">step", "~node", "?>read", "?>written"])
    table.add_row("1", LONG, "128 KiB", "1.00 KiB")
    wide, err = lines(table, 120, capfd, monkeypatch)
    assert wide[-1].split() == ["1", LONG, "128", "KiB", "1.00", "KiB"]
    assert err == ""
    narrow, err = lines(table, 40, capfd, monkeypatch)
    assert narrow[0].split() == ["step", "node", "read"]
    assert all(len(line) <= 40 for line in narrow)
    assert " ".join(err.split()) == "left out, since 40 columns do not hold it: written; --json has all"
    assert "…" in narrow[-1]
    assert narrow[-1].split()[1].startswith("/netw")
    assert narrow[-1].split()[1].endswith("/Sub")


@pytest.mark.parametrize(("width", "expected"), [
    (40, ["policy", "value", "verdict"]), (24, ["policy", "value", "verdict"]), (20, ["policy", "value"])])
def test_a_number_is_never_cut(width: int, expected: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(["~policy", ">value", "?>95% interval", "verdict"])
    table.add_row("a_policy.onnx", "10.094", "7.353 … 14.111", "weak")
    found, err = lines(table, width, capfd, monkeypatch)
    assert found[0].split() == expected
    assert "10.094" in found[-1]
    assert found[-1].startswith("a")
    assert max(map(cell_len, found)) <= width
    assert "95% interval" in " ".join(err.split())


def test_without_a_terminal_nothing_is_lost(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table(["~node", "?written"])
    table.add_row("x" * 500, "1 KiB")
    with Terminal() as terminal:
        terminal.print(table)
    assert capfd.readouterr().out.splitlines()[-1].split() == ["x" * 500, "1", "KiB"]


def test_a_row_needs_a_cell_per_heading() -> None:
    with pytest.raises(ValueError, match="expected 2 cells, got 1"):
        Table(["a", "b"]).add_row("1")


def test_facts_break_between_words_and_shorten_words(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    with Terminal() as terminal:
        facts = terminal.grid()
        facts.add_row("slow", f"Sub {LONG}: no kernel for this op, so it runs on another tier")
        terminal.print(facts)
    found = capfd.readouterr().out.splitlines()
    assert len(found) > 1
    assert all(len(line) <= 40 for line in found)
    assert "…" in "".join(found)
    assert " ".join(" ".join(found).split()).endswith("no kernel for this op, so it runs on another tier")


@pytest.fixture
def verbose(tmp_path: Path) -> Path:
    """A policy whose nodes and tensors have names as long as exporters of torch give them."""
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Relu", ["obs"], [f"{LONG}_output_0"], name=LONG),
             helper.make_node("Hardmax", [f"{LONG}_output_0"], ["action"], name=f"{LONG}/Hardmax")]
    graph = helper.make_graph(nodes, "verbose", [info("obs", 1, ["N", 300])], [info("action", 1, ["N", 300])])
    path = tmp_path / "verbose_policy_with_a_name_of_its_own.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("command", [("api",), ("plan", "-b", "4096"), ("profile", "-b", "4096", "--rounds", "1"), ("doctor",)])
def test_slow_nodes_with_long_names_fit_80_columns(command: tuple[str, ...], verbose: Path, cervello: Callable[..., Any],
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name, *options = command
    said = cervello(name, verbose, *options)
    assert said.status in (0, 1), said.err
    assert max(map(cell_len, said.out.splitlines())) <= 80
