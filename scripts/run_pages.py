"""Runs what pages show, as a reader does who has only installed the package: every block in order, in an empty folder.

    python scripts/run_pages.py [--python PYTHON] [--wheels FOLDER] PAGE ...

PYTHON has the package installed and what the page's `<!-- needs: … -->` names; FOLDER has the wheel. A page is a path from the project's
root. Each page has a folder of its own, with the project's files that the page names and nothing else. Blocks by language:

    python        one program per page; a text block right behind shows what it prints, without one it prints nothing
    sh            its lines, in order; each ends with status 0
    console       `$ COMMAND`, and below it what the command prints; a line of `...` stands for any lines
    bash          `cervello serve …` is started on free ports, answers `cervello top`, and ends with status 0 when it is told to
    others        do not run: the paragraph above says "not run here", or names the file that has the lines; they are listed

What is printed must be what the page shows, character for character but for blanks at the end of a line, once `VARYING` has replaced what
differs between runs. Commands run as they are shown but for `REWRITTEN`. Needs the standard library only. Exit status 1 when a block fails.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from pages import ROOT, Block, blocks, needed, text_of

LIMIT_S = 300.0  # for a block
REWRITTEN = (  # in commands, with the reason
    (r"^pip install \.(?= |$)", "pip install cervello", "there is no checkout; pip looks into the folder of the wheel only"),
    (r"(tcp|ws)://([\w.]+):[1-9]\d*", r"\1://\2:0", "a free port"))
VARYING = (  # in what is printed and shown, with the reason
    (r"\d[\d,.]* ?(?:ns|µs|ms|s)\b", "TIME", "durations"),
    (r"\d[\d,.]*[kMG]? agent-steps per second", "RATE", "speeds"))
_PROJECT = re.compile(r"(?<![\w/.-])(?:examples|tests/data)/[\w./-]*\w")  # files of the project that commands and code name
# Executes code that comes as JSON, a line each, and answers with what it printed. Names are shared, as in one program.
_PROGRAM = """
import contextlib, io, json, linecache, sys, traceback
names, answers = {"__name__": "__main__"}, sys.stdout
for line in sys.stdin:
    code, name = json.loads(line)
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    printed, failure = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(code, name, "exec"), names)
        except BaseException:
            failure = traceback.format_exc()
    print(json.dumps([printed.getvalue(), failure]), file=answers, flush=True)
"""


class BlockError(Exception):
    """A block does not do what the page shows; the message is for people."""


class Program:
    """The Python of one page, in a process that lives until the `with` block ends."""

    def __init__(self, python: Path, folder: Path, environment: dict[str, str]):
        self._python, self._folder, self._environment = python, folder, environment

    def __enter__(self) -> Program:
        self._warnings = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # shown when a block fails
        self._process = subprocess.Popen([self._python, "-P", "-c", _PROGRAM], cwd=self._folder, env=self._environment,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._warnings, text=True,
                                         encoding="utf-8", start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._process)
        self._warnings.close()

    def run(self, code: str, name: str) -> str:
        """What the code prints.

        Raises:
          BlockError: it fails, with its traceback, or takes longer than LIMIT_S.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError), _limit(self._process):
            self._process.stdin.write(json.dumps([code, name]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            if answer:
                printed, failure = json.loads(answer)
                if failure is not None:
                    raise BlockError(f"{self._said()}{printed}{failure}")
                return str(printed)
        raise BlockError(f"{self._said()}Python has ended, or was ended after {LIMIT_S:.0f} s")

    def _said(self) -> str:
        """The last of what came on stderr."""
        self._warnings.seek(0)
        return self._warnings.read()[-4000:]


@contextlib.contextmanager
def _limit(process: subprocess.Popen[str]) -> Iterator[None]:
    """Ends a process that is not done after LIMIT_S."""
    def end(*_: object) -> None:
        os.killpg(process.pid, signal.SIGKILL)

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a process and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def rewritten(command: str) -> str:
    """A command as it is run."""
    for pattern, replacement, _ in REWRITTEN:
        command = re.sub(pattern, replacement, command)
    return command


def compare(shown: str, printed: str) -> None:
    """Checks that a program printed what a page shows.

    Raises:
      BlockError: it did not; with the difference.
    """
    expected, got = ([line.rstrip() for line in _settled(text).splitlines()] for text in (shown, printed))
    pattern = "".join("(?:.*\n)*?" if line == "..." else re.escape(f"{line}\n") for line in expected)
    if not re.fullmatch(pattern, "".join(f"{line}\n" for line in got)):
        raise BlockError("\n".join(difflib.unified_diff(expected, got, "the page", "printed", lineterm="")))


def _settled(text: str) -> str:
    for pattern, replacement, _ in VARYING:
        text = re.sub(pattern, replacement, text)
    return text


class Page:
    """One page in its folder."""

    def __init__(self, name: str, python: Path, environment: dict[str, str], folder: Path):
        self.name, self._python, self._environment, self._folder = name, python, environment, folder
        for path in sorted(set(_PROJECT.findall(text_of(name)))):
            source, target = ROOT / path, folder / path
            if source.exists() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy)(source, target)

    def run(self) -> bool:
        """Runs the blocks, a line for each; says whether all did what the page shows. After one that fails the others are not run."""
        with Program(self._python, self._folder, self._environment) as program:
            found = blocks(self.name)
            for block, following in zip(found, [*found[1:], None], strict=True):
                if block.kind == "text":  # compared with the block before
                    continue
                start = time.monotonic()
                said, error = "", None
                try:
                    said = self._run(block, following, program)
                except BlockError as failure:
                    said, error = "FAILED", failure
                title = next((line for line in block.text.splitlines() if line.strip()), "")
                print(f"{self.name}:{block.line:<4} {block.kind:8} {time.monotonic() - start:5.1f} s  {said:9} {title}", flush=True)
                if error is not None:
                    print(f"\n{error}\n", flush=True)
                    return False
        return True

    def _run(self, block: Block, following: Block | None, program: Program) -> str:
        """What became of the block, in a word."""
        if block.elsewhere:
            return "not run"
        if block.kind == "python":
            printed = program.run(block.text, f"{self.name}, the block of line {block.line}")
            compare(following.text if following is not None and following.kind == "text" else "", printed)
            return "as shown" if printed else "ran"
        if block.kind == "sh":
            for line in block.text.splitlines():
                self._shell(rewritten(line))
            return "ran"
        if block.kind == "console":
            command, _, shown = block.text.partition("\n")
            compare(shown, self._shell(rewritten(command.removeprefix("$ "))))
            return "as shown"
        if block.kind == "bash":
            for line in block.text.splitlines():
                self._serve(rewritten(line))
            return "served"
        raise BlockError(f"expected a language that runs, or a paragraph above that names the lines' file or says 'not run here', got "
                         f"{block.kind!r}")

    def _popen(self, command: str, **streams: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(["bash", "-c", command], cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL,
                                text=True, encoding="utf-8", start_new_session=True, **streams)

    def _shell(self, command: str) -> str:
        """What a command prints."""
        process = self._popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            printed, said = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise BlockError(f"{command}: took longer than {LIMIT_S:.0f} s") from error
        finally:
            _end(process)
        if process.returncode:
            raise BlockError(f"{command}\nexpected exit status 0, got {process.returncode}\n{printed}{said}")
        return str(printed)

    def _serve(self, command: str) -> None:
        """Starts a server, asks it, and ends it."""
        words = shlex.split(command, comments=True)
        if words[:2] != ["cervello", "serve"]:
            raise BlockError(f"{command}: expected cervello serve in a bash block; sh is for what ends")
        with tempfile.TemporaryFile("w+") as log:
            process = self._popen(f"exec {command}", stdout=subprocess.PIPE, stderr=log.fileno())
            try:
                assert process.stdout is not None
                for _ in range(max(words.count("--listen"), 1)):
                    with _limit(process):
                        line = process.stdout.readline()
                    if not line.startswith("listening "):
                        log.seek(0)
                        raise BlockError(f"{command}\nexpected a line 'listening ADDRESS', got {line!r}\n{log.read()}")
                    if not line.startswith("listening ws:"):
                        self._shell(f"exec cervello top {line.split()[1]} -n 1")
                process.terminate()
                status = process.wait(LIMIT_S)
                log.seek(0)
                if status:
                    raise BlockError(f"{command}\nexpected exit status 0 after SIGTERM, got {status}\n{log.read()}")
            finally:
                _end(process)


def reader(python: Path, wheels: Path | None) -> dict[str, str]:
    """The environment variables of somebody who has activated PYTHON's environment."""
    found = {name: value for name, value in os.environ.items()
             if name not in ("PYTHONPATH", "PYTHONHOME", "COLUMNS", "FORCE_COLOR", "VIRTUAL_ENV")}
    found |= {"PATH": f"{python.parent}{os.pathsep}{found['PATH']}", "PYTHONIOENCODING": "utf-8", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if wheels is not None:
        found |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels.resolve())}
    return found


def check_installed(python: Path, environment: dict[str, str], modules: list[str]) -> None:
    """Leaves when the package is not installed in PYTHON's environment, or a module is missing."""
    program = ("import pathlib, sys, cervello; print(cervello.__version__, 'from', pathlib.Path(cervello.__file__).parent); "
               "sys.exit(pathlib.Path(sys.prefix) not in pathlib.Path(cervello.__file__).parents)")
    if subprocess.run([python, "-P", "-c", program], env=environment, cwd=tempfile.gettempdir()).returncode:
        sys.exit(f"{python}: expected Cervello installed in its environment; pip install the wheel there")
    for module in modules:
        if subprocess.run([python, "-P", "-c", f"import {module}"], env=environment, stderr=subprocess.DEVNULL).returncode:
            sys.exit(f"{python}: expected the module {module}, which a page needs, got none")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="of the environment to run in (default: this one)")
    parser.add_argument("--wheels", type=Path, help="folder that pip installs from, instead of an index")
    parser.add_argument("pages", metavar="PAGE", nargs="+", help="as README.md or docs/guides/tutorial.md")
    arguments = parser.parse_args()
    python = arguments.python.absolute()  # not resolved: the link is what lies in the environment
    environment = reader(python, arguments.wheels)
    check_installed(python, environment, [module for page in arguments.pages for module in needed(page)])
    start, failed = time.monotonic(), []
    for page in arguments.pages:
        with tempfile.TemporaryDirectory() as folder:
            if not Page(page, python, environment, Path(folder)).run():
                failed.append(page)
    others = [f"{page}:{block.line} {block.kind}: {block.elsewhere}"
              for page in arguments.pages for block in blocks(page) if block.elsewhere]
    if others:
        print("not run, as the pages say:", *others, sep="\n  ")
    print(f"{len(arguments.pages)} pages in {time.monotonic() - start:.0f} s" + (f"; FAILED: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
