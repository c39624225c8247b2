"""Estimates with their intervals, a row each, in the colour of the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from cervello.pictures.page import LINE, MARGIN, WIDTH, document, head, label, number
from cervello.pictures.returns import ticks_of
from cervello.pictures.text import shortened, wrapped

_LEFT, _RIGHT, _ROW = 214, 96, 28
_VERDICTS = {"reliable": "#4f9d63", "weak": "#d08a1d", "unsupported": "#c8504a"}  # on white and on black


class Estimated(NamedTuple):
    """One row: a name, its value (None for none), the interval (None for none) and the verdict, a key of the three colours."""

    name: str
    value: float | None
    interval: tuple[float, float] | None
    verdict: str


def interval_chart(title: str, note: str, rows: Sequence[Estimated], axis: str) -> str:
    """Draws estimates.

    Args:
      title, note: heading and what stands below it, any text.
      axis: what the numbers are.
    Returns:
      a whole SVG document that refers to nothing outside itself; light or dark as the viewer prefers.
    """
    found = [x for row in rows for x in (row.value, *(row.interval or ())) if x is not None and math.isfinite(x)]
    ticks = ticks_of(min(found, default=0.0), max(found, default=1.0), 4)
    low, high = ticks[0], ticks[-1]
    lines = wrapped(note, WIDTH - 2 * MARGIN)
    top = head(len(lines)) + 8
    bottom = top + _ROW * len(rows)
    plot = WIDTH - _LEFT - _RIGHT

    def across(value: float) -> float:
        return _LEFT + plot * (value - low) / (high - low)

    parts = [f'<rect class="plot" x="{_LEFT}" y="{top}" width="{plot}" height="{_ROW * len(rows)}"/>']
    for tick in ticks:
        x = number(across(tick))
        parts += [f'<line class="grid" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>', label(across(tick), bottom + 19, f"{tick:g}",
                                                                                            anchor="middle")]
    for i, row in enumerate(rows):
        y, colour = top + _ROW * (i + 0.5), _VERDICTS[row.verdict]
        parts.append(label(_LEFT - 10, y + 5, shortened(row.name, 24), anchor="end", tip=row.name))
        parts.append(label(WIDTH - _RIGHT + 10, y + 5, row.verdict if row.value is None else f"{row.value:.4g}"))
        if row.value is None or not math.isfinite(row.value):
            continue
        if row.interval is not None and all(map(math.isfinite, row.interval)):
            a, b = (number(across(x)) for x in row.interval)
            parts.append(f'<line x1="{a}" y1="{number(y)}" x2="{b}" y2="{number(y)}" stroke="{colour}" stroke-width="4"/>')
        parts.append(f'<circle cx="{number(across(row.value))}" cy="{number(y)}" r="5.5" fill="{colour}"/>')
    parts.append(label(_LEFT + plot / 2, bottom + 42, axis, "note", "middle"))
    key_x = float(MARGIN)
    for verdict, colour in _VERDICTS.items():
        parts += [f'<circle cx="{number(key_x + 6)}" cy="{bottom + 62}" r="5.5" fill="{colour}"/>',
                  label(key_x + 18, bottom + 67, verdict, "note")]
        key_x += 130
    return document(title, lines, WIDTH, bottom + 67 + LINE, parts)
