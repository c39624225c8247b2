"""Progress of work that cannot be counted: late, on stderr, on a terminal only."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cervello.cli import main, terminal
from cervello.cli.terminal import Terminal


@pytest.fixture
def a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")


def test_long_work_is_shown_on_a_terminal(a_terminal: None, capfd: pytest.CaptureFixture[str]) -> None:
    said, end = "", time.monotonic() + 20
    with Terminal() as shown, shown.busy("loading", patience_s=0.0):
        while "loading" not in said:
            assert time.monotonic() < end
            time.sleep(0.02)
            said += capfd.readouterr().err
    assert "0/" not in said  # nothing is counted


def test_quick_work_is_not_mentioned(a_terminal: None, capfd: pytest.CaptureFixture[str]) -> None:
    with Terminal() as shown, shown.busy("loading", patience_s=100.0):
        time.sleep(0.1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("quiet", [True, False])
def test_nothing_moves_without_a_terminal(quiet: bool, cervello: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    with Terminal(quiet) as shown, shown.busy("loading", patience_s=0.0):
        time.sleep(0.1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("arguments", "what"), [
    (("api",), "loading"), (("plan",), "loading"), (("run", "-n", "1"), "loading, and the first call"), (("doctor",), "loading"),
    (("profile", "--rounds", "1"), "loading"), (("benchmark", "-c", "1"), "loading"), (("compare", "scout.onnx"), "comparing")])
def test_a_command_shows_that_it_loads(arguments: tuple[str, ...], what: str, scout: Path, a_terminal: None,
                                       capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from cervello.native import Model

    load = Model.load

    def slowly(*given: Any, **options: Any) -> Any:
        time.sleep(0.5)
        return load(*given, **options)

    monkeypatch.chdir(scout.parent)
    monkeypatch.setattr(terminal, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(Model, "load", slowly)
    assert main([arguments[0], "scout.onnx", *arguments[1:]]) in (0, 1)
    assert what in capfd.readouterr().err
