"""The strip below the arena: what its marks are, and for each species how many live and how the mean return of recent lives went."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cervello.demo.canvas import Canvas, Colour, Shape
from cervello.demo.pixel_font import GLYPH_WIDTH
from cervello.demo.play import Tick
from cervello.demo.species import SPECIES

RECENT_LIVES = 60
"""How many of the last ended lives the mean is taken over."""

STRIP_HEIGHT = 180
"""Pixels."""

LEGEND_HEIGHT = 38
"""Pixels of it, above the species, that say what else there is in the arena."""

_PANEL: Colour = (26, 32, 40)
_EDGE: Colour = (12, 15, 19)
_AXIS: Colour = (74, 84, 98)
_CAPTION: Colour = (168, 179, 193)
_MARGIN = 14
_LARGE, _SMALL = 3, 2  # pixels of a letter's pixel: 21 and 14 high


class ReturnsStrip:
    """Mutable: the course of the mean returns, one number per tick and species."""

    def __init__(self, colours: Mapping[str, Colour]) -> None:
        self._colours = colours
        self._course: dict[str, list[float]] = {species.name: [] for species in SPECIES}
        self._living: dict[str, int] = {species.name: 0 for species in SPECIES}
        self._tick = 0

    def watch(self, tick: Tick) -> None:
        """Takes note of a tick."""
        self._tick = tick.number
        for name, course in self._course.items():
            recent = tick.ended_returns[name][-RECENT_LIVES:]
            course.append(float(np.mean(recent)) if recent else float("nan"))
            self._living[name] = int(tick.arena.herds[name].alive.sum())

    def draw(self, canvas: Canvas, top: int, legend: Mapping[str, tuple[Shape, Colour]]) -> None:
        """Draws the strip, STRIP_HEIGHT pixels high and as wide as the canvas, below row `top`.

        Args:
          legend: what the marks of no species are, and how they look.
        """
        full = canvas.pixels.shape[1]
        canvas.rectangle(0, top, full, STRIP_HEIGHT, _EDGE)
        left = _MARGIN + 4
        for what, (shape, colour) in legend.items():
            canvas.stamp(shape, np.array([[left + 6, top + 20]], np.float32), np.array([[1.0, 0.0]], np.float32), colour)
            canvas.text(left + 22, top + 13, what, _CAPTION, _SMALL)
            left += 22 + _text_width(what, _SMALL) + 36
        width = full // len(SPECIES)
        for index, name in enumerate(self._course):
            self._draw_panel(canvas, name, index * width, top + LEGEND_HEIGHT, width)

    def _draw_panel(self, canvas: Canvas, name: str, left: int, top: int, width: int) -> None:
        colour, height = self._colours[name], STRIP_HEIGHT - LEGEND_HEIGHT
        canvas.rectangle(left + 1, top + 2, width - 2, height - 3, _PANEL)
        canvas.rectangle(left + 1, top + 2, 4, height - 3, colour)
        course = np.array(self._course[name], np.float32)
        known = course[np.isfinite(course)]
        left, right = left + _MARGIN + 4, left + width - _MARGIN
        value_text = f"{known[-1]:+.2f}" if len(known) else "-"
        canvas.text(left, top + 14, name, colour, _LARGE)
        canvas.text(right - _text_width(value_text, _LARGE), top + 14, value_text, colour, _LARGE)
        canvas.text(left, top + 44, f"{self._living[name]} alive", _CAPTION, _SMALL)
        canvas.text(right - _text_width("mean return", _SMALL), top + 44, "mean return", _CAPTION, _SMALL)
        if not len(known):
            return

        plot_left, plot_width = left, right - left
        plot_top, plot_height = top + 68, height - 98
        low, high = min(0.0, float(known.min())), max(0.0, float(known.max()))
        span = max(high - low, 1e-6)
        axis = plot_top + round((high / span) * (plot_height - 1))
        canvas.rectangle(plot_left, axis, plot_width, 1, _AXIS)
        canvas.text(plot_left, top + height - 22, f"last {RECENT_LIVES} lives", _CAPTION, _SMALL)
        ticks = f"tick {self._tick}"
        canvas.text(right - _text_width(ticks, _SMALL), top + height - 22, ticks, _CAPTION, _SMALL)
        # Enough points along the way make the line whole even where it is steep.
        at = np.linspace(0, len(course) - 1, 6 * plot_width)
        value = np.interp(at, np.arange(len(course)), course)
        x = plot_left + at / max(len(course) - 1, 1) * (plot_width - 1) + 0.5
        y = plot_top + (high - value) / span * (plot_height - 1) + 0.5
        points = np.stack([x, y], axis=1)[np.isfinite(value)].astype(np.float32)
        for shift in (0.0, 0.7):
            canvas.dot(points + np.float32(shift), np.ones(len(points), np.float32), colour)


def _text_width(text: str, magnification: int) -> int:
    """Pixels from the first letter's left edge to the last one's right edge."""
    return ((GLYPH_WIDTH + 1) * len(text) - 1) * magnification
