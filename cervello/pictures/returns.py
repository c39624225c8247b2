"""Returns of episodes as an SVG: a row per policy, a dot per episode, the mean and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cervello.pictures.page import COLOURS, MARGIN, WIDTH, document, head, label
from cervello.pictures.text import plain_text, shortened, wrapped

Row = tuple[str, Sequence[float], float, tuple[float, float] | None]
"""Name, returns, their mean, the mean's interval."""

_LEFT, _RIGHT, _ROW, _BOTTOM = 172, 24, 58, 56


def returns_chart(title: str, note: str, rows: Sequence[Row]) -> str:
    """Draws returns.

    Args:
      title, note: heading and the line below it, any text.
      rows: one per policy, top down; values that are not finite are left out.
    Returns:
      a whole SVG document that refers to nothing outside itself; light or dark as the viewer prefers.
    Source: SVG 1.1, second edition.
    """
    finite = [value for _, values, *_ in rows for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    ticks = ticks_of(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    plot_width = WIDTH - _LEFT - _RIGHT

    def across(value: float) -> float:
        return round(_LEFT + plot_width * (value - low) / (high - low), 1)

    lines = wrapped(note, WIDTH - 2 * MARGIN)
    top = head(len(lines)) + 8
    bottom = top + _ROW * len(rows)
    parts = [f'<rect class="plot" x="{_LEFT}" y="{top}" width="{plot_width}" height="{_ROW * len(rows)}"/>']
    for tick in ticks:
        x = across(tick)
        parts += [f'<line class="grid" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>', label(x, bottom + 19, f"{tick:g}", anchor="middle")]
    parts.append(label(WIDTH / 2, bottom + 42, "return of an episode; the bar is the mean with its 95% interval", "note", "middle"))
    for i, (name, values, mean, interval) in enumerate(rows):
        y, colour = top + _ROW * i + _ROW / 2, COLOURS[i % len(COLOURS)]
        parts.append(label(_LEFT - 12, y - 1, shortened(name, 18), "name", "end", name))
        if math.isfinite(mean):
            parts.append(label(_LEFT - 12, y + 17, f"mean {mean:.4g}", anchor="end"))
        for k, value in enumerate(values):
            if math.isfinite(value):
                jitter = ((k * 0.618034) % 1 - 0.5) * _ROW * 0.5  # spreads equal returns, and is the same each time
                parts.append(f'<circle cx="{across(value)}" cy="{y + jitter:.1f}" r="3" fill="{colour}" fill-opacity="0.45"/>')
        if interval is not None:
            parts.append(f'<line x1="{across(interval[0])}" y1="{y:g}" x2="{across(interval[1])}" y2="{y:g}" stroke="{colour}" '
                         'stroke-width="6" stroke-opacity="0.9"/>')
        if math.isfinite(mean):
            parts.append(f'<line class="strong" x1="{across(mean)}" y1="{y - 14:g}" x2="{across(mean)}" y2="{y + 14:g}">'
                         f"<title>{plain_text(name)}: mean {mean:g}</title></line>")
    return document(title, lines, WIDTH, bottom + _BOTTOM, parts)


def ticks_of(low: float, high: float, about: int = 5) -> list[float]:
    """About so many round numbers from low to high, beyond both or at them; at least two."""
    if low == high:
        low, high = low - 1, high + 1
    rough = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough)
    first = math.floor(low / step)
    return [round(k * step, 12) for k in range(first, math.ceil(high / step) + 1)]
