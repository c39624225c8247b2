"""The bar for first compilations: late, on stderr, and only when it takes long."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cervello.cli import compiling
from cervello.cli.terminal import Terminal
from cervello.codegen import cache, prebuilt


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_quick_compilation_is_not_mentioned(capfd: pytest.CaptureFixture[str]) -> None:
    with compiling.shown(Terminal(), delay_s=100.0) as watch:
        watch.report(0, 1, "kernels.gemm:gemm")
        time.sleep(0.3)
        watch.report(1, 1, "")
    assert watch.compiled == 1
    assert capfd.readouterr().err == ""


def test_long_compilation_is_one_line_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    said = []
    with compiling.shown(Terminal(), delay_s=0.0) as watch:
        watch.report(0, 2, "kernels.gemm:gemm")
        until(lambda: bool(said.append(capfd.readouterr().err) or said[-1]))
        watch.report(1, 2, "kernels.rows:sum_")
        watch.report(2, 2, "")
    assert "".join(said) + capfd.readouterr().err == f"compiling kernels for this machine, once; kept in {cache.folder()}\n"
    assert watch.compiled == 2


def test_long_compilation_is_a_bar_on_a_terminal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    said = ""
    with Terminal() as terminal, compiling.shown(terminal, delay_s=0.0) as watch:
        watch.report(2, 5, "cervello.native.kernels.gemm:gemm")

        def drawn() -> bool:
            nonlocal said
            said += capfd.readouterr().err
            return "2/5" in said and "gemm" in said

        until(drawn)
    assert "compiling for this machine, once" in said


def test_the_line_about_the_cache_says_what_the_package_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prebuilt, "bundled", lambda: None)
    without = compiling.cache_line()
    level = prebuilt.LEVELS[0]
    found = prebuilt.Prebuilt(Path("x86-64-v4.code"), level, "key", {"cervello.b:c": ("symbol", 2, 0, 5, "")}, {}, 0)
    monkeypatch.setattr(prebuilt, "bundled", lambda: found)
    assert compiling.cache_line() == f"{without}; the package carries 1 kernel for x86-64-v4"


def test_quiet_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with compiling.shown(Terminal(quiet=True), delay_s=0.0) as watch:
        watch.report(0, 1, "kernels.gemm:gemm")
        time.sleep(0.3)
    assert capfd.readouterr().err == ""


def interrupted_while_compiling(times: int, reached: list[str]) -> None:
    with compiling.shown(Terminal(quiet=True)) as watch:
        watch.report(0, 2, "kernels.gemm:gemm")
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        reached.append("the kernel is finished")
        watch.report(1, 2, "kernels.rows:sum_")
        reached.append("the next one begins")


def test_ctrl_c_takes_effect_before_the_next_kernel() -> None:
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_while_compiling(1, reached)
    assert reached == ["the kernel is finished"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait() -> None:
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_while_compiling(2, reached)
    assert reached == []


def test_ctrl_c_is_immediate_while_nothing_compiles() -> None:
    with compiling.shown(Terminal(quiet=True)), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_two_bars_share_the_terminal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with Terminal() as terminal, terminal.bar("outer", 3) as outer:
        with terminal.bar("inner", 7) as inner:
            inner.show(7, 7)
        outer.show(3, 3)
    said = capfd.readouterr().err
    assert "7/7" in said
    assert "3/3" in said
