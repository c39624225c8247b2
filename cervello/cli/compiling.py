"""The bar shown while kernels compile for the first time on a machine, if that takes over a second."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cervello.cli.formatting import plural, size
from cervello.cli.terminal import Terminal

_DELAY_S = 1.0
_POLL_S = 0.2
_REPORT_S = 2.0


@contextmanager
def shown(terminal: Terminal, delay_s: float = _DELAY_S, counts: bool = False) -> Iterator[CompilationWatch]:
    """Shows compilation inside the block; yields the watch, which knows how many kernels were compiled.

    Args:
      counts: say every two seconds how many kernels are done, where there is no terminal for a bar.
    """
    from cervello.codegen import linker

    watch = CompilationWatch(terminal, delay_s, counts)
    try:
        with linker.progress(watch.report), _postponed_interrupts(watch):
            yield watch
    finally:
        watch.close()


@contextmanager
def _postponed_interrupts(watch: CompilationWatch) -> Iterator[None]:
    """Ctrl-C takes effect between two kernels: an exception raised in a callback from LLVM is lost. A second one does not wait."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if watch.compiles and not watch.interrupted:
            watch.interrupted = True
        else:
            signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class CompilationWatch:
    """Mutable: what the linker reported so far. A thread draws, since one kernel may take seconds.

    Attributes:
      compiled: kernels compiled so far.
      interrupted: set to stop before the next kernel.
    """

    def __init__(self, terminal: Terminal, delay_s: float, counts: bool) -> None:
        self._terminal, self._delay_s, self._counts = terminal, delay_s, counts
        self._latest: tuple[int, int, str] | None = None  # None while nothing compiles
        self._began_s = 0.0
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.compiled = 0
        self.interrupted = False

    @property
    def compiles(self) -> bool:
        """Whether a kernel is being compiled now."""
        return self._latest is not None

    def report(self, done: int, total: int, name: str) -> None:
        """The linker's callback."""
        if self._thread is None and not self._terminal.quiet:
            self._began_s = time.monotonic()
            self._thread = threading.Thread(target=self._draw, name="cervello-compiling", daemon=True)
            self._thread.start()
        self.compiled += done > 0
        self._latest = (done, total, name) if done < total else None
        if self.interrupted:
            raise KeyboardInterrupt

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _draw(self) -> None:
        while (latest := self._latest) is None or time.monotonic() - self._began_s < self._delay_s:
            if self._closed.wait(_POLL_S):
                return
        if not self._terminal.draws_bars:
            self._terminal.remark(f"compiling kernels for this machine, once{_where_kept()}")
            while self._counts:
                if latest is not None:
                    self._terminal.remark(f"compiling kernels for this machine: {latest[0]} of {latest[1]} done")
                if self._closed.wait(_REPORT_S):
                    return
                latest = self._latest
            return
        with self._terminal.bar("compiling for this machine, once") as bar:
            while not self._closed.wait(_POLL_S):
                latest = self._latest
                if latest is None:
                    bar.hide()
                else:
                    bar.show(latest[0], latest[1], kernel(latest[2]))


def kernel(reference: str) -> str:
    """`package.module:name` in short form: `module:name`."""
    return reference.rpartition(".")[2]


def _where_kept() -> str:
    from cervello.codegen import cache

    folder = cache.folder()
    return "" if folder is None else f"; kept in {folder}"


def cache_facts() -> dict[str, Any]:
    """Location and size of compiled kernels: folder (None where nothing is writable), kernels, n_bytes; carried: level and
    kernels of the object code that the package carries for this machine, or None."""
    from cervello.codegen import cache, prebuilt

    folder, bundled = cache.folder(), prebuilt.bundled()
    files = [] if folder is None else list(folder.glob("*.o"))
    return {"folder": None if folder is None else str(folder), "kernels": len(files), "n_bytes": sum(f.stat().st_size for f in files),
            "carried": None if bundled is None else {"level": bundled.level.name, "kernels": len(bundled.kernels)}}


def cache_line() -> str:
    """The same as a sentence."""
    facts = cache_facts()
    if facts["folder"] is None:
        line = "cache: nothing is writable, so compiled kernels last as long as the process; set CERVELLO_CACHE_DIR"
    else:
        line = f"cache: {facts['folder']} ({plural(facts['kernels'], 'kernel')}, {size(facts['n_bytes'])})"
    return f"{line}{bundled_text(facts)}"


def bundled_text(facts: dict[str, Any]) -> str:
    """What `cache_facts` say of the package's own object code, as the end of a sentence; nothing without any."""
    bundled = facts["carried"]
    return "" if bundled is None else f"; the package carries {plural(bundled['kernels'], 'kernel')} for {bundled['level']}"
