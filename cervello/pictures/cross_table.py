"""Mean returns of each policy against each other as an SVG: a row and a column per policy, colour by return."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cervello.pictures.text import plain_text, shortened, text_width, wrapped

_WIDTH, _HEIGHT, _TOP, _LINE, _BOTTOM, _MARGIN, _LEAST = 112, 56, 46, 18, 48, 16, 640
_STYLE = """\
  text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; font-size: 12px; fill: #4a5361 }
  .page { fill: #ffffff } .none { fill: #eef1f5 } .name { font-weight: 600; fill: #1d2430 }
  .title { font-size: 17px; font-weight: 600; fill: #1d2430 } .note { fill: #6a7483 }
  .mean { font-size: 15px; font-weight: 600; fill: #1d2430 } .range { font-size: 11px; fill: #2f3947 }
  @media (prefers-color-scheme: dark) {
    text { fill: #aab4c2 } .page { fill: #14181f } .none { fill: #222935 } .title, .name { fill: #eef2f7 } .note { fill: #8b96a5 }
    .mean { fill: #1d2430 } .range { fill: #2f3947 }
  }
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
    left = _MARGIN + max(90.0, max(1.15 * text_width(each) for each in shown.values()) + 12)  # names are bold
    rated = any(ratings.values())
    width = math.ceil(max(_LEAST, left + _WIDTH * len(names) + (130 if rated else 0) + _MARGIN))
    lines = wrapped(note, width - 2 * _MARGIN)
    head = _TOP + _LINE * len(lines) + 36
    bottom = head + _HEIGHT * len(names)
    height = bottom + _BOTTOM
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
             f"<title>{plain_text(title)}</title>", f"<style>\n{_STYLE}</style>",
             f'<rect class="page" width="{width}" height="{height}"/>',
             f'<text class="title" x="{_MARGIN}" y="32">{plain_text(title)}</text>']
    parts += [f'<text class="note" x="{_MARGIN}" y="{54 + _LINE * i}">{plain_text(line)}</text>' for i, line in enumerate(lines)]
    parts.append(f'<text class="note" x="{_MARGIN}" y="{head - 10}">against</text>')
    for j, name in enumerate(names):
        parts.append(f'<text class="name" x="{left + _WIDTH * (j + 0.5):g}" y="{head - 10}" text-anchor="middle">'
                     f"{plain_text(shortened(name, 14))}<title>{plain_text(name)}</title></text>")
    if rated:
        parts.append(f'<text class="name" x="{left + _WIDTH * len(names) + 65:g}" y="{head - 10}" text-anchor="middle">rating</text>')
    finite = [cell.mean for cell in cells.values() if math.isfinite(cell.mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    for i, a in enumerate(names):
        y = head + _HEIGHT * i
        parts.append(f'<text class="name" x="{left - 12:g}" y="{y + 32}" text-anchor="end">{plain_text(shown[a])}</text>')
        for j, b in enumerate(names):
            parts += _cell(a, b, left + _WIDTH * j, y, cells.get((a, b)), low, high)
        parts.append(f'<text x="{left + _WIDTH * len(names) + 65:g}" y="{y + 32}" text-anchor="middle">{plain_text(ratings.get(a, ""))}'
                     "</text>")
    legend = "mean return of the row's policy against the column's, with its 95% interval"
    parts.append(f'<text class="note" x="{_MARGIN}" y="{bottom + 24}">{legend}{"; rating: mu ± sigma" if rated else ""}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _cell(a: str, b: str, x: float, y: float, cell: Cell | None, low: float, high: float) -> list[str]:
    box = f'x="{x + 1.5:g}" y="{y + 1.5:g}" width="{_WIDTH - 3}" height="{_HEIGHT - 3}" rx="3"'
    if cell is None:
        return [f'<rect class="none" {box}/>']
    tip = f"<title>{plain_text(f'{a} against {b}: {cell.mean:.6g}')}</title>"
    found = [f'<rect class="cell" {box} fill="{_colour(cell.mean, low, high)}">{tip}</rect>']
    middle = x + _WIDTH / 2
    found.append(f'<text class="mean" x="{middle:g}" y="{y + (25 if cell.interval else 33)}" text-anchor="middle">'
                 f"{_number(cell.mean, 4)}</text>")
    if cell.interval is not None:
        found.append(f'<text class="range" x="{middle:g}" y="{y + 43}" text-anchor="middle">{_number(cell.interval[0], 3)} to '
                     f"{_number(cell.interval[1], 3)}</text>")
    return found


def _number(value: float, digits: int) -> str:
    """So many digits, and whole numbers without a power of ten."""
    return f"{value:.0f}" if 10 ** (digits - 1) <= abs(value) < 10**6 else f"{value:.{digits}g}"


def _colour(value: float, low: float, high: float) -> str:
    """Orange for the lowest, blue for the highest."""
    share = 0.5 if not math.isfinite(value) or low == high else (value - low) / (high - low)
    one, other, part = (_LOW, _MIDDLE, 2 * share) if share < 0.5 else (_MIDDLE, _HIGH, 2 * share - 1)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(one, other, strict=True))
