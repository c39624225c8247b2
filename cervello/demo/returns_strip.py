"""The strip below the arena: for each species how many live and how the mean return of recent lives went."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cervello.demo.canvas import Canvas, Colour
from cervello.demo.play import Tick
from cervello.demo.species import SPECIES

RECENT_LIVES = 60
"""How many of the last ended lives the mean is taken over."""

STRIP_HEIGHT = 80
"""Pixels."""

_PANEL: Colour = (26, 32, 40)
_EDGE: Colour = (12, 15, 19)
_AXIS: Colour = (58, 67, 79)
_FOOTNOTE: Colour = (98, 109, 123)
_CAPTION: Colour = (150, 161, 175)
_PLOT_LEFT = 128
_MARGIN = 12


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

    def draw(self, canvas: Canvas, top: int) -> None:
        """Draws the strip, STRIP_HEIGHT pixels high and as wide as the canvas, below row `top`."""
        full = canvas.pixels.shape[1]
        canvas.rectangle(0, top, full, STRIP_HEIGHT, _EDGE)
        width = full // len(SPECIES)
        for index, name in enumerate(self._course):
            self._draw_panel(canvas, name, index * width, top, width)

    def _draw_panel(self, canvas: Canvas, name: str, left: int, top: int, width: int) -> None:
        colour = self._colours[name]
        canvas.rectangle(left + 1, top + 2, width - 2, STRIP_HEIGHT - 3, _PANEL)
        canvas.rectangle(left + 1, top + 2, 4, STRIP_HEIGHT - 3, colour)
        text_left = left + _MARGIN + 4
        course = np.array(self._course[name], np.float32)
        known = course[np.isfinite(course)]
        canvas.text(text_left, top + 12, name, colour, 2)
        canvas.text(text_left, top + 34, f"{self._living[name]} alive", _CAPTION)
        canvas.text(text_left, top + 48, "mean return", _CAPTION)
        canvas.text(text_left, top + 60, f"{known[-1]:+.2f}" if len(known) else "-", colour, 2)
        if not len(known):
            return

        plot_left, plot_width = left + _PLOT_LEFT, width - _PLOT_LEFT - _MARGIN
        plot_top, plot_height = top + 12, STRIP_HEIGHT - 30
        low, high = min(0.0, float(known.min())), max(0.0, float(known.max()))
        span = max(high - low, 1e-6)
        axis = plot_top + round((high / span) * (plot_height - 1))
        canvas.rectangle(plot_left, axis, plot_width, 1, _AXIS)
        canvas.text(plot_left, top + STRIP_HEIGHT - 12, f"last {RECENT_LIVES} lives, ticks 0-{self._tick}", _FOOTNOTE)
        # Enough points along the way make the line whole even where it is steep.
        at = np.linspace(0, len(course) - 1, 6 * plot_width)
        value = np.interp(at, np.arange(len(course)), course)
        x = plot_left + at / max(len(course) - 1, 1) * (plot_width - 1) + 0.5
        y = plot_top + (high - value) / span * (plot_height - 1) + 0.5
        points = np.stack([x, y], axis=1)[np.isfinite(value)].astype(np.float32)
        for shift in (0.0, 0.7):
            canvas.dot(points + np.float32(shift), np.ones(len(points), np.float32), colour)
