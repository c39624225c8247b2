"""Neighbours have nothing in common, on fixed seeds: nothing here can fail by chance. Two bad sources show that it can fail."""

from __future__ import annotations

import itertools
from typing import Any

import noise_samples
import numpy as np
import pytest
from noise_samples import FAST_VALUES, KINDS, counted, draws, fast_odds, hardly_mixed, named

from cervello.noise import reference

stats = pytest.importorskip("scipy.stats")

ROWS, WIDTH = 300, 256
UP, DOWN = np.arange(ROWS), np.arange(ROWS)[::-1]
NEIGHBOURS = {
    "agents": {"agent": UP}, "names": {"agent": named(ROWS)}, "streams": {"stream": UP}, "episodes": {"episode": UP},
    "steps": {"step": UP}, "sites": {"site": UP}, "seeds": {"seed": UP},
    "agents, steps": {"agent": UP, "step": DOWN}, "agents, streams": {"agent": UP, "stream": DOWN},
    "episodes, steps": {"episode": UP, "step": DOWN}, "seeds, agents": {"seed": UP, "agent": DOWN}}
BAD = [counted, hardly_mixed]


def deviations(a: Any, b: Any) -> dict[str, float]:
    """How many standard deviations five correlations of independent numbers are from 0."""
    a, b = (x.ravel() - x.mean() for x in (a, b))
    seen = {"values": lambda x: x, "sizes": np.abs, "squares": np.square, "ranks": stats.rankdata,
            "ranks of sizes": lambda x: stats.rankdata(np.abs(x))}
    return {name: abs(np.corrcoef(of(a), of(b))[0, 1]) * np.sqrt(a.size) for name, of in seen.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("neighbours", NEIGHBOURS)
def test_neighbours_are_uncorrelated_in_value_size_and_rank(kind: str, neighbours: str) -> None:
    drawn = draws(kind, WIDTH, **NEIGHBOURS[neighbours])
    found = deviations(drawn[:-1], drawn[1:])
    assert max(found.values()) < 4.0, found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("apart", [1, 2, 3, 4, 5, 16, 64])
def test_elements_are_uncorrelated_in_value_size_and_rank(kind: str, apart: int) -> None:
    drawn = draws(kind, 1024, agent=UP)
    found = deviations(drawn[:, :-apart], drawn[:, apart:])
    if kind == "fast_normal" and apart < 4:  # there the definition promises no more
        found = {name: found[name] for name in ("values", "ranks")}
    assert max(found.values()) < 4.0, found


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("neighbours", [name for name in NEIGHBOURS if name != "names"])
def test_neighbours_of_bad_sources_are_correlated(bad: Any, kind: str, neighbours: str) -> None:
    drawn = bad(kind, WIDTH, **NEIGHBOURS[neighbours])
    assert max(deviations(drawn[:-1], drawn[1:]).values()) > 6.0


def test_the_bad_philox_with_all_its_rounds_is_the_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_samples, "ROUNDS", reference.ROUNDS)
    steps = np.array([0, 9, 2**32 - 1])
    truth = [[reference.uniform(3 | 4 << 32, 1 + 2, int(step), 6, element) for element in range(9)] for step in steps]
    assert (hardly_mixed("uniform", 9, seed=1, stream=2, agent=3, episode=4, step=steps, site=6) == truth).all()


def test_every_correlation_sees_what_the_others_miss() -> None:
    rng = np.random.default_rng(1)
    a, sign, other = rng.standard_normal(40000), rng.choice([-1.0, 1.0], 40000), rng.standard_normal(40000)
    only_sizes = deviations(a, a * sign)
    assert max(only_sizes[name] for name in ("values", "ranks")) < 4.0
    assert min(only_sizes[name] for name in ("sizes", "squares", "ranks of sizes")) > 100.0
    only_order = deviations(np.exp(5 * a), np.exp(5 * (0.1 * a + other)))
    assert only_order["values"] < 4.0
    assert only_order["ranks"] > 6.0


def shares(kind: str, drawn: Any, cells: int) -> tuple[Any, Any]:
    """Which of `cells` nearly equal parts of its distribution every number falls in, and the parts' exact probabilities."""
    if kind == "fast_normal":
        odds = fast_odds()
        cell = np.minimum((np.cumsum(odds) * cells).astype(int), cells - 1)
        return cell[np.searchsorted(FAST_VALUES, drawn - 1e-4)], np.bincount(cell, odds, cells)
    below = drawn if kind == "uniform" else stats.norm.cdf(drawn)
    return (below * cells).astype(int), np.full(cells, 1 / cells)


def even_spread(kind: str, drawn: Any, rows: int, cells: int) -> float:
    """p of chi-square: tuples of a number of each of `rows` neighbours, no number in two tuples, over cells ** rows boxes."""
    cell, odds = shares(kind, drawn, cells)
    boxes, expected = np.zeros_like(cell[::rows]), np.ones(1)
    for row in range(rows):
        boxes, expected = boxes * cells + cell[row::rows], np.outer(expected, odds).ravel()
    expected = expected * boxes.size
    seen = np.bincount(boxes.ravel(), minlength=len(expected))
    return float(stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), len(expected) - 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("neighbours", NEIGHBOURS)
@pytest.mark.parametrize(("rows", "cells"), [(1, 256), (2, 32), (3, 10)])
def test_neighbours_are_spread_evenly_over_square_and_cube(kind: str, neighbours: str, rows: int, cells: int) -> None:
    assert 0.001 < even_spread(kind, draws(kind, WIDTH, **NEIGHBOURS[neighbours]), rows, cells) < 0.999


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("neighbours", [name for name in NEIGHBOURS if name != "names"])
@pytest.mark.parametrize(("rows", "cells"), [(2, 32), (3, 10)])
def test_neighbours_of_bad_sources_are_not(bad: Any, neighbours: str, rows: int, cells: int) -> None:
    assert even_spread("uniform", bad("uniform", WIDTH, **NEIGHBOURS[neighbours]), rows, cells) < 1e-9


AGENTS = np.concatenate([np.arange(6, dtype=np.uint64), named(6)])
CROWD = {name: np.array(column, np.uint64) for name, column in zip(
    ("seed", "stream", "agent", "episode", "step", "site"),
    zip(*itertools.product(range(3), range(5), AGENTS.tolist(), range(5), range(5), range(3)), strict=True), strict=True)}


def repeated(source: Any) -> tuple[int, int, float]:
    """Draws (four numbers, 96 bits) that come again, single numbers that do, and how many of these chance would make."""
    drawn = source("uniform", 16, **CROWD)
    chance = drawn.size - 2**24 * -np.expm1(drawn.size * np.log1p(-(2.0**-24)))
    return drawn.size // 4 - len(np.unique(drawn.reshape(-1, 4), axis=0)), drawn.size - len(np.unique(drawn)), chance


def test_no_two_of_seeds_streams_agents_episodes_steps_and_sites_share_a_draw() -> None:
    draws_again, numbers_again, chance = repeated(draws)
    assert draws_again == 0
    assert abs(numbers_again - chance) < 4 * np.sqrt(chance)


@pytest.mark.parametrize("bad", BAD)
def test_bad_sources_share_draws(bad: Any) -> None:
    draws_again, numbers_again, chance = repeated(bad)
    assert draws_again > 1000
    assert abs(numbers_again - chance) > 10 * np.sqrt(chance)
