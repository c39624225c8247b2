"""What the rows of each episode's columns are: equal in all records of the episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.recording.arguments import Schema, check_infos, exact_kind, rough_kind, shown
from cervello.recording.lanes import SAME_ROWS, Lanes
from cervello.recording.trees import Path, named
from cervello.spec import Array

Columns = dict[Path, Array]


@dataclass(frozen=True, eq=False)
class Checked:
    """What `Schemas.check` found in a record.

    Attributes:
      schemas: numbers of the schemas of observations and actions, by name. infos: kind and shape of a row, by path.
    """

    schemas: dict[str, int]
    infos: dict[Path, tuple[str, tuple[int, ...]]]


class Schemas:
    """Shapes and dtypes of rows: of observations and actions within an episode, of infos within a writer. Mutable: `keep` is called once a
    checked record is written.
    """

    def __init__(self, lanes: Lanes, where: str):
        """lanes: the open episodes, which hold the numbers of their schemas. where: begins the messages."""
        self._lanes, self._where = lanes, where
        self._numbers: dict[Any, int] = {}
        self._infos: dict[Path, tuple[str, tuple[int, ...]]] = {}

    def check(self, found: Columns, lanes: Array | None) -> Checked:
        """The schemas of a record.

        Args:
          lanes: [n] of its episodes; None where they begin.
        Raises:
          InputError: rows differ from the earlier ones.
        """
        schemas: dict[str, int] = {}
        for name in SAME_ROWS:
            rows: Schema = tuple((path, exact_kind(array), array.shape[1:]) for path, array in found.items() if path[0] == name)
            if not rows:
                continue
            schemas[name] = self._numbers.setdefault(frozenset(rows), len(self._numbers))
            had = self._lanes.schemas[name][lanes] if lanes is not None else np.zeros(0, np.int64) - 1
            differs = (had >= 0) & (had != schemas[name])
            if differs.any():
                of = next(key for key, number in self._numbers.items() if number == had[differs][0])
                raise InputError(f"{self._where}, {name!r}: expected rows as the episode's earlier ones, {shown(of)}, got {shown(rows)}; "
                                 "record rows of another kind in another episode")
        infos = {}
        for path, array in found.items():
            if path[0] == "infos":
                infos[path] = rough_kind(array), array.shape[1:]
                kind, shape = self._infos.get(path, infos[path])
                if (kind, shape) != infos[path]:
                    raise InputError(f"{self._where}, {named(path)!r}: expected rows of {shape} {kind} as before, got {array.shape[1:]} "
                                     f"{infos[path][0]}; leave it out or name it otherwise")
        if infos:
            check_infos(self._infos, infos, self._where)
        return Checked(schemas, infos)

    def check_action(self, found: Columns, lanes: Array) -> None:
        """Raises InputError unless the leaves of an action are leaves of the actions that the episodes have."""
        given = {(path, exact_kind(array), array.shape[1:]) for path, array in found.items() if path[0] == "action"}
        for number in np.unique(self._lanes.schemas["action"][lanes]):
            had = next(rows for rows, known in self._numbers.items() if known == number)
            if not given <= had:
                raise InputError(f"{self._where}, 'action': expected leaves of the episode's actions, {shown(had)}, got {shown(given)}; "
                                 "give the action, or some of its keys, as it was recorded")

    def keep(self, lanes: Array, checked: Checked) -> None:
        """Keeps the schemas of a record that was written, for episodes [n]."""
        for name, number in checked.schemas.items():
            self._lanes.schemas[name][lanes] = number
        self._infos |= checked.infos
