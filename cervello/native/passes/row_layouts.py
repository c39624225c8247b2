"""The shapes that a Reshape of one row may have with N rows.

A Reshape keeps the order of elements, so rows stay apart under its target if one size of the target takes all of them: the sizes before it
divide the elements that lie before a row, and the rest of these is part of the size that is multiplied by N. Several sizes may fit. Which
one a file means depends on the nodes behind it: of [5, N, 16] as [5, 2, 8], attention needs [5, 2·N, 8]; of [5, N, 2, 8] as [5, 16], a
linear layer needs [5·N, 16].

Where the target has a 1 that no such size can take, the file may have had its batch moved there, which for one row is a Reshape too:
[1, 5, 8] as [5, 1, 8] is for N rows a Transpose.
"""

from __future__ import annotations

from collections.abc import Sequence

from cervello.native.graph.dims import ROWS, Affine, Shape, product


def rows_axis(shape: Shape) -> int | None:
    """The first axis whose size depends on N."""
    return next((i for i, size in enumerate(shape) if isinstance(size, Affine)), None)


def layouts(source: Shape, stretches: int, single: Sequence[int], target: Sequence[int]) -> list[Shape]:
    """Targets under which rows stay apart, the likeliest first.

    Args:
      source: with rows on one axis of a size k·N.
      stretches: how many stretches of all rows follow each other on that axis.
      single: the target's sizes for one row.
      target: as the file has it, with -1 and 0.
    Returns:
      an empty list when rows are on several axes, or on one whose size is not a multiple of N.
    """
    axis = rows_axis(source)
    moving = [size for size in source if isinstance(size, Affine)]
    if axis is None or len(moving) != 1 or moving[0].const or 0 in source:
        return []
    before = int(product(source[:axis])) * stretches  # type: ignore[arg-type]
    fitting = []
    for place, size in enumerate(single):
        in_front = int(product(single[:place]))  # type: ignore[arg-type]
        if before % in_front == 0 and size % (before // in_front) == 0:
            fitting.append(place)

    def unlikely(place: int) -> tuple[int, int]:
        """A size that the file leaves open, then a 1, then the innermost size but the last one."""
        if (target[0] == -1 and place == 0) or (target[place] == 0 and place == axis):
            return 0, 0
        if single[place] == 1:
            return 1, 0 if place == axis else 1 + place
        return (3, 0) if place == len(single) - 1 else (2, -place)

    return [(*single[:place], single[place] * ROWS, *single[place + 1:]) for place in sorted(fitting, key=unlikely)]


def moved_rows(source: Shape, stretches: int, single: Sequence[int], plain: Sequence[Shape]) -> list[int]:
    """Places of the target that rows may move to by a Transpose, as `layouts` has its arguments.

    Args:
      plain: the layouts; there is no place beside one in which rows have an axis of their own.
    """
    if stretches != 1 or [size for size in source if isinstance(size, Affine)] != [ROWS] or any(ROWS in shape for shape in plain):
        return []
    return [place for place, size in enumerate(single) if size == 1]
