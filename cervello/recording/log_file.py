"""An append-only log on disk. It is locked while open, and a failed write leaves it unchanged."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cervello.errors import InputError, RecordingError
from cervello.recording import frames

try:
    import fcntl
except ImportError:  # Windows: nothing keeps a second writer away
    fcntl = None  # type: ignore[assignment]


class LogFile:
    """A file of frames, open for appending. Each write goes to the operating system at once, so a killed process loses nothing written.

    Attributes:
      path: of the file.
      n_bytes: of the file, which holds whole frames only.
      cut_bytes: length of the torn tail that was cut when the file was opened.
      has_records: whether it held records then.
    """

    def __init__(self, path: Path):
        self.path = path
        self._is_torn = False
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise RecordingError(f"recording {str(path)!r}: expected a file that can be written, got {error.strerror}; check its folder "
                                 "and permissions, or record to another file") from error
        try:
            self._lock()
            self.n_bytes, self.cut_bytes = self._measure()
            if self.cut_bytes:
                os.ftruncate(self._file, self.n_bytes)
            self.has_records = self.n_bytes > len(frames.FILE_HEADER)
            if not self.n_bytes:
                self._append(frames.FILE_HEADER)
        except BaseException:
            os.close(self._file)
            raise

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RecordingError(f"recording {str(self.path)!r}: expected a file that no other writer has open, got one that is locked; "
                                 "close the other writer or record to another file") from error

    def _measure(self) -> tuple[int, int]:
        """Bytes of whole frames at the start of the file, and bytes after them."""
        n_bytes = os.fstat(self._file).st_size
        with open(self.path, "rb") as file:
            if not frames.check_file_header(file, self.path):
                return 0, n_bytes
            whole = len(frames.FILE_HEADER)
            for whole, _ in frames.read_bodies(file, self.path, n_bytes, skip=True):  # noqa: B007, the last one counts
                pass
        return whole, n_bytes - whole

    def write(self, body: bytes) -> None:
        """Appends a record.

        Raises:
          InputError: the record is too long. RecordingError: it cannot be written; the file is unchanged.
        """
        if len(body) > frames.MAX_BODY_BYTES:
            raise InputError(f"recording {str(self.path)!r}: expected a record of at most {frames.MAX_BODY_BYTES} bytes, got {len(body)}; "
                             "give fewer rows at a time")
        self._append(frames.frame(body))

    def _append(self, data: bytes) -> None:
        written = 0
        try:
            if self._is_torn:
                os.ftruncate(self._file, self.n_bytes)
                self._is_torn = False
            os.lseek(self._file, self.n_bytes, os.SEEK_SET)
            while written < len(data):
                written += os.write(self._file, memoryview(data)[written:])
        except BaseException as error:  # an interrupt too must not leave half a record
            if written:
                self._is_torn = True
                with contextlib.suppress(OSError):  # the next write tries again before it writes
                    os.ftruncate(self._file, self.n_bytes)
                    self._is_torn = False
            if isinstance(error, OSError):
                raise RecordingError(f"recording {str(self.path)!r}: expected room for {len(data)} bytes after {self.n_bytes}, got "
                                     f"{error.strerror}; what was recorded before is whole, free space and repeat the call") from error
            raise
        self.n_bytes += len(data)

    def sync(self) -> None:
        """Returns when all written records are on the disk.

        Raises:
          RecordingError: the disk reports a failure.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise RecordingError(f"recording {str(self.path)!r}: expected a disk that takes what was written, got {error.strerror}; "
                                 "record to another disk") from error

    def close(self) -> None:
        """Closes and unlocks the file."""
        os.close(self._file)
