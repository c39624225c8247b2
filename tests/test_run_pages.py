"""scripts/run_pages.py says which block does not do what its page shows. That real pages do is a stage of .ci/run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pages
import pytest

sys.path.insert(0, str(pages.ROOT / "scripts"))

import run_pages

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="runs bash and POSIX signals")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[bool, str]]:
    """Runs a page of its own; says whether it holds, and what the script prints."""
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    folder = tmp_path / "empty"
    folder.mkdir()

    def run(text: str) -> tuple[bool, str]:
        (tmp_path / "page.md").write_text(text, encoding="utf-8")
        page = run_pages.Page("page.md", Path(sys.executable), dict(os.environ), folder)
        return page.run(), capsys.readouterr().out

    return run


def fenced(kind: str, *lines: str) -> str:
    return "\n".join(["", f"```{kind}", *lines, "```", ""])


def test_blocks_run_in_order_and_share_names_and_files(run: Callable[[str], tuple[bool, str]]) -> None:
    holds, said = run(fenced("python", "a = 2", "open('two', 'w').write('2')") + fenced("sh", "test -s two && touch three")
                      + fenced("python", "import os", "print(a, os.path.exists('three'))") + fenced("text", "2 True"))
    assert holds, said
    assert [line.split()[1] for line in said.splitlines()] == ["python", "sh", "python"]


@pytest.mark.parametrize(("text", "told"), [
    (fenced("python", "print(0.5)") + fenced("text", "0.6"), ["-0.6", "+0.5"]),
    (fenced("python", "print('more')"), ["+more"]),
    (fenced("python", "pass") + fenced("text", "more"), ["-more"]),
    (fenced("python", "x = 1", "x.upper()"), ["line 2", "x.upper()", "AttributeError"]),
    (fenced("python", "import os", "os._exit(0)"), ["Python has ended"]),
    (fenced("sh", "true", "echo out; echo err >&2; exit 3"), ["expected exit status 0, got 3", "out", "err"]),
    (fenced("console", "$ echo 7 rows", "8 rows"), ["-8 rows", "+7 rows"]),
    (fenced("rust", "fn main() {}"), ["expected a language that runs", "'rust'"])])
def test_a_block_that_fails_is_named_with_the_difference(text: str, told: list[str], run: Callable[[str], tuple[bool, str]]) -> None:
    holds, said = run("A page.\n" + text + fenced("sh", "touch later"))
    assert not holds
    assert said.startswith("page.md:3 ")
    assert "FAILED" in said.splitlines()[0]
    assert all(each in said for each in told), said
    assert "later" not in said


def test_what_varies_is_not_compared_and_nothing_else_is_left_out(run: Callable[[str], tuple[bool, str]]) -> None:
    shown = fenced("console", "$ printf 'in 3.1 ms\\na\\nb\\n12 of 12\\n'", "in 40 µs", "...", "12 of 12")
    assert run(shown)[0]
    assert not run(shown.replace("\n12 of 12", "\n13 of 12"))[0]
    assert not run(shown.replace("in 40", "within 40"))[0]


def test_what_does_not_run_says_why(tmp_path: Path, run: Callable[[str], tuple[bool, str]]) -> None:
    (tmp_path / "client.js").write_text("open();\nsend();\n", encoding="utf-8")
    holds, said = run("From `client.js`:\n" + fenced("js", "send();") + "\nIt needs a cluster (not run here; a farm does).\n"
                      + fenced("sh", "exit 1") + "\n<!-- not run here: it is a stage of its own -->\n" + fenced("sh", "exit 1"))
    assert holds, said
    assert [block.elsewhere for block in pages.blocks("page.md")] == [
        "`client.js` has its lines", "not run here; a farm does", "not run here: it is a stage of its own"]
    assert not run("From `client.js`:\n" + fenced("js", "receive();"))[0]


def test_a_block_that_never_ends_is_ended(run: Callable[[str], tuple[bool, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_pages, "LIMIT_S", 0.5)
    for text in (fenced("python", "import time", "time.sleep(60)"), fenced("sh", "sleep 60")):
        holds, said = run(text)
        assert not holds
        assert "0 s" in said
        assert "ended" in said or "took longer" in said


def test_servers_take_free_ports_and_are_ended(tmp_path: Path, run: Callable[[str], tuple[bool, str]],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "cervello"
    command.write_text(f"#!{sys.executable}\nimport sys, time\nopen('arguments', 'a').write(' '.join(sys.argv[1:]) + chr(10))\n"
                       "if sys.argv[1] == 'serve':\n    print('listening tcp://127.0.0.1:1', flush=True)\n    time.sleep(60)\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    holds, said = run(fenced("bash", "cervello serve brains --listen tcp://127.0.0.1:5577  # a folder"))
    assert not holds  # this one dies of SIGTERM
    assert "expected exit status 0 after SIGTERM, got -15" in said
    assert (tmp_path / "empty" / "arguments").read_text().splitlines() == [
        "serve brains --listen tcp://127.0.0.1:0", "top tcp://127.0.0.1:1 -n 1"]


def test_a_checkout_is_not_installed() -> None:
    assert run_pages.rewritten("pip install . && cervello demo") == "pip install cervello && cervello demo"
    assert run_pages.rewritten("pip install cervello torch") == "pip install cervello torch"
