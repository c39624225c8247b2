"""Draws the arena: agents as small bodies turned to where they go, their trails, food, rocks, and a strip of returns.

painter = Painter()
play(policies, on_tick=painter.watch)
encode_png(painter.picture())
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cervello.demo.arena import Arena
from cervello.demo.canvas import Canvas, Colour, Shape
from cervello.demo.herd import BoolArray, FloatArray, IntArray
from cervello.demo.play import Tick
from cervello.demo.returns_strip import STRIP_HEIGHT, ReturnsStrip
from cervello.demo.species import FLASH_PERIOD, GRAZER, HEIGHT, HUNTER, SCOUT, SPECIES, WIDTH

SCALE = 10
"""Pixels per arena unit."""

TRAIL_TICKS = 10

COLOURS: dict[str, Colour] = {
    GRAZER.name: (236, 214, 138),
    HUNTER.name: (255, 98, 72),
    SCOUT.name: (92, 196, 255),
}

_GROUND: Colour = (18, 23, 29)
_GROUND_GRID: Colour = (23, 29, 36)
_ROCK: Colour = (62, 71, 84)
_ROCK_SHADE: Colour = (40, 47, 57)
_GRASS: Colour = (86, 176, 98)
_BERRY: Colour = (190, 92, 170)
_OUTLINE: Colour = (8, 10, 13)
_TRAIL_POINTS = 6  # drawn per tick of trail; bodies go at most 6 pixels per tick


class Painter:
    """Mutable: remembers the last positions and the course of the returns, and draws them."""

    def __init__(self) -> None:
        self._arena: Arena | None = None
        self._ground = np.zeros((0, 0, 3), np.float32)
        self._positions: deque[dict[str, tuple[IntArray, FloatArray, BoolArray]]] = deque(maxlen=TRAIL_TICKS + 1)
        self._strip = ReturnsStrip(COLOURS)

    def watch(self, tick: Tick) -> None:
        """Takes note of a tick; meant as `on_tick` of `cervello.demo.play.play`."""
        arena = tick.arena
        if arena is not self._arena:
            self._arena = arena
            self._ground = _ground(arena)
            self._positions.clear()
            self._strip = ReturnsStrip(COLOURS)
        self._positions.append(
            {name: (herd.ids.copy(), herd.position.copy(), herd.alive.copy()) for name, herd in arena.herds.items()}
        )
        self._strip.watch(tick)

    def picture(self) -> npt.NDArray[np.uint8]:
        """Returns [820, 960, 3] uint8 of the latest tick watched.

        Raises:
          ValueError: no tick was watched yet.
        """
        arena = self._arena
        if arena is None:
            raise ValueError("picture: expected at least one watched tick, got none; pass Painter.watch as on_tick")
        canvas = Canvas(HEIGHT * SCALE + STRIP_HEIGHT, WIDTH * SCALE, _GROUND)
        canvas.pixels[: HEIGHT * SCALE] = self._ground
        upright = np.array([[1.0, 0.0]], np.float32)
        for food, shape, colour in (
            (arena.terrain.grass, _blade, _GRASS),
            (arena.terrain.berry + np.float32(0.5), _berry, _BERRY),
        ):
            canvas.stamp(shape, _to_pixels(food), upright.repeat(len(food), axis=0), colour, 0.85, radius=3)
        for species in SPECIES:
            self._draw_trails(canvas, species.name)
        for species in SPECIES:
            self._draw_bodies(canvas, arena, species.name)
        self._strip.draw(canvas, top=HEIGHT * SCALE, legend=_LEGEND)
        return canvas.pixels.round().astype(np.uint8)

    def _draw_trails(self, canvas: Canvas, name: str) -> None:
        steps = [entry[name] for entry in self._positions]
        centres, opacities = [], []
        between = (np.arange(_TRAIL_POINTS, dtype=np.float32) / _TRAIL_POINTS)[:, None, None]
        for age, (older, newer) in enumerate(pairwise(steps), start=TRAIL_TICKS - len(steps) + 2):
            same = older[2] & newer[2] & (older[0] == newer[0])  # a place may have got another agent
            points = older[1][same] + between * (newer[1][same] - older[1][same])
            centres.append(_to_pixels(points.reshape(-1, 2)))
            opacities.append(np.full(points.shape[0] * points.shape[1], 0.75 * age / TRAIL_TICKS, np.float32))
        if centres:
            canvas.dot(np.concatenate(centres), np.concatenate(opacities), COLOURS[name])

    def _draw_bodies(self, canvas: Canvas, arena: Arena, name: str) -> None:
        herd = arena.herds[name]
        living = herd.living()
        centre = _to_pixels(herd.position[living])
        velocity = herd.velocity[living]
        speed = np.hypot(velocity[:, 0], velocity[:, 1])[:, None]
        ahead = np.array([1.0, 0.0], np.float32)
        heading = np.where(speed > 1e-4, velocity / np.maximum(speed, 1e-4), ahead).astype(np.float32)
        heading[:, 1] *= -1.0  # rows of the picture grow downwards, the arena's y upwards
        shape = _BODIES[name]
        canvas.stamp(lambda u, v: shape(u, v) - np.float32(1.2), centre, heading, _OUTLINE, 0.9)
        canvas.stamp(shape, centre, heading, COLOURS[name])
        if name == HUNTER.name:
            flashed = (herd.ids[living] + arena.tick) % FLASH_PERIOD == 0
            canvas.stamp(_ring, centre[flashed], heading[flashed], COLOURS[name], 0.5, radius=13)


def _to_pixels(position: FloatArray) -> FloatArray:
    flipped = np.stack([position[:, 0], HEIGHT - position[:, 1]], axis=1)
    return (flipped * SCALE).astype(np.float32, copy=False)


def _ground(arena: Arena) -> FloatArray:
    """Returns [640, 960, 3] float32, what never changes: ground, a faint grid, rocks with a shaded foot."""
    canvas = Canvas(HEIGHT * SCALE, WIDTH * SCALE, _GROUND)
    canvas.pixels[:: 8 * SCALE] = _GROUND_GRID
    canvas.pixels[:, :: 8 * SCALE] = _GROUND_GRID
    rows, columns = np.nonzero(arena.terrain.blocked)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        left, top = column * SCALE, (HEIGHT - 1 - row) * SCALE
        canvas.rectangle(left, top, SCALE, SCALE, _ROCK)
        if not arena.terrain.blocked[row - 1, column]:
            canvas.rectangle(left, top + SCALE - 3, SCALE, 3, _ROCK_SHADE)
    return canvas.pixels


def _blade(u: FloatArray, v: FloatArray) -> FloatArray:
    return np.hypot(u, v) - np.float32(1.8)


def _berry(u: FloatArray, v: FloatArray) -> FloatArray:
    return np.hypot(u, v) - np.float32(2.0)


def _ring(u: FloatArray, v: FloatArray) -> FloatArray:
    return np.abs(np.hypot(u, v) - np.float32(11.0)) - np.float32(0.6)


def _grazer_body(u: FloatArray, v: FloatArray) -> FloatArray:
    """A round body with a small head."""
    return np.minimum(np.hypot(u, v) - np.float32(3.4), np.hypot(u - 4, v) - np.float32(1.9))


def _hunter_body(u: FloatArray, v: FloatArray) -> FloatArray:
    """An arrowhead with a notched tail."""
    flank = 0.93 * np.abs(v) + 0.37 * (u - 7)
    tail = -u - 2.8 - 0.4 * np.abs(v)
    return np.maximum(flank, tail).astype(np.float32, copy=False)


def _scout_body(u: FloatArray, v: FloatArray) -> FloatArray:
    """A diamond, longer along the way it goes."""
    diamond: FloatArray = (0.6 * np.abs(u) + 0.8 * np.abs(v) - 3.1).astype(np.float32, copy=False)
    return diamond


def _disc(u: FloatArray, v: FloatArray) -> FloatArray:
    return np.hypot(u, v) - np.float32(5)


def _square(u: FloatArray, v: FloatArray) -> FloatArray:
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(6)


def _circle(u: FloatArray, v: FloatArray) -> FloatArray:
    return np.abs(np.hypot(u, v) - np.float32(6.5)) - np.float32(0.8)


_LEGEND: dict[str, tuple[Shape, Colour]] = {
    "grass": (_disc, _GRASS), "berries": (_disc, _BERRY), "rocks": (_square, _ROCK),
    "ring: a hunter sees its prey": (_circle, COLOURS[HUNTER.name])}
_BODIES: dict[str, Shape] = {GRAZER.name: _grazer_body, HUNTER.name: _hunter_body, SCOUT.name: _scout_body}
