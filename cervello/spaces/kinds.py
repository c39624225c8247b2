"""The Gymnasium space type of an object. gymnasium is imported at the first call, since that takes tens of milliseconds."""

from __future__ import annotations

from typing import Any


def is_space(thing: Any) -> bool:
    """Whether it is a space of Gymnasium."""
    return kind(thing) is not None


def kind(space: Any) -> str | None:
    """"Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple", "Text" or the class's own name; None for other objects.

    A subclass counts as its base class, and a user-defined space of strings (the missions of MiniGrid) as a Text.
    """
    from gymnasium import spaces  # here: not before a space is given

    if not isinstance(space, spaces.Space):
        return None
    for each in (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Dict, spaces.Tuple, spaces.Text):
        if isinstance(space, each):
            return each.__name__
    return "Text" if space.dtype is not None and space.dtype.kind == "U" else type(space).__name__
