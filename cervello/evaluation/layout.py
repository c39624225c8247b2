"""Keys and row shapes of observations: one layout in all episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cervello.errors import InputError
from cervello.evaluation.logged import Logged
from cervello.recording.trees import Tree, leaves, named

Layout = list[tuple[Any, tuple[int, ...]]]


def check_alike(some: Sequence[Logged]) -> None:
    """Raises InputError unless all observations have the keys and row shapes of the first episode's."""
    first = _layout(some[0].observations)
    for each in some[1:]:
        own = _layout(each.observations)
        if own != first:
            raise InputError(f"{each.where}, observations: expected {_shown(first)} as in {some[0].where}, got {_shown(own)}; the data are "
                             "of more than one observation space")


def _layout(tree: Tree) -> Layout:
    return sorted(((path, np.shape(rows)[1:]) for path, rows in leaves(tree)), key=str)


def _shown(layout: Layout) -> str:
    return ", ".join(f"{named(path)} {shape}".strip() for path, shape in layout)
