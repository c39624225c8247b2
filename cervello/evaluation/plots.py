"""Plots of a page: weights per step, tails of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from cervello.pictures.page import COLOURS
from cervello.pictures.text import shortened
from cervello.spec import Array

if TYPE_CHECKING:
    from cervello.evaluation.report import Report

_LEFT, _WIDTH, _RIGHT, _TOP, _HEIGHT, _BOTTOM = 70, 440, 130, 44, 220, 48
_MOST_POINTS = 400


def per_step(report: Report) -> str:
    """Effective sample size by step, as a share of the units."""
    return _lines("Effective sample size by step, share of all", "step",
                  [(name, np.arange(len(each.diagnostics.ess)), each.diagnostics.ess / each.diagnostics.n)
                   for name, each in report.items() if each.diagnostics is not None])


def mean_weights(report: Report) -> str:
    """Mean weight by step, 1 in expectation; a logarithm."""
    series = []
    for name, each in report.items():
        if each.diagnostics is not None:
            with np.errstate(divide="ignore"):
                series.append((name, np.arange(len(each.diagnostics.ess)), np.log10(each.diagnostics.mean_weight)))
    return _lines("Mean weight by step, log₁₀ (0 is right)", "step", series)


def tails(report: Report) -> str:
    """Share of units whose whole product exceeds a weight, both as logarithms: a straight line is a heavy tail."""
    series = []
    for name, each in report.items():
        if each.diagnostics is None:
            continue
        logs = np.sort(each.diagnostics.log_weight[np.isfinite(each.diagnostics.log_weight)])[::-1]
        if len(logs):
            share = np.log10((np.arange(len(logs)) + 1) / each.diagnostics.n)
            series.append((name, logs / math.log(10), share))
    return _lines("Tail of the weights: log₁₀ share above a weight", "log₁₀ weight", series)


def _lines(title: str, below: str, series: Sequence[tuple[str, Array, Array]]) -> str:
    kept = [(name, x[np.isfinite(y)], y[np.isfinite(y)]) for name, x, y in series]
    kept = [(name, *_thinned(x, y)) for name, x, y in kept if len(x)]
    left, right = _padded([float(v) for _, xs, _ in kept for v in (xs.min(), xs.max())], 0.0)
    low, high = _padded([float(v) for _, _, ys in kept for v in (ys.min(), ys.max())])
    height = _TOP + _HEIGHT + _BOTTOM
    bottom = _TOP + _HEIGHT
    parts = [_head(title, height), *_x_axis(left, right, _TOP, bottom),
             f'<text x="{_LEFT + _WIDTH / 2:.0f}" y="{height - 6}" text-anchor="middle">{escape(below)}</text>']
    for tick in _ticks(low, high):
        at = bottom - _HEIGHT * (tick - low) / (high - low)
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>'
                     f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{_LEFT + _WIDTH}" y2="{at:.1f}"/>')
    for i, (name, xs, ys) in enumerate(kept):
        colour = COLOURS[i % len(COLOURS)]
        points = " ".join(f"{_at(a, left, right):.1f},{bottom - _HEIGHT * (b - low) / (high - low):.1f}"
                          for a, b in zip(xs, ys, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
                     f'<text x="{_LEFT + _WIDTH + 8}" y="{_TOP + 14 + 18 * i}" style="fill: {colour}">{escape(shortened(name, 14))}</text>')
    return "".join([*parts, "</svg>"])


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    """At most so many points, both ends among them."""
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(np.int64))
    return x[chosen], y[chosen]


def _head(title: str, height: float) -> str:
    width = _LEFT + _WIDTH + _RIGHT
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
            f'<title>{escape(title)}</title><text class="title" x="8" y="24">{escape(title)}</text>')


def _x_axis(low: float, high: float, top: float, bottom: float) -> list[str]:
    return [f'<line class="grid" x1="{_at(tick, low, high):.1f}" y1="{top}" x2="{_at(tick, low, high):.1f}" y2="{bottom}"/>'
            f'<text x="{_at(tick, low, high):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>' for tick in _ticks(low, high)]


def _at(value: float, low: float, high: float) -> float:
    return _LEFT + _WIDTH * (value - low) / (high - low)


def _padded(numbers: Sequence[float], share: float = 0.05) -> tuple[float, float]:
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    if low == high:
        return low - 0.5, high + 0.5
    return low - share * (high - low), high + share * (high - low)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, three to eight of them."""
    step = 10.0 ** math.floor(math.log10(high - low))
    step = next(step * factor for factor in (0.2, 0.5, 1.0, 2.0) if (high - low) / (step * factor) <= 8)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
