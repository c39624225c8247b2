"""A float RGB canvas on which many small shapes are painted at once, with smooth edges."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cervello.demo.herd import FloatArray, IntArray
from cervello.demo.pixel_font import render_text

Colour = tuple[int, int, int]
"""Red, green, blue, 0..255."""

Shape = Callable[[FloatArray, FloatArray], FloatArray]
"""From pixels along (u) and across (v) the heading to the signed distance to the shape's edge, negative inside."""


class Canvas:
    """Mutable picture. pixels: [H, W, 3] float32, 0..255; row 0 is the top."""

    def __init__(self, height: int, width: int, colour: Colour) -> None:
        self.pixels: FloatArray = np.empty((height, width, 3), np.float32)
        self.pixels[:] = colour

    def stamp(
        self,
        shape: Shape,
        centre: FloatArray,
        heading: FloatArray,
        colour: Colour,
        opacity: float = 1.0,
        radius: int = 9,
    ) -> None:
        """Paints `shape` at every centre [n, 2] (x, y pixels), turned to the unit vector heading [n, 2].

        Nothing farther than `radius` pixels from its centre is painted.
        """
        corner = np.floor(centre).astype(np.int64)
        steps = np.arange(-radius, radius + 1)
        x = corner[:, 0, None, None] + steps[None, None, :]
        y = corner[:, 1, None, None] + steps[None, :, None]
        dx = (x + 0.5 - centre[:, 0, None, None]).astype(np.float32)
        dy = (y + 0.5 - centre[:, 1, None, None]).astype(np.float32)
        cos, sin = heading[:, 0, None, None], heading[:, 1, None, None]
        distance = shape(dx * cos + dy * sin, dy * cos - dx * sin)
        self._cover(x, y, np.clip(0.5 - distance, 0.0, 1.0) * np.float32(opacity), colour)

    def dot(self, centre: FloatArray, opacity: FloatArray, colour: Colour) -> None:
        """Paints one-pixel points at centres [n, 2], spread over the four nearest pixels, with opacity [n]."""
        corner = np.floor(centre - 0.5).astype(np.int64)
        part = (centre - 0.5 - corner).astype(np.float32)
        side = np.arange(2)
        x = np.broadcast_to(corner[:, 0, None, None] + side[None, None, :], (len(centre), 2, 2))
        y = np.broadcast_to(corner[:, 1, None, None] + side[None, :, None], (len(centre), 2, 2))
        across = np.stack([1 - part[:, 0], part[:, 0]], axis=1)[:, None, :]
        down = np.stack([1 - part[:, 1], part[:, 1]], axis=1)[:, :, None]
        self._cover(x, y, across * down * opacity[:, None, None], colour)

    def text(self, left: int, top: int, text: str, colour: Colour, magnification: int = 1) -> None:
        """Writes `text` with its upper left corner at (left, top); what leaves the canvas is cut."""
        ink = render_text(text, magnification)
        area = self.pixels[top : top + ink.shape[0], left : left + ink.shape[1]]
        area[ink[: area.shape[0], : area.shape[1]]] = colour

    def rectangle(self, left: int, top: int, width: int, height: int, colour: Colour) -> None:
        """Fills a rectangle."""
        self.pixels[top : top + height, left : left + width] = colour

    def _cover(self, x: IntArray, y: IntArray, coverage: FloatArray, colour: Colour) -> None:
        height, width, _ = self.pixels.shape
        x, y = np.broadcast_arrays(x, y)
        inside = (coverage > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        # Overlapping shapes of one colour take the stronger coverage, so that crowds do not glow.
        strongest = np.zeros(height * width, np.float32)
        np.maximum.at(strongest, y[inside] * width + x[inside], coverage[inside])
        touched = np.flatnonzero(strongest)
        flat = self.pixels.reshape(-1, 3)
        share = strongest[touched, None]
        flat[touched] += share * (np.array(colour, np.float32) - flat[touched])
