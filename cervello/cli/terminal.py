"""Output of a command: results on stdout; progress bars and remarks on stderr, unless --quiet or not a terminal.

rich is imported on first use. Markup is off everywhere: what is printed comes from model files.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cervello.cli.table import Facts, Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.text import Text

_WIDE = 100_000  # columns where no terminal sets a width: files and pipes lose nothing, and no line is broken
_REFRESH_S = 0.1
_PATIENCE_S = 1.0


class Bar:
    """One line of progress; does nothing where no bar can be drawn."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress, self._task = progress, task
        self._drawn_s = 0.0

    def show(self, done: float, total: float | None = None, detail: str | None = None) -> None:
        """Updates figures; draws at most ten times a second, and in the caller's thread, so that timings between stay clean."""
        if self._progress is None or self._task is None:
            return
        fields: dict[str, Any] = {} if detail is None else {"detail": detail}
        self._progress.update(self._task, completed=done, total=total, visible=True, **fields)
        now = time.monotonic()
        if now - self._drawn_s >= _REFRESH_S or done == total:
            self._drawn_s = now
            self._progress.refresh()

    def hide(self) -> None:
        """Until the next `show`."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, visible=False)
            self._progress.refresh()


class Terminal:
    """Mutable: the two consoles and the bars that are open. Use as a context manager."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._consoles: dict[bool, Console] = {}
        self._progress: Progress | None = None
        self._open_bars = 0
        self._lock = threading.RLock()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    # Results ------------------------------------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Prints text unchanged, such as JSON."""
        print(text)

    def json(self, facts: Any) -> None:
        """Facts as JSON; they hold no NaN and no infinity, which JSON cannot express."""
        self.write(json.dumps(facts, indent=2, allow_nan=False))

    def print(self, *things: Any, style: str | None = None) -> None:
        """Texts, tables and facts; columns without room are named in a remark."""
        console = self._console(error=False)
        width = None if console.width == _WIDE else console.width
        missing: list[str] = []
        drawn: list[Any] = []
        for thing in things:
            if isinstance(thing, Table):
                table, left_out = thing.fitted(width)
                drawn.append(table)
                missing += left_out
            else:
                drawn.append(thing.fitted(width) if isinstance(thing, Facts) else thing)
        if console.is_terminal:
            console.print(*drawn, style=style)
        else:
            with console.capture() as capture:
                console.print(*drawn, style=style)
            for line in capture.get().splitlines():
                print(line.rstrip())  # rich fills cells with blanks, which are of no use in a file
        if missing:
            self.remark(f"left out, since {console.width} columns do not hold it: {', '.join(missing)}; --json has all")

    def table(self, columns: Sequence[str]) -> Table:
        """An empty table; `Table` says what stands in front of headings."""
        return Table(columns)

    def grid(self) -> Facts:
        """An empty list of facts."""
        return Facts()

    @staticmethod
    def styled(text: str, style: str) -> Text:
        """Text with a style of its own inside a table."""
        from rich.text import Text

        return Text(text, style=style)

    # Remarks and progress -------------------------------------------------------------------------------------------------

    def remark(self, text: str) -> None:
        """A line on stderr that is no result."""
        if not self.quiet:
            self._console(error=True).print(text, style="dim")

    @property
    def draws_bars(self) -> bool:
        return not self.quiet and self._console(error=True).is_terminal

    @contextmanager
    def bar(self, what: str, total: float | None = None) -> Iterator[Bar]:
        """A progress bar inside the block; several may be open at once, also from another thread. All vanish in the end."""
        if not self.draws_bars:
            yield Bar(None, None)
            return
        with self._lock:
            progress = self._start()
            task = progress.add_task(what, total=total, detail="")
            self._open_bars += 1
        try:
            yield Bar(progress, task)
        finally:
            with self._lock:
                progress.remove_task(task)
                self._open_bars -= 1
                if not self._open_bars:
                    self._stop()

    @contextmanager
    def busy(self, what: str, patience_s: float | None = None) -> Iterator[None]:
        """A bar without a count, in a block that takes longer than `patience_s` seconds (default: 1)."""
        if not self.draws_bars:
            yield
            return
        over, patience_s = threading.Event(), _PATIENCE_S if patience_s is None else patience_s
        thread = threading.Thread(target=self._draw_until, args=(over, what, patience_s), name="cervello-busy", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _draw_until(self, over: threading.Event, what: str, patience_s: float) -> None:
        if over.wait(patience_s):
            return
        with self.bar(what) as bar:
            while not over.wait(2 * _REFRESH_S):
                bar.show(0)

    def _start(self) -> Progress:
        if self._progress is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeElapsedColumn
            from rich.text import Text

            class Count(MofNCompleteColumn):
                """Blank where nothing is counted."""

                def render(self, task: Task) -> Text:
                    return Text() if task.total is None else super().render(task)

            self._progress = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), Count(), TimeElapsedColumn(),
                TextColumn("{task.fields[detail]}", style="dim", markup=False),
                console=self._console(error=True), transient=True, auto_refresh=False)
            self._progress.start()
        return self._progress

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _console(self, error: bool) -> Console:
        if error not in self._consoles:
            from rich.console import Console

            console = Console(stderr=error, markup=False, emoji=False, highlight=False, soft_wrap=False)
            if not console.is_terminal and "COLUMNS" not in os.environ:
                console.width = _WIDE
            if hasattr(console, "on_broken_pipe"):
                console.on_broken_pipe = _raise_broken_pipe  # type: ignore[method-assign]
            self._consoles[error] = console
        return self._consoles[error]


def _raise_broken_pipe() -> None:
    """Raises; rich would exit the process with status 1 instead."""
    raise sys.exc_info()[1] or BrokenPipeError
