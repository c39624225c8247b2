"""Ratings of policies from games in which they met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cervello.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Rating:
    """A policy's strength on the scale of the Plackett-Luce model of openskill, which starts at mu 25 and sigma 25/3.

    Attributes:
      mu: estimate. sigma: standard deviation.
    """

    mu: float
    sigma: float

    @property
    def ordinal(self) -> float:
        """mu - 3 sigma: a strength that is exceeded with near certainty; what to sort by."""
        return self.mu - 3 * self.sigma


def compute_ratings(names: Sequence[str], outcomes: Iterable[tuple[str, str, float]]) -> dict[str, Rating]:
    """Ratings by name, after the outcomes in their order.

    Args:
      outcomes: (a, b, margin): above 0 a has won, below 0 b, 0 is a draw.
    Raises:
      ConfigurationError: openskill is not installed.
    Source: R. C. Weng, C.-J. Lin, JMLR 12 (2011), algorithm 4, in openskill 6.
    """
    try:
        from openskill.models import PlackettLuce
    except ImportError as error:
        raise ConfigurationError(f"ratings: expected the extra 'league', got {error}; install the extra 'league'") from error
    model = PlackettLuce()
    players: dict[str, Any] = {name: model.rating(name=name) for name in names}
    for a, b, margin in outcomes:
        (first,), (second,) = model.rate([[players[a]], [players[b]]], ranks=[int(margin < 0), int(margin > 0)])
        players[a], players[b] = first, second
    return {name: Rating(float(each.mu), float(each.sigma)) for name, each in players.items()}
