"""Seeds of episodes: the same for one environment or many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cervello.errors import ConfigurationError


def episode_seed(seed: int | Sequence[int], episode: int) -> int:
    """The seed of `reset` with which episode k of a seed begins, 0 ≤ seed < 2⁶³; of several numbers, that of all of them.

    It is the first 64-bit word of numpy's `SeedSequence([seed, episode])` less its last bit, so that no two of a reasonable number of
    episodes share one.

    Raises:
      ConfigurationError: a seed or episode that is no whole number of this range.
    """
    numbers = checked_seeds("episode_seed", seed)
    if isinstance(episode, bool) or not isinstance(episode, (int, np.integer)) or episode < 0:
        raise ConfigurationError(f"episode_seed, episode: expected a whole number of at least 0, got {episode!r}")
    return int(np.random.SeedSequence([*numbers, int(episode)]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def row_seeds(seed: int | Sequence[int | None] | None, n: int) -> list[int | None]:
    """Seeds of the n rows of a vector environment: seed + i for row i, or those that are given, as Gymnasium has it."""
    if seed is None or isinstance(seed, (int, np.integer)):
        return [None if seed is None else int(seed) + i for i in range(n)]
    return list(seed)


def checked_seeds(where: str, seed: object) -> tuple[int, ...]:
    """A seed of one number or several. Raises ConfigurationError as `checked_seed`, and for none."""
    numbers = tuple(checked_seed(where, each) for each in (seed if isinstance(seed, Sequence) else [seed]))
    if not numbers:
        raise ConfigurationError(f"{where}, seed: expected a whole number or several, got none")
    return numbers


def checked_seed(where: str, seed: object) -> int:
    """A seed as a Python int. Raises ConfigurationError unless 0 ≤ seed < 2⁶³."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= int(seed) < 1 << 63:
        raise ConfigurationError(f"{where}, seed: expected a whole number, 0 ≤ seed < 2⁶³, got {seed!r}")
    return int(seed)
