"""The target shapes for N rows of a Reshape that was exported for one row.

A Reshape keeps the order of elements, so rows stay independent if one size of the target contains all of them: the sizes before it divide
the number of elements before a row, and the quotient is part of the size that is multiplied by N. Several sizes may fit. The right one
depends on later nodes: for [5, N, 16] to [5, 2, 8], attention needs [5, 2·N, 8]; for [5, N, 2, 8] to [5, 16], a linear layer needs
[5·N, 16].

If the target has a 1 that no such size can use, the exporter may have moved the batch axis there. For one row this is a Reshape:
[1, 5, 8] to [5, 1, 8] is a Transpose for N rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from cervello.native.graph.dims import ROWS, Affine, Shape, product, rows_axis


def layouts(source: Shape, row_repeats: int, single: Sequence[int], target: Sequence[int]) -> list[Shape]:
    """Targets under which rows stay apart, the likeliest first.

    Args:
      source: with rows on one axis of a size k·N.
      row_repeats: how often all rows repeat along that axis.
      single: the target's sizes for one row.
      target: as the file has it, with -1 and 0.
    Returns:
      an empty list when rows are on several axes, or on one whose size is not a multiple of N.
    """
    axis = rows_axis(source)
    batch_sizes = [size for size in source if isinstance(size, Affine)]
    if axis is None or len(batch_sizes) != 1 or batch_sizes[0].const or 0 in source:
        return []
    before = int(product(source[:axis])) * row_repeats  # type: ignore[arg-type]
    fitting = []
    for place, size in enumerate(single):
        in_front = int(product(single[:place]))  # type: ignore[arg-type]
        if before % in_front == 0 and size % (before // in_front) == 0:
            fitting.append(place)

    def priority(place: int) -> tuple[int, int]:
        """The sort key: first a size left open by -1 or 0, then a 1, then the innermost size except the last one."""
        if (target[0] == -1 and place == 0) or (target[place] == 0 and place == axis):
            return 0, 0
        if single[place] == 1:
            return 1, 0 if place == axis else 1 + place
        return (3, 0) if place == len(single) - 1 else (2, -place)

    return [(*single[:place], single[place] * ROWS, *single[place + 1:]) for place in sorted(fitting, key=priority)]


def moved_rows(source: Shape, row_repeats: int, single: Sequence[int], plain: Sequence[Shape]) -> list[int]:
    """Target axes that a Transpose may move the batch axis to; arguments as in `layouts`.

    Args:
      plain: the layouts; the list is empty if rows have a separate axis in one of them.
    """
    if row_repeats != 1 or [size for size in source if isinstance(size, Affine)] != [ROWS] or any(ROWS in shape for shape in plain):
        return []
    return [place for place, size in enumerate(single) if size == 1]
