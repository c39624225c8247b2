"""The arena over time as an SVG: steps to the right, bytes upward, one box per buffer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from cervello.pictures.page import COLOURS, LINE, MARGIN, WIDTH, document, label, number
from cervello.pictures.text import plain_text, shortened, size_text, text_width

Box = tuple[int, int, int, int, str]
"""First step, one past the last (half-open), offset in bytes, size in bytes, name."""

_PLOT_HEIGHT = 340
_NARROWEST_STEP = 5.0  # pixels; many steps widen the picture
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 16, 76, 56
_PLOT_WIDTH = WIDTH - _LEFT - _RIGHT
_THINNEST_BOX = 1.5  # pixels; a few bytes beside megabytes stay visible
_GAP = 0.75  # pixels between boxes that touch
_LISTED = 12  # buffers with a line of their own below the plot, the largest ones
_NAME = 46  # letters of a name there
_LEAST_LABEL = 7  # letters; shorter labels are left out, the list has the names

_LIGHT = """\
  .top { stroke: #d1605e; stroke-width: 1; stroke-dasharray: 5 4 } .limit { fill: #b5484a }
  .box { stroke: #1d2430; stroke-opacity: .25; stroke-width: .75 } .box:hover { stroke-opacity: 1; stroke-width: 1.5 }
  .label { fill: #ffffff; font-weight: 600; pointer-events: none }
"""
_DARK = """\
    .limit { fill: #f08a88 } .label { fill: #ffffff } .box { stroke: #0b0e12; stroke-opacity: .6 }
"""


def arena_chart(title: str, boxes: Sequence[Box], n_steps: int, total_bytes: int) -> str:
    """Draws a memory plan.

    Args:
      title: heading, any text.
      boxes: one per buffer; `name` is any text and becomes a label where it fits and a tooltip everywhere.
      n_steps: steps of the program.
      total_bytes: of the arena.
    Returns:
      a whole SVG document that refers to nothing outside itself; light or dark as the viewer prefers.
    Raises:
      ValueError: a box reaches beyond the steps or the arena, or a number is negative.
    Source: SVG 1.1, second edition.
    """
    if n_steps < 0 or total_bytes < 0:
        raise ValueError(f"arena_chart: expected n_steps and total_bytes of at least 0, got {n_steps} and {total_bytes}")
    for first, end, offset, n_bytes, name in boxes:
        if not (0 <= first < end <= n_steps and 0 <= offset <= offset + n_bytes <= total_bytes):
            raise ValueError(f"arena_chart, box {name!r}: expected steps within 0-{n_steps} and bytes within 0-{total_bytes}, "
                             f"got steps {first}-{end} and bytes {offset}-{offset + n_bytes}")
    step_width = max(_PLOT_WIDTH / max(n_steps, 1), _NARROWEST_STEP)
    plot_width = step_width * max(n_steps, 1)
    # The dashed line of the arena's size lies a little below the plot's upper edge.
    scale = _PLOT_HEIGHT / (total_bytes * 1.06) if total_bytes else 0.0
    visible = sorted((box for box in boxes if box[3]), key=lambda box: (box[0], box[2]))
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(visible))]
    count = f"{len(visible)} buffer{'' if len(visible) == 1 else 's'} over {n_steps} step{'' if n_steps == 1 else 's'}"
    parts = [f'<rect class="plot" x="{_LEFT}" y="{_TOP}" width="{number(plot_width)}" height="{_PLOT_HEIGHT}" rx="3"/>',
             *_byte_axis(total_bytes, scale, plot_width), *_step_axis(n_steps, step_width)]
    for box, colour in zip(visible, colours, strict=True):
        parts += _box(box, step_width, scale, colour)
    listed: list[str] = []
    if visible:
        parts += _limit(total_bytes, scale, plot_width)
        listed = list(_list(visible, colours))
    else:
        parts.append(label(_LEFT + plot_width / 2, _TOP + _PLOT_HEIGHT / 2, "no intermediate buffers", "note", "middle"))
    lines = min(len(visible), _LISTED) + (len(visible) > _LISTED)
    height = _TOP + _PLOT_HEIGHT + _BOTTOM + (LINE * lines + MARGIN if lines else 0)
    return document(title, [f"{count}, arena {total_bytes:,} bytes"], math.ceil(_LEFT + plot_width + _RIGHT), height, parts + listed,
                    _LIGHT, _DARK)


def _list(visible: Sequence[Box], colours: Sequence[str]) -> Iterator[str]:
    """A line for each of the largest buffers: colour, bytes, steps, name."""
    y = _TOP + _PLOT_HEIGHT + _BOTTOM + 14
    largest = sorted(range(len(visible)), key=lambda i: -visible[i][3])
    for i in sorted(largest[:_LISTED]):
        first, end, _, n_bytes, name = visible[i]
        yield f'<rect x="{MARGIN}" y="{y - 11}" width="12" height="12" rx="2" fill="{colours[i]}"/>'
        yield label(124, y, size_text(n_bytes), anchor="end")
        yield label(136, y, f"step {first}" if end == first + 1 else f"steps {first}-{end - 1}", "note")
        names = name.split(" · ")  # the tensor, and what made it: both keep their ends
        yield label(236, y, " · ".join(shortened(each, _NAME // len(names) - 1) for each in names), tip=name)
        y += LINE
    if len(visible) > _LISTED:
        yield label(136, y, f"and {len(visible) - _LISTED} smaller ones", "note")


def _box(box: Box, step_width: float, scale: float, colour: str) -> Iterator[str]:
    first, end, offset, n_bytes, name = box
    x = _LEFT + first * step_width + _GAP / 2
    wide = (end - first) * step_width - _GAP
    high = max(n_bytes * scale - _GAP, _THINNEST_BOX)
    y = _TOP + _PLOT_HEIGHT - offset * scale - _GAP / 2 - high
    steps = f"step {first}" if end == first + 1 else f"steps {first} to {end - 1}"
    corner = min(3.0, wide / 2, high / 2)
    yield (f'<rect class="box" x="{number(x)}" y="{number(y)}" width="{number(wide)}" height="{number(high)}" '
           f'rx="{number(corner)}" fill="{colour}">'
           f"<title>{plain_text(name)}\n{n_bytes:,} bytes at {offset:,}\n{steps}</title></rect>")
    letters = int((wide - 12) / text_width("n", bold=True))
    text = shortened(name, letters) if letters >= min(_LEAST_LABEL, len(name)) else ""
    if text and high >= 17:
        yield label(x + 6, y + min(high / 2 + 5, 18), text, "label")


def _limit(total_bytes: int, scale: float, plot_width: float) -> Iterator[str]:
    y = _TOP + _PLOT_HEIGHT - total_bytes * scale
    right = _LEFT + plot_width
    yield f'<line class="top" x1="{_LEFT}" y1="{number(y)}" x2="{number(right)}" y2="{number(y)}"/>'
    yield (f'<text class="limit" x="{number(right - 6)}" y="{number(y - 5)}" text-anchor="end">'
           f"arena {size_text(total_bytes)}</text>")


def _byte_axis(total_bytes: int, scale: float, plot_width: float) -> Iterator[str]:
    bottom = _TOP + _PLOT_HEIGHT
    tick = _byte_tick(total_bytes)
    for value in range(0, total_bytes + 1, tick):
        y = number(bottom - value * scale)
        kind = "grid" if value else "axis"
        yield f'<line class="{kind}" x1="{_LEFT}" y1="{y}" x2="{number(_LEFT + plot_width)}" y2="{y}"/>'
        yield label(_LEFT - 8, bottom - value * scale + 5, size_text(value), "tick", "end")
    middle = _TOP + _PLOT_HEIGHT // 2
    yield f'<text class="note" transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">bytes from the arena\'s start</text>'


def _step_axis(n_steps: int, step_width: float) -> Iterator[str]:
    bottom = _TOP + _PLOT_HEIGHT
    tick = _step_tick(step_width)
    for step in range(0, n_steps, tick):
        x = _LEFT + (step + 0.5) * step_width  # a step is a column, not a point
        yield f'<text x="{number(x)}" y="{bottom + 17}" text-anchor="middle">{step}</text>'
    middle = number(_LEFT + step_width * max(n_steps, 1) / 2)
    yield f'<text class="note" x="{middle}" y="{bottom + 40}" text-anchor="middle">step</text>'


def _byte_tick(total_bytes: int) -> int:
    """A power of two that divides the axis into four to eight parts."""
    return 1 << max(0, total_bytes.bit_length() - 3)


def _step_tick(step_width: float) -> int:
    """1, 2 or 5 times a power of ten, so that numbers stand apart."""
    fewest = 36 / step_width
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= fewest:
                return factor * power
        power *= 10
