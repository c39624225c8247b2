"""Where a command speaks: results on stdout; progress bars and remarks on stderr, unless --quiet or not a terminal.

rich is imported on first use. Markup is off everywhere: what is printed comes from model files.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table
    from rich.text import Text

_WIDE = 200  # columns where no terminal sets a width: files and pipes should not lose anything
_NARROW = 10  # columns that a name gets at least
_REFRESH_S = 0.1


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
        """Text as it is, such as JSON."""
        print(text)

    def print(self, *things: Any, style: str | None = None) -> None:
        """Texts and tables."""
        console = self._console(error=False)
        if console.is_terminal:
            console.print(*things, style=style)
            return
        with console.capture() as capture:
            console.print(*things, style=style)
        for line in capture.get().splitlines():
            print(line.rstrip())  # rich fills cells with blanks, which are of no use in a file

    def table(self, columns: Sequence[str], title: str | None = None) -> Table:
        """An empty table; a column that begins with `>` is aligned to the right, one that begins with `~` may be folded."""
        from rich import box
        from rich.table import Table

        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False,
                      show_edge=False)
        for column in columns:
            if column.startswith("~"):
                table.add_column(column[1:], overflow="fold", min_width=_NARROW)
            elif column.startswith(">"):
                table.add_column(column[1:], justify="right", no_wrap=True)
            else:
                table.add_column(column, no_wrap=True)
        return table

    def grid(self) -> Table:
        """A table of facts without lines: a name, then what is said about it."""
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        return grid

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

    def _start(self) -> Progress:
        if self._progress is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._progress = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
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
    """rich would leave the process with status 1 in the midst of it."""
    raise sys.exc_info()[1] or BrokenPipeError
