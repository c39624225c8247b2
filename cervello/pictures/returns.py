"""Returns of episodes as an SVG: a row per policy, a dot per episode, the mean and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cervello.pictures.text import plain_text, shortened, wrapped

Row = tuple[str, Sequence[float], float, tuple[float, float] | None]
"""Name, returns, their mean, the mean's interval."""

_LEFT, _WIDTH, _RIGHT, _TOP, _ROW, _BOTTOM = 170, 640, 40, 58, 58, 56
_LINE = 18  # of the note
_COLOURS = ("#4e79a7", "#d9771e", "#59a14f", "#b6639a", "#2a9d9d", "#d1605e")
_STYLE = """\
  text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; font-size: 12px; fill: #4a5361 }
  .page { fill: #ffffff } .plot { fill: #f5f7fa } .grid { stroke: #dde2e9 } .name { font-weight: 600; fill: #1d2430 }
  .title { font-size: 17px; font-weight: 600; fill: #1d2430 } .note { fill: #6a7483 } .mean { stroke: #1d2430; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #aab4c2 } .page { fill: #14181f } .plot { fill: #1b212a } .title, .name { fill: #eef2f7 } .note { fill: #8b96a5 }
    .grid { stroke: #2a323d } .mean { stroke: #eef2f7 }
  }
"""


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
    if low == high:
        low, high = low - 1, high + 1
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def across(value: float) -> float:
        return round(_LEFT + _WIDTH * (value - low) / (high - low), 1)

    width = _LEFT + _WIDTH + _RIGHT
    lines = wrapped(note, width - 32)
    top = _TOP + _LINE * len(lines)
    bottom = top + _ROW * len(rows)
    height = bottom + _BOTTOM
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
             f"<title>{plain_text(title)}</title>", f"<style>\n{_STYLE}</style>", f'<rect class="page" width="{width}" height="{height}"/>',
             f'<text class="title" x="16" y="32">{plain_text(title)}</text>',
             *(f'<text class="note" x="16" y="{54 + _LINE * i}">{plain_text(line)}</text>' for i, line in enumerate(lines)),
             f'<rect class="plot" x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_ROW * len(rows)}"/>']
    for tick in ticks:
        x = across(tick)
        parts += [f'<line class="grid" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>',
                  f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>']
    parts.append(f'<text class="note" x="{_LEFT + _WIDTH / 2:g}" y="{bottom + 40}" text-anchor="middle">return of an episode; the bar is '
                 'the mean with its 95% interval</text>')
    for i, (name, values, mean, interval) in enumerate(rows):
        y, colour = top + _ROW * i + _ROW / 2, _COLOURS[i % len(_COLOURS)]
        parts.append(f'<text class="name" x="{_LEFT - 12}" y="{y - 1:g}" text-anchor="end">{plain_text(shortened(name))}</text>')
        if math.isfinite(mean):
            parts.append(f'<text x="{_LEFT - 12}" y="{y + 15:g}" text-anchor="end">mean {mean:.4g}</text>')
        for k, value in enumerate(values):
            if math.isfinite(value):
                jitter = ((k * 0.618034) % 1 - 0.5) * _ROW * 0.5  # spreads equal returns, and is the same each time
                parts.append(f'<circle cx="{across(value)}" cy="{y + jitter:.1f}" r="3" fill="{colour}" fill-opacity="0.45"/>')
        if interval is not None:
            parts.append(f'<line x1="{across(interval[0])}" y1="{y:g}" x2="{across(interval[1])}" y2="{y:g}" stroke="{colour}" '
                         'stroke-width="6" stroke-opacity="0.9"/>')
        if math.isfinite(mean):
            parts.append(f'<line class="mean" x1="{across(mean)}" y1="{y - 14:g}" x2="{across(mean)}" y2="{y + 14:g}">'
                         f"<title>{plain_text(name)}: mean {mean:g}</title></line>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _ticks(low: float, high: float) -> list[float]:
    """About six round numbers from low to high."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough)
    first = math.floor(low / step)
    return [round(k * step, 12) for k in range(first, math.ceil(high / step) + 1)]
