"""Reads recordings: logs, and Minari datasets through `minari_reading`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from cervello.errors import InputError, MissingFileError, RecordingError
from cervello.recording import frames
from cervello.recording.assembly import Assembler
from cervello.recording.episode import Episode
from cervello.recording.minari_reading import MinariRecording
from cervello.recording.records import Kind, decode_record
from cervello.recording.spaces import build


class Recording(Protocol):
    """Episodes on disk. Iterating reads them one after the other and may be done again; only what is needed is in memory.

    Attributes:
      path: the file or folder.
      metadata: that of the first writer.
    """

    @property
    def path(self) -> Path:
        """The file or folder that was read."""
    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of the whole recording, by name."""
    @property
    def observation_space(self) -> Any:
        """Gymnasium's space, or None where none was recorded."""
    @property
    def action_space(self) -> Any:
        """Gymnasium's space, or None where none was recorded."""
    def __iter__(self) -> Iterator[Episode]: ...


class Log:
    """A recording in a log. Episodes come in the order in which they ended; those that never ended come last, in the order in which they
    began, or where a later writer opened the log. Holds only the episodes that are open at one position of the log.

    Attributes:
      path: the file. metadata: what the first writer was given.
      damage: of the last iteration with `until_damage`: kind and place of the damage; None without damage.
      n_empty: of the last iteration: episodes without a step, which are left out.
    """

    def __init__(self, path: Path, until_damage: bool = False):
        self.path = path
        self._until_damage = until_damage
        self.damage: str | None = None
        self.n_empty = 0
        session = self._first_session()
        self.metadata: Mapping[str, Any] = session.get("metadata") or {}
        self._spaces = session.get("observation_space"), session.get("action_space")

    @property
    def observation_space(self) -> Any:
        """Gymnasium's space, or None where none was recorded."""
        return build(self._spaces[0])

    @property
    def action_space(self) -> Any:
        """Gymnasium's space, or None where none was recorded."""
        return build(self._spaces[1])

    def __iter__(self) -> Iterator[Episode]:
        """The episodes.

        Raises:
          FormatError: damage before the end; the message names the place. Episodes that ended before it have been yielded.
        """
        assembler = Assembler()
        self.damage = None
        with self._open() as file:
            at = len(frames.FILE_HEADER)
            try:
                for end, body in self._bodies(file):
                    yield from assembler.add_record(decode_record(body))
                    at = end
            except (frames.DamageError, ValueError) as error:
                self._report_damage(at, error)
            try:
                yield from assembler.flush()
            except ValueError as error:
                self._report_damage(at, error)
        self.n_empty = assembler.n_empty

    def _first_session(self) -> Mapping[str, Any]:
        """The contents of the first record; empty if it is no session, or damaged, which iterating reports."""
        with self._open() as file, suppress(frames.DamageError, ValueError):
            first = next(self._bodies(file), None)
            if first is not None:
                record = decode_record(first[1])
                return record.metadata if record.kind is Kind.SESSION else {}
        return {}

    def _report_damage(self, at: int, error: Exception) -> None:
        """Keeps the message of a damage found behind byte `at`, or raises it as a FormatError without `until_damage`."""
        if not isinstance(error, frames.DamageError):
            cause = error
            error = frames.DamageError(f"recording {str(self.path)!r}, byte {at}: expected a record that fits what is before it, got "
                                       f"{cause}; read what is before it with until_damage=True (cervello evaluate --until-damage)")
            error.__cause__ = cause
        if not self._until_damage:
            raise error
        self.damage = self.damage or str(error)

    def _open(self) -> BinaryIO:
        try:
            return open(self.path, "rb")
        except FileNotFoundError as error:
            raise MissingFileError(f"recording {str(self.path)!r}: expected a file or folder, found none; check the path") from error
        except OSError as error:
            raise RecordingError(f"recording {str(self.path)!r}: expected a file that can be read, got {error.strerror}; check its "
                                 "permissions") from error

    def _bodies(self, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
        n_bytes = os.fstat(file.fileno()).st_size
        if frames.check_file_header(file, self.path):
            yield from frames.read_bodies(file, self.path, n_bytes)


def read(path: str | os.PathLike[str] | None = None, *, minari: str | None = None, until_damage: bool = False) -> Log | MinariRecording:
    """Opens a recording on disk for iteration.

    A log that is being written may be read: it ends with the last whole record. A torn tail, which a killed process or machine
    leaves, is not an error.

    Args:
      path: a log, or the folder of a Minari dataset.
      minari: instead of a path, the id of a Minari dataset, "namespace/name-v0".
      until_damage: read a damaged log up to the damage.
    Raises:
      MissingFileError: no such file or folder. FormatError: it is no recording. InputError: neither or both of path and minari.
      RecordingError: the extra `minari` is required and missing.
    """
    if (path is None) == (minari is None):
        raise InputError(f"recording, read: expected a path or minari=, got {'neither' if path is None else 'both'}; give one of them")
    if minari is not None:
        return MinariRecording.of_id(minari)
    place = Path(path)  # type: ignore[arg-type]
    if place.is_dir():
        return MinariRecording.of_folder(place)
    return Log(place, until_damage)
