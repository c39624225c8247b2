"""`cervello serve` as a process of its own, which must end well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

TIME_LIMIT_S = 60.0
_WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; from cervello.cli import main; sys.exit(main())"


class ServerProcess:
    """A server that serves until the block ends. A server that ends otherwise than it was told to, or logs an error, fails the block.

    Args:
      brains: the folder of policies, or "--demo". options: of the command. listen: addresses.
      uvloop: whether it may use uvloop where that is installed.
    Attributes:
      addresses: where it listens. killed: it was meant to die.
    """

    def __init__(self, brains: Path | str, *options: str, listen: Sequence[str] = ("tcp://127.0.0.1:0",), uvloop: bool = True):
        start = ["-m", "cervello"] if uvloop else ["-c", _WITHOUT_UVLOOP]
        self._command = [sys.executable, *start, "serve", str(brains), *options, *(word for each in listen
                                                                                             for word in ("--listen", each))]
        self._n_addresses = len(listen)
        self.addresses: list[str] = []
        self.killed = False

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self.process.stdout is not None
        for _ in range(self._n_addresses):
            line = self.process.stdout.readline()
            if not line.startswith("listening "):
                self.process.kill()
                self.process.wait(TIME_LIMIT_S)
                raise AssertionError(f"expected a server that listens, got {line!r} and {self.log()}")
            self.addresses.append(line.split()[1])
        return self

    def log(self) -> str:
        """What it has logged."""
        self._log.flush()
        self._log.seek(0)
        return self._log.read()

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def resident_bytes(self) -> int:
        """Memory that it has (Linux)."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """Seconds of processor time that it has used (Linux)."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            words = stat.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """It dies, as it is meant to."""
        self.killed = True
        self.process.kill()
        self.process.wait(TIME_LIMIT_S)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            try:
                status = self.process.wait(TIME_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                status = self.process.wait(TIME_LIMIT_S)
            log = self.log()
        finally:
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._log.close()
        if kind is None and not self.killed:
            errors = [line for line in log.splitlines() if not line.startswith("{") or json.loads(line)["level"] not in ("info", "warning")]
            assert status == 0, f"expected a server that ends with 0, got {status}: {log[-2000:]}"
            assert not errors, f"expected no error in the log, got {errors[:5]}"


def wait_until(what: object, timeout_s: float = 20.0) -> None:
    """Waits until a function says yes."""
    until = time.monotonic() + timeout_s
    while not what():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.01)
