"""`cervello.watch`: a policy that follows a file which training rewrites."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from cervello.agents.policy.loading import load
from cervello.agents.policy.policy import Policy
from cervello.errors import CervelloError, ConfigurationError, MissingFileError
from cervello.native import Model

_log = logging.getLogger("cervello.watch")
FileVersion = tuple[int, int, int]


class Watch:
    """A policy and the file that it follows. `check` checks the file once; as a context manager, or after `start`, a thread checks it
    periodically.

    A file is loaded only if it has not changed for `settle_s` before it is read nor while it is read, so a half-written file is ignored. A
    trainer that writes to another file and renames it (`os.replace`) is safe in any case. A file that cannot be used, or whose inputs or
    outputs differ, changes nothing: the policy decides as before, `error` has the reason, and the next version is tried. Only the model's
    own file is checked: a trainer that keeps weights in files beside it writes the model last. A file whose external data are missing is
    tried again at every check, until they are there.

    Made by `cervello.watch`, which describes the arguments.

    Attributes:
      path: the file.
      policy: the policy; agents use it as any other.
      error: why the newest file was not loaded; None if it was.
    """

    def __init__(self, path: str | os.PathLike[str], policy: Policy, *, interval_s: float, settle_s: float,
                 on_swap: Callable[[Policy], object] | None, on_error: Callable[[Exception], object] | None, seen: FileVersion | None,
                 accept: Callable[[Model], object] | None = None):
        self.path, self.policy = Path(path), policy
        self.error: Exception | None = None
        self._is_missing = False  # whether the file is missing
        self._error_before: Exception | None = None  # the error before the file went missing
        self._interval_s, self._settle_s = interval_s, settle_s
        self._on_swap, self._on_error, self._accept = on_swap, on_error, accept
        self._checked_version = seen  # the file that was checked last, loaded or not
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Watch({str(self.path)!r}, version={self.policy.version}, error={self.error!r})"

    def check(self) -> bool:
        """Checks the file once; waits up to `settle_s` if it has just been written.

        Returns:
          whether the policy was swapped.
        """
        file_version = _file_version(self.path)
        if file_version is None:
            if not self._is_missing:
                self._is_missing, self._error_before = True, self.error
                self._failed(MissingFileError(f"watch {str(self.path)!r}: expected a file, found none; version "
                                              f"{self.policy.version} of the policy stays active"))
            return False
        if file_version == self._checked_version:
            if self._is_missing:  # the same file is back
                self._is_missing, self.error = False, self._error_before
            return False
        self._is_missing = False
        if self._changes_within(self._settle_s, file_version):
            return False
        try:
            model = self.policy.model.loaded(self.path)
            if file_version != _file_version(self.path):  # it was written while it was read
                return False
            self._checked_version = file_version
            if self._accept is not None:
                self._accept(model)
            self.policy.replace(model)
        except CervelloError as error:
            if file_version == _file_version(self.path):
                if not isinstance(error, MissingFileError):
                    self._checked_version = file_version
                if str(error) != str(self.error) or not isinstance(error, MissingFileError):
                    self._failed(error)
            return False
        self.error = None
        _log.info("%s: version %d", self.path, self.policy.version)
        if self._on_swap is not None:
            self._on_swap(self.policy)
        return True

    def seen(self) -> Watch:
        """Marks the current file as the one that the policy decides with: only a later one is loaded."""
        self._checked_version = _file_version(self.path)
        return self

    def _changes_within(self, seconds: float, file_version: FileVersion) -> bool:
        time.sleep(seconds)
        return file_version != _file_version(self.path)

    def _failed(self, error: Exception) -> None:
        self.error = error
        _log.warning("%s: version %d goes on: %s", self.path, self.policy.version, error)
        if self._on_error is not None:
            self._on_error(error)

    def start(self) -> Watch:
        """Checks every `interval_s` on a thread of its own, until `stop`."""
        if self._thread is None or not self._thread.is_alive():
            self._stopping.clear()
            self._thread = threading.Thread(target=self._look, name=f"cervello watch {self.path.name}", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the thread; the policy keeps its current model."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def _look(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                self.check()
            except Exception as error:  # a callback's: the watch continues and reports it
                self.error = error
                _log.exception("%s: expected callbacks that return, got an error", self.path)

    def __enter__(self) -> Watch:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def watch(path: str | os.PathLike[str], policy: Policy | None = None, *, interval_s: float = 0.5, settle_s: float = 0.1,
          on_swap: Callable[[Policy], object] | None = None, on_error: Callable[[Exception], object] | None = None,
          accept: Callable[[Model], object] | None = None, **options: Any) -> Watch:
    """Follows a policy file that is rewritten while agents use it.

        with cervello.watch("racer.onnx", wrappers="auto") as racer:
            racer.policy.begin_agent(7)

    Args:
      path: the file.
      policy: follows the file from now on; None loads it.
      interval_s: seconds between two checks of the thread.
      settle_s: how long a file must stay unchanged before it is read.
      on_swap: called with the policy after every swap, on the checking thread.
      on_error: called with the error if a file is not loaded.
      accept: called with a new model before it is used; a CervelloError that it raises rejects the file.
      options: of `cervello.load`, if there is no policy.
    Raises:
      MissingFileError: there is no such file. ModelError: it cannot be used. ConfigurationError: invalid options.
    """
    for name, seconds in (("interval_s", interval_s), ("settle_s", settle_s)):
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
            raise ConfigurationError(f"watch, {name}: expected seconds of at least 0, got {seconds!r}")
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigurationError(f"watch: expected the path of a policy file, got {path!r}")
    seen = _file_version(Path(path))
    if seen is None:
        raise MissingFileError(f"watch {str(path)!r}: expected a file, found none; train and export first, then watch")
    if policy is None:
        policy = load(path, **options)
    elif options:
        raise ConfigurationError(f"watch {str(path)!r}: expected options of load only without a policy, got {sorted(options)}")
    else:
        seen = None  # the policy may come from anywhere: the first check loads the file
    return Watch(path, policy, interval_s=interval_s, settle_s=settle_s, on_swap=on_swap, on_error=on_error, seen=seen,
                 accept=accept)


def _file_version(path: Path) -> FileVersion | None:
    """Identity and modification time of the file; None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
