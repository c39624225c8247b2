"""Results of playing: returns by policy, their intervals, their differences, a table and a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from cervello import statistics
from cervello.envs.cross_play_result import CrossPlay, Game
from cervello.envs.ratings import Rating
from cervello.errors import InputError
from cervello.pictures import notebook
from cervello.pictures.cross_table import Cell, cross_table
from cervello.pictures.returns import returns_chart
from cervello.spec import Array
from cervello.statistics import PairedDifference

_LEVEL, _RESAMPLES = 0.95, 9_999


class Returns:
    """One policy's episodes, in the order of their numbers. Immutable.

    In games of several policies all are means over the policy's games of the episode.

    Attributes:
      name: of the policy.
      returns: [E] float64, sums of rewards.
      lengths: [E] int64, steps; float64 where they are means.
      terminated: [E] bool; the other episodes were truncated.
      environment_s, policy_s: seconds spent in either.
      empty_masks: decisions whose mask allowed nothing; it counted as no mask.
      drawn: whether actions were drawn; False where the model's outputs are the actions, or without noise.
      not_finite: observations with a NaN or an infinity that the policy was given.
    """

    def __init__(self, name: str, returns: Array, lengths: Array, terminated: Array, environment_s: float, policy_s: float,
                 empty_masks: int, drawn: bool = True, not_finite: int = 0):
        self.name, self.returns, self.lengths, self.terminated = name, returns, lengths, terminated
        self.environment_s, self.policy_s, self.empty_masks = environment_s, policy_s, empty_masks
        self.drawn, self.not_finite = drawn, not_finite

    def __len__(self) -> int:
        return len(self.returns)

    @property
    def mean(self) -> float:
        """The mean return."""
        return float(self.returns.mean())

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """95% interval of the mean, BCa over episodes on 9,999 resamples; None for fewer than 3 episodes."""
        return statistics.bca(self.returns, level=_LEVEL, resamples=_RESAMPLES)

    @property
    def interquartile_mean(self) -> float:
        """The mean of the middle half of the returns."""
        return float(statistics.interquartile_mean(self.returns))

    @cached_property
    def interquartile_mean_interval(self) -> tuple[float, float] | None:
        """95% interval of the interquartile mean."""
        return statistics.bca(self.returns, statistics.interquartile_mean, level=_LEVEL, resamples=_RESAMPLES)

    def __repr__(self) -> str:
        return f"Returns({self.name!r}, mean={self.mean:.4g}, episodes={len(self)})"

    def to_dict(self) -> dict[str, Any]:
        """Numbers for JSON."""
        return {"mean": self.mean, "interval": self.interval, "interquartile_mean": self.interquartile_mean,
                "interquartile_mean_interval": self.interquartile_mean_interval, "returns": self.returns.tolist(),
                "lengths": self.lengths.tolist(), "terminated": self.terminated.tolist(), "environment_s": self.environment_s,
                "policy_s": self.policy_s, "empty_masks": self.empty_masks, "drawn": self.drawn, "not_finite": self.not_finite}


@dataclass(frozen=True)
class PlayResult(Mapping[str, Returns]):
    """Returns by policy. Immutable.

    Attributes:
      title: of the environment.
      policies: returns by name.
      seeds: of the episodes; None where the environment resets itself and was seeded once.
      seed: as given.
      deterministic: whether policies played without noise.
      reward_note: why rewards are those that came out of wrappers; "" where they are the innermost ones.
      cross_play: results by pairing, in games of several policies; None in environments of one.
    """

    title: str
    policies: dict[str, Returns]
    seeds: list[int] | None
    seed: int
    deterministic: bool
    reward_note: str
    cross_play: CrossPlay | None = None

    def __getitem__(self, name: str) -> Returns:
        if name not in self.policies:
            raise InputError(f"result: expected a policy among {list(self.policies)}, got {name!r}")
        return self.policies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.policies)

    def __len__(self) -> int:
        return len(self.policies)

    def __contains__(self, name: object) -> bool:
        return name in self.policies

    @property
    def empty_masks(self) -> int:
        """Decisions of all policies whose mask allowed nothing; it counted as no mask."""
        return sum(each.empty_masks for each in self.policies.values())

    def difference(self, a: str, b: str) -> PairedDifference:
        """a − b over episodes: mean, BCa interval, and the share of episodes in which a is better.

        The pairs are of equal seeds where the environment could be seeded by episode.
        """
        return statistics.paired_difference(self[a].returns, self[b].returns, level=_LEVEL, resamples=_RESAMPLES)

    def probability_of_improvement(self, a: str, b: str) -> float:
        """How likely an episode of a is better than one of b, over all pairs; ties count one half."""
        return statistics.probability_of_improvement(self[a].returns, self[b].returns)

    @property
    def matrix(self) -> dict[tuple[str, str], float]:
        """By (a, b), a's mean return against b over all ways to share the seats. Raises InputError in environments of one policy."""
        return self._met().matrix

    @property
    def games(self) -> tuple[Game, ...]:
        """All games of several policies. Raises InputError in environments of one policy."""
        return self._met().games

    @property
    def ratings(self) -> dict[str, Rating]:
        """Strengths by policy.

        Raises:
          InputError: an environment of one policy. ConfigurationError: openskill, the extra 'league', is not installed.
        """
        return self._met().ratings

    def _met(self) -> CrossPlay:
        if self.cross_play is None:
            raise InputError(f"result: expected a game of several policies, got {self.title}, in which each plays alone")
        return self.cross_play

    def to_dict(self) -> dict[str, Any]:
        """Numbers for JSON."""
        more = {} if self.cross_play is None else {"cross_play": self.cross_play.to_dict()}
        return {**more, "environment": self.title, "seed": self.seed, "seeds": self.seeds, "deterministic": self.deterministic,
                "reward_note": self.reward_note, "empty_masks": self.empty_masks,
                "policies": {name: each.to_dict() for name, each in self.policies.items()}}

    def to_json(self, path: str | Path | None = None) -> str:
        """The numbers as JSON, written to `path` when given."""
        text = json.dumps(self.to_dict(), indent=2)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def to_svg(self, path: str | Path | None = None) -> str:
        """A picture, written to `path` when given: each policy's episodes as dots, its mean and interval; in games the matrix."""
        text = self._cross_picture(self.cross_play) if self.cross_play is not None else returns_chart(
            f"Returns in {self.title}", self.notes(), [
                (name, each.returns.tolist(), each.mean, each.interval) for name, each in self.policies.items()])
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def _repr_html_(self) -> str:
        columns, *rows = self.rows()
        return "".join([notebook.heading(self.title, self.notes()), notebook.table(columns, rows),
                        notebook.figure(self.to_svg(), f"returns in {self.title}"), *(f"<p>{escape(line)}</p>" for line in self.remarks())])

    def rows(self) -> list[tuple[str, ...]]:
        """The table of policies as text, headings first."""
        found: list[tuple[str, ...]] = [("policy", "mean return", "95% interval", "middle half", "length", "episodes", "policy's time")]
        for name, each in self.policies.items():
            total = each.environment_s + each.policy_s
            share = f"{100 * each.policy_s / total:.0f}%" if total else "-"
            found.append((name, f"{each.mean:.4g}", _interval(each.interval), f"{each.interquartile_mean:.4g}",
                          f"{each.lengths.mean():.1f}", str(len(each)), share))
        return found

    def remarks(self) -> list[str]:
        """Lines below the tables: observations that are not finite, then differences to the first policy, or ratings."""
        lines = [f"{name}: {each.not_finite:,} observation{'s' * (each.not_finite > 1)} not finite"
                 for name, each in self.policies.items() if each.not_finite]
        if self.cross_play is not None:
            return [*lines, self.cross_play.rating_line()]
        names = list(self.policies)
        for other in names[1:]:
            found = self.difference(names[0], other)
            lines.append(f"{names[0]} - {other}: {found.mean:+.4g} {_interval(found.interval)}, better in "
                         f"{100 * found.probability_of_improvement:.0f}% of episodes")
        return lines

    def __str__(self) -> str:
        tables = [self.rows(), *([] if self.cross_play is None else [self.cross_play.rows()])]
        return "\n".join([f"{self.title}: {self.notes()}", *(line for rows in tables for line in _aligned(rows)), *self.remarks()])

    def _cross_picture(self, met: CrossPlay) -> str:
        cells = {pair: Cell(mean, met.intervals[pair]) for pair, mean in met.matrix.items()}
        ratings = met.known_ratings
        sides = {name: "" if ratings is None else f"{ratings[name].mu:.1f} ± {ratings[name].sigma:.1f}" for name in self.policies}
        return cross_table(f"Cross-play in {self.title}", self.notes(), list(self.policies), cells, sides)

    def notes(self) -> str:
        """How the numbers were obtained, in one line."""
        notes = [self._drawing(), f"seed {self.seed}"]
        if self.cross_play is not None:
            notes.append(f"{len(self.cross_play.games)} games in the seats {' and '.join(self.cross_play.seats)}")
        notes.append("the environment's own rewards, within all wrappers" if not self.reward_note else
                     f"rewards as they come out of wrappers, since {self.reward_note}")
        if self.seeds is None:
            notes.append("the environment was seeded once, so policies do not share episodes")
        if self.empty_masks:
            notes.append(f"{self.empty_masks} masks allowed nothing")
        return ", ".join(notes)

    def _drawing(self) -> str:
        """Whether actions were drawn."""
        if self.deterministic:
            return "without noise"
        undrawn = [name for name, each in self.policies.items() if not each.drawn]
        if not undrawn:
            return "actions are drawn"
        if len(undrawn) == len(self):
            return "no action is drawn, since the outputs are the actions"
        return f"actions are drawn, except those of {', '.join(undrawn)}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"[{interval[0]:.4g}, {interval[1]:.4g}]"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, names to the left and numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
            for row in rows]
