"""Ratios drawn: a line per model, a dot per batch size, on a logarithmic scale; left of the line at 1 a peer is faster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

_COLOURS = ("#1b6ca8", "#d1495b", "#66a182", "#edae49", "#7d5ba6")
_LEFT, _ROW, _WIDTH, _TOP = 240, 16, 560, 48


def ratios(path: Path, cells: Sequence[dict[str, Any]], title: str) -> None:
    """Writes an SVG of cells with a ratio."""
    rated = [cell for cell in cells if cell["ratio"] is not None]
    names, batches = list(dict.fromkeys(c["model"] for c in rated)), sorted({c["batch"] for c in rated})
    low = math.floor(min((math.log2(c["ratio"]) for c in rated), default=-1))
    high = math.ceil(max((math.log2(c["ratio"]) for c in rated), default=1))

    def across(ratio: float) -> float:
        return _LEFT + _WIDTH * (math.log2(ratio) - low) / max(high - low, 1)

    height = _TOP + _ROW * len(names) + 24
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 20}" height="{height}" '
             'font-family="sans-serif" font-size="11">',
             '<rect width="100%" height="100%" fill="white"/>', f'<text x="8" y="18" font-size="13">{escape(title)}</text>']
    for power in range(low, high + 1):
        x = across(2.0 ** power)
        lines.append(f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{height - 20}" stroke="{"#444" if power == 0 else "#ddd"}"/>')
        lines.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{2.0 ** power:g}×</text>')
    for i, n_rows in enumerate(batches):
        lines.append(f'<circle cx="{_LEFT + 90 * i}" cy="34" r="4" fill="{_COLOURS[i % len(_COLOURS)]}"/>')
        lines.append(f'<text x="{_LEFT + 90 * i + 8}" y="38">batch {n_rows}</text>')
    for row, name in enumerate(names):
        y = _TOP + _ROW * row + 10
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        for cell in rated:
            if cell["model"] == name:
                colour = _COLOURS[batches.index(cell["batch"]) % len(_COLOURS)]
                lines.append(f'<circle cx="{across(cell["ratio"]):.1f}" cy="{y}" r="4" fill="{colour}" fill-opacity="0.85"/>')
    path.write_text("\n".join([*lines, "</svg>"]) + "\n", encoding="utf-8")
