"""Keys and row shapes of observations and actions: one layout in all episodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.recording import Episode
from cervello.recording.trees import Tree, format_path, leaves

Layout = list[tuple[Any, tuple[int, ...]]]


def alike(found: Iterable[tuple[int, Episode]]) -> Iterator[tuple[int, Episode]]:
    """The same episodes, as long as their observations and actions have the keys and row shapes of the first one's.

    Raises:
      InputError: one of another layout.
    """
    first: dict[str, Layout] | None = None
    for i, episode in found:
        own = {"observations": _layout(episode.observations)}
        if isinstance(episode.actions, np.ndarray):  # outputs by name may be others from run to run
            own["actions"] = _layout(episode.actions)
        if first is None:
            first = own
        for column, layout in own.items():
            if layout != first.setdefault(column, layout):
                raise InputError(f"episode {i}, {column}: expected {_shown(first[column])} as in the first episode, got {_shown(layout)}; "
                                 f"the data are of more than one {column[:-1]} space; was the log written by several runs? record into "
                                 "a new file")
        yield i, episode


def _layout(tree: Tree) -> Layout:
    if isinstance(tree, np.ndarray):
        return [((), tree.shape[1:])]
    return sorted(((path, np.shape(rows)[1:]) for path, rows in leaves(tree)), key=str)


def _shown(layout: Layout) -> str:
    return ", ".join(f"{format_path(path)} {shape}".strip() for path, shape in layout)
