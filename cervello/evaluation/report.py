"""The result of an evaluation: estimates with intervals and verdicts, by policy and estimator."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cervello.errors import ConfigurationError, InputError
from cervello.evaluation.diagnostics import UNSUPPORTED, Diagnostics, worst
from cervello.evaluation.intervals import IntervalOptions, interval
from cervello.evaluation.moments import Moments
from cervello.evaluation.selection import Best, Difference, Regret, difference, regret
from cervello.pictures import notebook
from cervello.pictures.intervals import Estimated, interval_chart
from cervello.statistics.arguments import Interval


@dataclass(frozen=True, eq=False)
class Estimate:
    """One policy's value by one estimator.

    Made by `evaluate`.

    Attributes:
      value: None where it is unsupported. interval: (low, high), None where there is no estimate or fewer than 3 units.
      kind: of the interval. verdict: "reliable", "weak" or "unsupported". reason: what decided, and what to do.
      estimator: its name. notes: what else to know.
      moments: what it was computed from. bounds: outside which no value lies, where that is known.
    """

    estimator: str
    value: float | None
    interval: Interval | None
    kind: str
    verdict: str
    reason: str
    notes: tuple[str, ...]
    moments: Moments = field(repr=False)  # as long as the data
    bounds: Interval | None = None

    def as_dict(self) -> dict[str, Any]:
        """What JSON holds of it: value, interval, its kind, verdict, reason and notes."""
        return {"value": self.value, "interval": None if self.interval is None else list(self.interval), "interval_kind": self.kind,
                "verdict": self.verdict, "reason": self.reason, "notes": list(self.notes)}


@dataclass(frozen=True, eq=False)
class PolicyReport(Mapping[str, Estimate]):
    """Estimates of one policy by estimator.

    Made by `evaluate`.

    Attributes:
      name, path: of the policy. diagnostics: of its weights; None where no estimator uses weights.
      estimates: by estimator.
      fit: of its value function: rounds, converged, residuals; None where nothing was fitted.
    """

    name: str
    path: str | None
    estimates: Mapping[str, Estimate]
    diagnostics: Diagnostics | None
    fit: Mapping[str, Any] | None

    def __getitem__(self, estimator: str) -> Estimate:
        if estimator not in self.estimates:
            raise ConfigurationError(f"report, policy {self.name!r}: expected an estimator among {list(self.estimates)}, got {estimator!r}")
        return self.estimates[estimator]

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    @property
    def verdict(self) -> str:
        """The worst of its estimates'."""
        return worst([each.verdict for each in self.estimates.values()])


@dataclass(frozen=True, eq=False)
class Report(Mapping[str, PolicyReport]):
    """What `evaluate` found. Printing it gives the verdict first, then a table. Made by `evaluate`.

    Attributes:
      policies: by name. estimators: in the order asked for.
      n_episodes, n_steps, n_units: evaluated; units (matches where agents share one) are what is resampled.
      gamma, horizon: as given. options: how intervals are made. propensities: "logged", "fitted", "of a policy" or "not used".
        notes: what holds for all.
    """

    policies: Mapping[str, PolicyReport]
    estimators: tuple[str, ...]
    n_episodes: int
    n_steps: int
    n_units: int
    gamma: float
    horizon: int | None
    options: IntervalOptions
    propensities: str
    notes: tuple[str, ...]

    def __getitem__(self, policy: str) -> PolicyReport:
        if policy not in self.policies:
            raise ConfigurationError(f"report: expected a policy among {list(self.policies)}, got {policy!r}")
        return self.policies[policy]

    def __iter__(self) -> Iterator[str]:
        return iter(self.policies)

    def __len__(self) -> int:
        return len(self.policies)

    # Choosing -----------------------------------------------------------------------------------------------------------

    @property
    def verdict(self) -> str:
        """The worst of all policies'."""
        return worst([each.verdict for each in self.policies.values()])

    def ranking(self, estimator: str | None = None) -> list[tuple[str, float]]:
        """Names and values by an estimator (None: the first one asked for), best first; unsupported ones are left out."""
        chosen = self._estimator(estimator)
        found = [(name, value) for name, each in self.policies.items() if (value := each[chosen].value) is not None]
        return sorted(found, key=lambda pair: -pair[1])

    def difference(self, x: str, y: str, estimator: str | None = None) -> Difference:
        """V(x) − V(y) with an interval, paired over episodes; by the first estimator of a value when none is named.

        Raises:
          ConfigurationError: unknown names. InputError: one of the two is unsupported.
        """
        chosen = self._estimator(estimator)
        a, b = self._supported(x, chosen), self._supported(y, chosen)
        return difference(a.moments, b.moments, self.options, chosen, worst([a.verdict, b.verdict]))

    def simultaneous(self, estimator: str | None = None) -> dict[str, Interval | None]:
        """Intervals of an estimator (None: the first one asked for) that hold for all K policies at once (Bonferroni): at level 1 − (1 −
        level) / K each.
        """
        chosen = self._estimator(estimator)
        level = 1 - (1 - self.options.level) / len(self.policies)
        return {name: None if each[chosen].verdict == UNSUPPORTED else
                interval(each[chosen].moments, self.options, chosen, each[chosen].bounds, level)[0] for name, each in self.policies.items()}

    @property
    def best(self) -> Best:
        """The policy of the highest lower end of simultaneous intervals, among those that are not unsupported, by the first estimator of
        a value. Choosing by the point alone would favour the estimate with the most luck.

        Raises:
          InputError: no policy's estimate is supported.
        """
        chosen = self._estimator(None)
        found = {name: bounds for name, bounds in self.simultaneous().items() if bounds is not None}
        if not found:
            reasons = "; ".join(f"{name}: {each[chosen].reason}" for name, each in self.policies.items())
            raise InputError(f"report, best: expected a policy whose value the data support, got none by {chosen!r}; {reasons}")
        name = max(found, key=lambda each: found[each][0])
        estimate = self.policies[name][chosen]
        assert estimate.value is not None
        return Best(name, self.policies[name].path, estimate.value, found[name], chosen, estimate.verdict)

    def regret_at(self, k: int, estimator: str | None = None) -> Regret:
        """Regret when only the best k by an estimator are tried on, with bootstrap uncertainty.

        Raises:
          InputError: k is not among 1 … K, or a policy is unsupported.
        """
        chosen = self._estimator(estimator)
        return regret([self._supported(name, chosen).moments for name in self.policies], k, self.options)

    def _supported(self, policy: str, estimator: str) -> Estimate:
        found = self[policy][estimator]
        if found.value is None:
            raise InputError(f"report, policy {policy!r}: expected a value by {estimator!r} that the data support, got none: "
                             f"{found.reason}")
        return found

    def _estimator(self, name: str | None) -> str:
        if name is not None:
            if name not in self.estimators:
                raise ConfigurationError(f"report: expected an estimator among {list(self.estimators)}, got {name!r}")
            return name
        found = [each for each in self.estimators if each != "agreement"]
        if not found:
            raise ConfigurationError("report: expected an estimator of a value, got 'agreement' alone; evaluate with another one too")
        return found[0]

    # Showing ------------------------------------------------------------------------------------------------------------

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        values = [each for each in self.estimators if each != "agreement"]
        bad = {name: report for name, report in self.policies.items() if report.verdict == self.verdict}
        name, report = next(iter(bad.items()))
        reason = next(each.reason for each in report.values() if each.verdict == self.verdict)
        which = f"policy {name}" + (f" and {len(bad) - 1} more" if len(bad) > 1 else "")
        if not values:
            return f"{self.verdict}: agreement alone says nothing about value"
        if self.verdict == "reliable":
            return f"reliable: the data support these values of all {len(self)} policies" if len(self) > 1 else f"reliable: {reason}"
        if self.verdict == "weak":
            return f"weak: do not decide by these numbers alone ({which}: {reason})"
        return f"unsupported: the data cannot tell the value of {which}: {reason}"

    def __str__(self) -> str:
        from cervello.evaluation.text import table

        return table(self)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `to_json` writes it."""
        return {"verdict": self.verdict, "headline": self.headline, "estimators": list(self.estimators), "n_episodes": self.n_episodes,
                "n_steps": self.n_steps, "n_units": self.n_units, "gamma": self.gamma, "horizon": self.horizon, "level": self.options.level,
                "propensities": self.propensities, "notes": list(self.notes),
                "policies": {name: {"path": each.path, "verdict": each.verdict,
                                    "estimates": {key: estimate.as_dict() for key, estimate in each.items()},
                                    "diagnostics": None if each.diagnostics is None else each.diagnostics.as_dict(),
                                    "fit": None if each.fit is None else dict(each.fit)} for name, each in self.policies.items()}}

    def to_json(self, indent: int | None = None) -> str:
        """Everything but the data, as JSON, with lines indented by `indent` spaces; None is one line."""
        return json.dumps(self.as_dict(), indent=indent, allow_nan=False)

    def to_dataframe(self) -> Any:
        """A pandas DataFrame, a row per policy and estimator.

        Raises:
          ConfigurationError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigurationError(f"report, to_dataframe: expected pandas, got {error}; install pandas, or take to_json()") from error
        rows = []
        for name, each in self.policies.items():
            for key, estimate in each.items():
                low, high = estimate.interval or (None, None)
                rows.append({"policy": name, "estimator": key, "value": estimate.value, "low": low, "high": high,
                             "interval": estimate.kind, "verdict": estimate.verdict, "reason": estimate.reason})
        return pandas.DataFrame(rows)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Writes one self-contained page to `path`: verdict, table, plots; no scripts, nothing from elsewhere."""
        from cervello.evaluation.page import page

        Path(path).write_text(page(self), encoding="utf-8")

    def to_svg(self, path: str | os.PathLike[str] | None = None) -> str:
        """A picture, written to `path` when given: a row per policy and estimator with its value, interval and verdict."""
        rows = [Estimated(name if len(self.estimators) == 1 else f"{name} · {key}", each.value, each.interval, each.verdict)
                for name, policy in self.policies.items() for key, each in policy.items() if key != "agreement"]
        note = (f"{self.n_episodes:,} episodes, {self.n_steps:,} steps, discount {self.gamma:g}, {self.options.level:.0%} intervals, "
                f"propensities {self.propensities}")
        text = interval_chart("Estimated value of each policy", note, rows, "return of an episode" if self.gamma == 1 else
                              "discounted return of an episode")
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def _repr_html_(self) -> str:
        from cervello.evaluation.text import rows

        columns = ("policy", "estimator", "value", f"{self.options.level:.0%} interval", "verdict", "why")
        return "".join([notebook.heading(self.headline), notebook.table(columns, rows(self)),
                        notebook.figure(self.to_svg(), "estimates with intervals")])
