"""A bar per row, with a label: times of steps, times by batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cervello.pictures.page import LINE, MARGIN, WIDTH, document, head, label, number
from cervello.pictures.text import plain_text, shortened, text_width, wrapped

_ROW, _NAME, _MOST_NAME, _SHORTEST = 26, 120.0, 250.0, 1.0
_SHORTEST_MARKED = 4.0  # pixels; a mark would hide a shorter bar


class Bar(NamedTuple):
    """One row.

    Attributes:
      name: in front of the bar; tip: the full text, as a tooltip.
      value: length, in the unit of the axis. text: behind the bar, with its unit.
      colour: a key of `colours`.
      mark: a line across the bar, at this value; None for none.
    """

    name: str
    value: float
    text: str
    colour: str
    tip: str = ""
    mark: float | None = None


def bar_chart(title: str, note: str, bars: Sequence[Bar], colours: Mapping[str, str], mark: str = "") -> str:
    """Draws bars from 0, the longest as wide as the page allows.

    Args:
      colours: of bars, by what the colour means; the meanings that occur stand below.
      mark: what the lines across bars mean.
    Returns:
      a whole SVG document that refers to nothing outside itself; light or dark as the viewer prefers.
    """
    lines = wrapped(note, WIDTH - 2 * MARGIN)
    top = head(len(lines)) + 10
    names = [shortened(bar.name, int(_MOST_NAME / text_width("n"))) for bar in bars]
    left = MARGIN + 12 + max([_NAME, *(text_width(name) for name in names)])
    right = WIDTH - MARGIN - max([60.0, *(text_width(bar.text) for bar in bars)]) - 8
    longest = max([1e-300, *(max(bar.value, bar.mark or 0.0) for bar in bars)])
    parts = []
    for i, (bar, name) in enumerate(zip(bars, names, strict=True)):
        y = top + _ROW * i
        long = max(_SHORTEST, (right - left) * bar.value / longest)
        tip = f"<title>{plain_text(bar.tip or bar.name)}</title>"
        parts += [label(left - 10, y + 18, name, anchor="end", tip=bar.tip or bar.name),
                  f'<rect class="plot" x="{number(left)}" y="{y + 4}" width="{number(right - left)}" height="{_ROW - 8}"/>',
                  f'<rect x="{number(left)}" y="{y + 4}" width="{number(long)}" height="{_ROW - 8}" rx="2" '
                  f'fill="{colours[bar.colour]}">{tip}</rect>', label(right + 8, y + 18, bar.text)]
        if bar.mark is not None and long > _SHORTEST_MARKED:
            x = number(left + (right - left) * bar.mark / longest)
            parts.append(f'<line class="strong" x1="{x}" y1="{y + 2}" x2="{x}" y2="{y + _ROW - 2}"/>')
    key_y, key_x = top + _ROW * len(bars) + 26.0, float(MARGIN)
    meanings = [key for key in colours if any(bar.colour == key for bar in bars)]
    marked = bool(mark) and any(bar.mark is not None for bar in bars)
    for meaning in [*meanings, *([mark] if marked else [])]:
        if key_x > MARGIN and key_x + 18 + text_width(meaning) > WIDTH - MARGIN:
            key_x, key_y = float(MARGIN), key_y + LINE
        if meaning in colours:
            parts.append(f'<rect x="{number(key_x)}" y="{number(key_y - 11)}" width="12" height="12" rx="2" fill="{colours[meaning]}"/>')
        else:
            x = number(key_x + 6)
            parts.append(f'<line class="strong" x1="{x}" y1="{number(key_y - 13)}" x2="{x}" y2="{number(key_y + 3)}"/>')
        parts.append(label(key_x + 18, key_y, meaning, "note"))
        key_x += 18 + text_width(meaning) + 24
    return document(title, lines, WIDTH, key_y + MARGIN, parts)
