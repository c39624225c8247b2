"""Ratios drawn: a line per model, a dot per batch size, on a logarithmic scale; left of the line at 1 a peer is faster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cervello.pictures.page import COLOURS, LINE, MARGIN, WIDTH, document, head, label, number
from cervello.pictures.text import shortened, text_width, wrapped

_LEFT, _RIGHT, _ROW, _NAME = 290, 24, 20, 32


def ratios(cells: Sequence[dict[str, Any]], title: str, note: str) -> str:
    """An SVG of cells with a ratio, light or dark as the viewer prefers."""
    rated = [cell for cell in cells if cell["ratio"] is not None]
    names, batches = list(dict.fromkeys(c["model"] for c in rated)), sorted({c["batch"] for c in rated})
    low = math.floor(min((math.log2(c["ratio"]) for c in rated), default=-1))
    high = math.ceil(max((math.log2(c["ratio"]) for c in rated), default=1))
    colours = {n_rows: COLOURS[i % len(COLOURS)] for i, n_rows in enumerate(batches)}
    plot = WIDTH - _LEFT - _RIGHT

    def across(ratio: float) -> float:
        return _LEFT + plot * (math.log2(ratio) - low) / max(high - low, 1)

    lines = wrapped(note, WIDTH - 2 * MARGIN)
    key_y, key_x = head(len(lines)) + LINE, float(MARGIN)
    top = key_y + 36
    bottom = top + _ROW * len(names)
    parts = [f'<rect class="plot" x="{_LEFT}" y="{top}" width="{plot}" height="{_ROW * len(names)}"/>']
    for n_rows, colour in colours.items():
        said = f"batch {n_rows:,}"
        parts += [f'<circle cx="{number(key_x + 6)}" cy="{key_y - 5}" r="5" fill="{colour}"/>', label(key_x + 18, key_y, said, "note")]
        key_x += 18 + text_width(said) + 24
    for power in range(low, high + 1):
        x = number(across(2.0 ** power))
        parts.append(f'<line class="{"strong" if power == 0 else "grid"}" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>')
        parts += [label(across(2.0 ** power), y, f"{2.0 ** power:g}×", anchor="middle") for y in (top - 8, bottom + 19)]
    for row, name in enumerate(names):
        y = top + _ROW * row + _ROW / 2
        parts.append(label(_LEFT - 10, y + 5, shortened(name, _NAME), anchor="end", tip=name))
        for cell in rated:
            if cell["model"] == name:
                parts.append(f'<circle cx="{number(across(cell["ratio"]))}" cy="{number(y)}" r="5" fill="{colours[cell["batch"]]}" '
                             f'fill-opacity="0.85"><title>{cell["ratio"]:.2f}× at batch {cell["batch"]:,}</title></circle>')
    return document(title, lines, WIDTH, bottom + 19 + MARGIN, parts)
