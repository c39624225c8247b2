"""Results of games of several policies: returns by pairing, and ratings."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cervello import statistics
from cervello.envs.ratings import Rating, compute_ratings
from cervello.errors import ConfigurationError

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Game:
    """One game. Immutable.

    Attributes:
      episode: its number; games of one number begin with the same seed.
      seed: of the reset.
      seats: the policy's name in each seat.
      returns: by policy's name, the mean over its seats.
      seat_returns: by seat, the sum of rewards of all its agents.
      length: steps of a parallel environment, or turns in which an agent decided.
      terminated: whether no agent was truncated.
    """

    episode: int
    seed: int
    seats: dict[str, str]
    returns: dict[str, float]
    seat_returns: dict[str, float]
    length: int
    terminated: bool


@dataclass(frozen=True)
class CrossPlay:
    """Games of pairs of policies. Immutable.

    Attributes:
      seats: names or patterns of agents.
      games: by episode, then by pair, then by seats.
    """

    seats: tuple[str, ...]
    games: tuple[Game, ...]

    @cached_property
    def names(self) -> list[str]:
        """Of the policies, in the order in which they first played."""
        return list(dict.fromkeys(name for game in self.games for name in game.returns))

    @cached_property
    def cells(self) -> dict[tuple[str, str], list[list[float]]]:
        """By (a, b), for each episode, a's returns in its games against b."""
        found: dict[tuple[str, str], list[list[float]]] = {}
        for game in self.games:
            for a, b in itertools.permutations(game.returns, 2):
                episodes = found.setdefault((a, b), [])
                if len(episodes) <= game.episode:
                    episodes.append([])
                episodes[-1].append(game.returns[a])
        return found

    @cached_property
    def matrix(self) -> dict[tuple[str, str], float]:
        """By (a, b), a's mean return against b over all ways to share the seats; pairs that cannot meet are absent."""
        return {pair: float(np.mean([np.mean(each) for each in episodes])) for pair, episodes in self.cells.items()}

    @cached_property
    def intervals(self) -> dict[tuple[str, str], Interval | None]:
        """By (a, b), the 95% interval of a cell of the matrix, BCa over episodes on 9,999 resamples; None for fewer than 3 episodes."""
        return {pair: statistics.bca([float(np.mean(each)) for each in episodes], level=0.95, resamples=9_999)
                for pair, episodes in self.cells.items()}

    @property
    def outcomes(self) -> list[tuple[str, str, float]]:
        """(a, b, margin) for ratings, in the order of the games.

        A game is judged together with its mirror, the game of the same seed in which both have changed seats: the margin is a's
        sum over all seats less b's, so that neither seats that pay more nor the first move favour a policy. A game whose mirror
        cannot be played is judged by the returns in it.
        """
        found: list[tuple[str, str, float]] = []
        pending: dict[tuple[Any, ...], Game] = {}
        playable = {tuple(game.seats.items()) for game in self.games}
        for game in self.games:
            a, b = game.returns
            mirror = tuple((seat, b if name == a else a) for seat, name in game.seats.items())
            if mirror not in playable:
                found.append((a, b, game.returns[a] - game.returns[b]))
                continue
            other = pending.pop((game.episode, mirror), None)
            if other is None:
                pending[game.episode, tuple(game.seats.items())] = game
                continue
            first, second = other.returns
            margin = 0.0
            for seat in game.seats:  # seat by seat, so that equal play is exactly a draw
                by_name = {each.seats[seat]: each.seat_returns[seat] for each in (other, game)}
                margin += by_name[first] - by_name[second]
            found.append((first, second, margin))
        return found

    @cached_property
    def ratings(self) -> dict[str, Rating]:
        """By policy. Raises ConfigurationError when openskill, the extra 'league', is not installed."""
        return compute_ratings(self.names, self.outcomes)

    @property
    def known_ratings(self) -> dict[str, Rating] | None:
        """Ratings; None without the extra."""
        try:
            return self.ratings
        except ConfigurationError:
            return None

    def to_dict(self) -> dict[str, Any]:
        """Numbers for JSON; matrices are rows by policy, None where two have not met."""
        names = self.names
        ratings = self.known_ratings
        return {"seats": list(self.seats),
                "matrix": {a: {b: self.matrix.get((a, b)) for b in names} for a in names},
                "intervals": {a: {b: self.intervals.get((a, b)) for b in names} for a in names},
                "ratings": None if ratings is None else {name: {"mu": each.mu, "sigma": each.sigma, "ordinal": each.ordinal}
                                                         for name, each in ratings.items()},
                "games": [{"episode": game.episode, "seed": game.seed, "seats": game.seats, "returns": game.returns,
                           "seat_returns": game.seat_returns, "length": game.length, "terminated": game.terminated}
                          for game in self.games]}

    def rows(self) -> list[tuple[str, ...]]:
        """The matrix as text, headings first."""
        names = self.names
        return [("row's mean return against", *names),
                *((a, *(f"{self.matrix[a, b]:.4g}" if (a, b) in self.matrix else "-" for b in names)) for a in names)]

    def rating_line(self) -> str:
        """Strengths, the strongest first, or why there are none."""
        ratings = self.known_ratings
        if ratings is None:
            return "ratings: none, since openskill is missing; install the extra 'league'"
        order = sorted(ratings, key=lambda name: -ratings[name].ordinal)
        return "ratings (mu ± sigma): " + ", ".join(f"{name} {ratings[name].mu:.1f} ± {ratings[name].sigma:.1f}" for name in order)
