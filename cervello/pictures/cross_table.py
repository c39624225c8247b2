"""Mean returns of each policy against each other as an SVG: a row and a column per policy, colour by return."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cervello.pictures.page import MARGIN, document, head, label
from cervello.pictures.page import WIDTH as LEAST
from cervello.pictures.text import plain_text, shortened, text_width, wrapped

_WIDTH, _HEIGHT, _BOTTOM, _RATING = 124, 60, 48, 130
_LIGHT = """\
  .none { fill: #eef1f5 } .mean { font-size: 17px; font-weight: 600; fill: #1d2430 } .range { font-size: 13px; fill: #2f3947 }
"""
_DARK = """\
    .none { fill: #222935 } .mean { fill: #1d2430 } .range { fill: #2f3947 }
"""
_LOW, _MIDDLE, _HIGH = (233, 163, 136), (238, 236, 228), (126, 184, 196)  # light enough for dark text, told apart by the colour-blind


class Cell(NamedTuple):
    """A mean return and its interval."""

    mean: float
    interval: tuple[float, float] | None


def cross_table(title: str, note: str, names: Sequence[str], cells: Mapping[tuple[str, str], Cell], ratings: Mapping[str, str]) -> str:
    """Draws a matrix of returns.

    Args:
      title, note: heading and what stands below it, any text.
      names: of the policies, in the order of rows and columns.
      cells: by (row, column); pairs without one are left grey.
      ratings: by name, a text at the end of the row; "" for none.
    Returns:
      a whole SVG document that refers to nothing outside itself; light or dark as the viewer prefers.
    Source: SVG 1.1, second edition.
    """
    shown = {name: shortened(name) for name in names}
    left = MARGIN + max(100.0, max(text_width(each, bold=True) for each in shown.values()) + 12)
    rated = any(ratings.values())
    right = left + _WIDTH * len(names)
    width = math.ceil(max(LEAST, right + (_RATING if rated else 0) + MARGIN))
    lines = wrapped(note, width - 2 * MARGIN)
    top = head(len(lines)) + 36
    bottom = top + _HEIGHT * len(names)
    parts = [label(MARGIN, top - 10, "against", "note")]
    parts += [label(left + _WIDTH * (j + 0.5), top - 10, shortened(name, 13), "name", "middle", name) for j, name in enumerate(names)]
    if rated:
        parts.append(label(right + _RATING / 2, top - 10, "rating", "name", "middle"))
    finite = [cell.mean for cell in cells.values() if math.isfinite(cell.mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    for i, a in enumerate(names):
        y = top + _HEIGHT * i
        parts.append(label(left - 12, y + 35, shown[a], "name", "end", a))
        for j, b in enumerate(names):
            parts += _cell(a, b, left + _WIDTH * j, y, cells.get((a, b)), low, high)
        if ratings.get(a):
            parts.append(label(right + _RATING / 2, y + 35, ratings[a], anchor="middle"))
    legend = "mean return of the row against the column, with its 95% interval" + ("; rating: mu ± sigma" if rated else "")
    parts += [label(MARGIN, bottom + 26 + 19 * i, line, "note") for i, line in enumerate(wrapped(legend, width - 2 * MARGIN))]
    return document(title, lines, width, bottom + _BOTTOM + 12, parts, _LIGHT, _DARK)


def _cell(a: str, b: str, x: float, y: float, cell: Cell | None, low: float, high: float) -> list[str]:
    box = f'x="{x + 1.5:g}" y="{y + 1.5:g}" width="{_WIDTH - 3}" height="{_HEIGHT - 3}" rx="3"'
    if cell is None:
        return [f'<rect class="none" {box}/>']
    tip = f"<title>{plain_text(f'{a} against {b}: {cell.mean:.6g}')}</title>"
    found = [f'<rect class="cell" {box} fill="{_colour(cell.mean, low, high)}">{tip}</rect>',
             label(x + _WIDTH / 2, y + (27 if cell.interval else 36), _number(cell.mean, 4), "mean", "middle")]
    if cell.interval is not None:
        found.append(label(x + _WIDTH / 2, y + 47, f"{_number(cell.interval[0], 3)} to {_number(cell.interval[1], 3)}", "range", "middle"))
    return found


def _number(value: float, digits: int) -> str:
    """So many digits, and whole numbers without a power of ten."""
    return f"{value:.0f}" if 10 ** (digits - 1) <= abs(value) < 10**6 else f"{value:.{digits}g}"


def _colour(value: float, low: float, high: float) -> str:
    """Orange for the lowest, blue for the highest."""
    share = 0.5 if not math.isfinite(value) or low == high else (value - low) / (high - low)
    one, other, part = (_LOW, _MIDDLE, 2 * share) if share < 0.5 else (_MIDDLE, _HIGH, 2 * share - 1)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(one, other, strict=True))
