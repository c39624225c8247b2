"""Schemas: the shapes and dtypes of an episode's rows, which are the same in all of its records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cervello.errors import InputError
from cervello.recording.arguments import Schema, check_infos, format_schema, info_kind, schema_dtype
from cervello.recording.open_episodes import FIXED_SCHEMA_COLUMNS, OpenEpisodes
from cervello.recording.trees import Path, format_path
from cervello.spec import Array

Columns = dict[Path, Array]


@dataclass(frozen=True, eq=False)
class RecordSchemas:
    """The schemas of one record.

    Attributes:
      numbers: of the schemas of observations and actions, by name of the column. infos: kind and shape of a row, by path.
    """

    numbers: dict[str, int]
    infos: dict[Path, tuple[str, tuple[int, ...]]]


class Schemas:
    """Shapes and dtypes of rows: of observations and actions within an episode, of infos within a writer. Mutable: `commit` is called once
    a checked record is written.

    Args:
      open_episodes: they hold the numbers of their schemas.
      where: begins the messages.
    """

    def __init__(self, open_episodes: OpenEpisodes, where: str):
        self._open_episodes, self._where = open_episodes, where
        self._numbers: dict[frozenset[tuple[Path, str, tuple[int, ...]]], int] = {}
        self._infos: dict[Path, tuple[str, tuple[int, ...]]] = {}

    def check(self, found: Columns, slots: Array | None) -> RecordSchemas:
        """The schemas of a record.

        Args:
          found: the record's columns.
          slots: [n] of its episodes; None where they begin.
        Raises:
          InputError: rows differ from the earlier ones.
        """
        numbers: dict[str, int] = {}
        for name in FIXED_SCHEMA_COLUMNS:
            rows: Schema = tuple((path, schema_dtype(array), array.shape[1:]) for path, array in found.items() if path[0] == name)
            if rows:
                numbers[name] = self._numbers.setdefault(frozenset(rows), len(self._numbers))
                if slots is not None:
                    self._check_same(name, numbers[name], rows, self._open_episodes.schemas[name][slots])
        infos = {path: (info_kind(array), array.shape[1:]) for path, array in found.items() if path[0] == "infos"}
        for path, (kind, shape) in infos.items():
            known_kind, known_shape = self._infos.get(path, (kind, shape))
            if (known_kind, known_shape) != (kind, shape):
                raise InputError(f"{self._where}, {format_path(path)!r}: expected rows of {known_shape} {known_kind} as before, got "
                                 f"{shape} {kind}; leave it out or name it otherwise")
        if infos:
            check_infos(self._infos, infos, self._where)
        return RecordSchemas(numbers, infos)

    def _check_same(self, name: str, number: int, rows: Schema, known: Array) -> None:
        """Raises InputError unless a schema is the one that each episode has had, known: [n] int64, −1 where it has none yet."""
        differs = (known >= 0) & (known != number)
        if differs.any():
            expected = self._schema(known[differs][0])
            raise InputError(f"{self._where}, {name!r}: expected rows as the episode's earlier ones, {format_schema(expected)}, got "
                             f"{format_schema(rows)}; record rows of another kind in another episode")

    def _schema(self, number: int) -> frozenset[tuple[Path, str, tuple[int, ...]]]:
        return next(schema for schema, known in self._numbers.items() if known == number)

    def check_action(self, found: Columns, slots: Array) -> None:
        """Raises InputError unless the leaves of an action are leaves of the actions that the episodes have."""
        given = {(path, schema_dtype(array), array.shape[1:]) for path, array in found.items() if path[0] == "action"}
        for number in np.unique(self._open_episodes.schemas["action"][slots]):
            schema = self._schema(number)
            if not given <= schema:
                raise InputError(f"{self._where}, 'action': expected leaves of the episode's actions, {format_schema(schema)}, got "
                                 f"{format_schema(given)}; give the action, or some of its keys, as it was recorded")

    def commit(self, slots: Array, written: RecordSchemas) -> None:
        """Stores the schemas of a record that was written, for its episodes, slots: [n]."""
        for name, number in written.numbers.items():
            self._open_episodes.schemas[name][slots] = number
        self._infos |= written.infos
