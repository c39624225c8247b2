"""README and docs/ do what they say: their Python runs and prints what they show, their commands run, what they name is there.

A Python block is followed by a text block with what it prints, or prints nothing; the blocks of a page share their names. A console block
shows a command and what it prints, where numbers are not compared and a line of `...` stands for any lines. Blocks of other languages, py
and bash do not run: the paragraph above names the file that has their lines, or says "not run here". README's own bash block is run by
tests/test_readme.py, the console blocks of docs/examples.md by tests/test_examples.py.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from pages import ROOT, assert_shown, blocks, needed, pages, text_of, with_blocks

import cervello

BUILT = "cervello/codegen/object_code/"  # a wheel's build makes it
SHOWN = ("py", "bash", "c", "cs", "gdscript", "js", "lua")


def run(command: str, folder: Path) -> str:
    """What a `cervello …` command prints in a folder."""
    found = str(Path(cervello.__file__).parent.parent)
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    done = subprocess.run([sys.executable, "-m", *shlex.split(command)], cwd=folder, capture_output=True, text=True, encoding="utf-8",
                          timeout=300, env={**environment, "PYTHONPATH": found, "PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples, and policies of Stable-Baselines3 and of other exporters, in it, where everything runs."""
    for name in ("examples", "tests/data/sb3", "tests/data/exporters"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", with_blocks("python"))
def test_python_runs_in_order_and_prints_what_is_shown(page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module in needed(page):
        pytest.importorskip(module)
    if needed(page):
        warnings.simplefilter("ignore")  # of other libraries; pytest takes the filter back
    found = blocks(page, "python", "text")
    names: dict[str, object] = {"__name__": "__main__"}
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block.kind == "python":
            exec(compile(block.text, page, "exec"), names)
            assert capsys.readouterr().out == (following.text if following is not None and following.kind == "text" else "")


def commands(page: str) -> list[str]:
    """`cervello …` lines of shell blocks."""
    lines = "".join(block.text for block in blocks(page, "sh")).splitlines()
    return [line.partition("  #")[0].rstrip() for line in lines if line.startswith("cervello ")]


@pytest.mark.parametrize("page", [page for page in pages() if commands(page)])
def test_commands_run_in_order(page: str, folder: Path) -> None:
    for command in commands(page):
        assert run(command, folder), command


def test_the_page_of_commands_shows_every_one_that_ends_and_needs_no_more() -> None:
    expected = {"api", "benchmark", "compare", "demo", "doctor", "plan", "profile", "run", "warmup"}
    assert expected <= {line.split()[1] for line in commands("docs/commands.md")}


@pytest.mark.parametrize("page", [page for page in with_blocks("console") if page != "docs/examples.md"])
def test_the_console_shows_what_commands_print(page: str, folder: Path) -> None:
    for block in blocks(page, "console"):
        command, _, shown = block.text.partition("\n")
        assert_shown(shown, run(command.removeprefix("$ "), folder))


@pytest.mark.parametrize("page", [page for page in with_blocks(*SHOWN) if page != "README.md"])
def test_what_does_not_run_says_so_or_is_in_a_file_that_does(page: str) -> None:
    for block in blocks(page, *SHOWN):
        assert block.elsewhere, (block.before, block.text)


def test_the_citation_has_the_version() -> None:
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited is not None
    assert cited[1] == cervello.__version__


@pytest.mark.parametrize("page", pages())
def test_what_it_names_is_there(page: str) -> None:
    text = text_of(page)
    named = set(re.findall(r"(?<![\w/.])((?:benchmarks|cervello|clients|docs|examples|scripts|tests)/[\w./-]*\w)", text))
    assert [name for name in sorted(named) if not (ROOT / name).exists() and not name.startswith(BUILT)] == []
    linked = {link for link in re.findall(r"\]\(([\w./-]+)\)", text) if "://" not in link}
    assert [link for link in sorted(linked) if not (ROOT / page).parent.joinpath(link).exists()] == []
