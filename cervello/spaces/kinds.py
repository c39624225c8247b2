"""Which Gymnasium space an object is. gymnasium is imported when the first one is asked about: it takes tens of milliseconds."""

from __future__ import annotations

from typing import Any


def is_space(thing: Any) -> bool:
    """Whether it is a space of Gymnasium."""
    return kind(thing) is not None


def kind(space: Any) -> str | None:
    """"Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple", "Text" or the class's own name; None for what is no space.

    A subclass counts as what it is derived from, and a game's own space of strings (the missions of MiniGrid) as a Text.
    """
    from gymnasium import spaces  # here: not before a space is given

    if not isinstance(space, spaces.Space):
        return None
    for each in (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Dict, spaces.Tuple, spaces.Text):
        if isinstance(space, each):
            return each.__name__
    return "Text" if space.dtype is not None and space.dtype.kind == "U" else type(space).__name__
