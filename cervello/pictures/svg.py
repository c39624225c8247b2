"""The arena over time as an SVG: steps to the right, bytes upward, one box per buffer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from cervello.pictures.text import plain_text

Box = tuple[int, int, int, int, str]
"""First step, one past the last (half-open), offset in bytes, size in bytes, name."""

_PLOT_WIDTH, _PLOT_HEIGHT = 880, 420
_NARROWEST_STEP = 5.0  # pixels; many steps widen the picture
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 28, 76, 56
_THINNEST_BOX = 1.5  # pixels; a few bytes beside megabytes stay visible
_GAP = 0.75  # pixels between boxes that touch
_LETTER = 6.8  # pixels, the mean width of a letter at 11 pixels
_COLOURS = ("#4e79a7", "#d9771e", "#59a14f", "#b6639a", "#2a9d9d", "#d1605e", "#8a6fc0", "#a9861f", "#5f8f3e", "#7c6a5d")

_STYLE = """\
  text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; font-size: 11px; fill: #4a5361 }
  .page { fill: #ffffff } .plot { fill: #f5f7fa }
  .title { font-size: 17px; font-weight: 600; fill: #1d2430 } .note { font-size: 12px; fill: #6a7483 }
  .grid { stroke: #dde2e9; stroke-width: 1 } .axis { stroke: #97a1af; stroke-width: 1 }
  .top { stroke: #d1605e; stroke-width: 1; stroke-dasharray: 5 4 } .limit { fill: #b5484a }
  .box { stroke: #1d2430; stroke-opacity: .25; stroke-width: .75 } .box:hover { stroke-opacity: 1; stroke-width: 1.5 }
  .label { fill: #ffffff; pointer-events: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #aab4c2 } .page { fill: #14181f } .plot { fill: #1b212a } .title { fill: #eef2f7 } .note { fill: #8b96a5 }
    .grid { stroke: #2a323d } .axis { stroke: #596473 } .limit { fill: #f08a88 } .label { fill: #ffffff }
    .box { stroke: #0b0e12; stroke-opacity: .6 }
  }
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
    width, height = math.ceil(_LEFT + plot_width + _RIGHT), _TOP + _PLOT_HEIGHT + _BOTTOM
    # The dashed line of the arena's size lies a little below the plot's upper edge.
    scale = _PLOT_HEIGHT / (total_bytes * 1.06) if total_bytes else 0.0
    visible = [box for box in boxes if box[3]]
    count = f"{len(visible)} buffer{'' if len(visible) == 1 else 's'} over {n_steps} step{'' if n_steps == 1 else 's'}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{plain_text(title)}</title>",
        f"<style>\n{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        f'<text class="title" x="{_LEFT}" y="34">{plain_text(title)}</text>',
        f'<text class="note" x="{_LEFT}" y="54">{count}, arena {total_bytes:,} bytes</text>',
        f'<rect class="plot" x="{_LEFT}" y="{_TOP}" width="{_number(plot_width)}" height="{_PLOT_HEIGHT}" rx="3"/>',
        *_byte_axis(total_bytes, scale, plot_width),
        *_step_axis(n_steps, step_width),
    ]
    order = sorted(range(len(visible)), key=lambda i: (visible[i][0], visible[i][2]))
    for colour, index in enumerate(order):
        parts += _box(visible[index], step_width, scale, _COLOURS[colour % len(_COLOURS)])
    if visible:
        parts += _limit(total_bytes, scale, plot_width)
    else:
        x, y = _number(_LEFT + plot_width / 2), _TOP + _PLOT_HEIGHT // 2
        parts.append(f'<text class="note" x="{x}" y="{y}" text-anchor="middle">no intermediate buffers</text>')
    return "\n".join([*parts, "</svg>", ""])


def _box(box: Box, step_width: float, scale: float, colour: str) -> Iterator[str]:
    first, end, offset, n_bytes, name = box
    x = _LEFT + first * step_width + _GAP / 2
    wide = (end - first) * step_width - _GAP
    high = max(n_bytes * scale - _GAP, _THINNEST_BOX)
    y = _TOP + _PLOT_HEIGHT - offset * scale - _GAP / 2 - high
    steps = f"step {first}" if end == first + 1 else f"steps {first} to {end - 1}"
    corner = min(3.0, wide / 2, high / 2)
    yield (f'<rect class="box" x="{_number(x)}" y="{_number(y)}" width="{_number(wide)}" height="{_number(high)}" '
           f'rx="{_number(corner)}" fill="{colour}">'
           f"<title>{plain_text(name)}\n{n_bytes:,} bytes at {offset:,}\n{steps}</title></rect>")
    label = _shortened(name, wide - 12)
    if label and high >= 15:
        yield f'<text class="label" x="{_number(x + 6)}" y="{_number(y + min(high / 2 + 4, 16))}">{plain_text(label)}</text>'


def _limit(total_bytes: int, scale: float, plot_width: float) -> Iterator[str]:
    y = _TOP + _PLOT_HEIGHT - total_bytes * scale
    right = _LEFT + plot_width
    yield f'<line class="top" x1="{_LEFT}" y1="{_number(y)}" x2="{_number(right)}" y2="{_number(y)}"/>'
    yield (f'<text class="limit" x="{_number(right - 6)}" y="{_number(y - 5)}" text-anchor="end">'
           f"arena {_bytes(total_bytes)}</text>")


def _byte_axis(total_bytes: int, scale: float, plot_width: float) -> Iterator[str]:
    bottom = _TOP + _PLOT_HEIGHT
    tick = _byte_tick(total_bytes)
    for value in range(0, total_bytes + 1, tick):
        y = _number(bottom - value * scale)
        kind = "grid" if value else "axis"
        yield f'<line class="{kind}" x1="{_LEFT}" y1="{y}" x2="{_number(_LEFT + plot_width)}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 8}" y="{_number(bottom - value * scale + 4)}" text-anchor="end">{_bytes(value)}</text>'
    middle = _TOP + _PLOT_HEIGHT // 2
    yield f'<text class="note" transform="translate(20 {middle}) rotate(-90)" text-anchor="middle">bytes from the arena\'s start</text>'


def _step_axis(n_steps: int, step_width: float) -> Iterator[str]:
    bottom = _TOP + _PLOT_HEIGHT
    tick = _step_tick(step_width)
    for step in range(0, n_steps, tick):
        x = _LEFT + (step + 0.5) * step_width  # a step is a column, not a point
        yield f'<text x="{_number(x)}" y="{bottom + 17}" text-anchor="middle">{step}</text>'
    middle = _number(_LEFT + step_width * max(n_steps, 1) / 2)
    yield f'<text class="note" x="{middle}" y="{bottom + 40}" text-anchor="middle">step</text>'


def _byte_tick(total_bytes: int) -> int:
    """A power of two that divides the axis into four to eight parts."""
    return 1 << max(0, total_bytes.bit_length() - 3)


def _step_tick(step_width: float) -> int:
    """1, 2 or 5 times a power of ten, so that numbers stand apart."""
    fewest = 30 / step_width
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= fewest:
                return factor * power
        power *= 10


def _shortened(name: str, room: float) -> str:
    """The name, or its beginning with an ellipsis, or nothing."""
    letters = int(room / _LETTER)
    if len(name) <= letters:
        return name
    return name[: letters - 1] + "…" if letters >= 4 else ""


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
