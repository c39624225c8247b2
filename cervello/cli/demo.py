"""`cervello demo`: three policies play the arena game, beside random ones."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cervello.cli import compiling, options
from cervello.cli.formatting import duration, plain, plural, rate
from cervello.cli.terminal import Terminal

if TYPE_CHECKING:
    from cervello.agents import Policy
    from cervello.demo.play import MatchReport, SpeciesReport, Tick

SUMMARY = "watch hundreds of agents of three policies play an arena game"
EXAMPLES: tuple[str, ...] = ("cervello demo --ticks 100 --picture arena.png",)
_PICTURE = Path("cervello-demo.png")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ticks", metavar="N", type=lambda text: options.whole(text, 1, 1_000_000), default=600,
                        help="length of a match (default: 600)")
    options.add_seed(parser, "of the arena and of all noise")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--picture", metavar="FILE", type=_png, default=_PICTURE, help=f"PNG of the last tick (default: {_PICTURE})")
    where.add_argument("--no-picture", dest="picture", action="store_const", const=None, help="write no picture")
    options.add_json(parser)


def _png(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".png" and not path.is_dir():  # a folder is refused by the check for writing
        raise argparse.ArgumentTypeError(f"expected a file that ends in .png, got {text!r}")
    return path


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its two-sided 95% interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if not math.isfinite(self.low):
            return f"{self.mean:.2f} (one life)"
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def beside(self, other: Interval) -> tuple[str, str]:
        """A verdict and the style it is shown in; only intervals that do not touch tell a difference."""
        if self.low > other.high:
            return "better", "green"
        if self.high < other.low:
            return "worse", "red"
        return "too close", "yellow"

    def as_json(self) -> dict[str, float | None]:
        return {key: value if math.isfinite(value) else None
                for key, value in (("mean", self.mean), ("low", self.low), ("high", self.high))}


@dataclass(frozen=True, slots=True)
class _Result:
    """Everything that is shown.

    Fields:
      returns, random_returns: by species; the random policy played beside the trained ones of the other species.
    """

    report: MatchReport
    policies: Mapping[str, Policy]
    returns: Mapping[str, Interval]
    random_returns: Mapping[str, Interval]
    most_agents: int


def execute(arguments: argparse.Namespace, terminal: Terminal) -> None:
    from cervello.demo.drawing import Painter
    from cervello.pictures import encode_png

    picture: Path | None = arguments.picture
    if picture is not None:
        options.check_writable(picture)
    painter = Painter() if picture is not None else None
    result = _play(arguments.ticks, arguments.seed, painter, terminal)
    if picture is not None and painter is not None:
        picture.write_bytes(encode_png(painter.picture()))
    if arguments.json:
        terminal.json(_facts(result, picture))
        return
    _print(result, terminal)
    if picture is not None:
        terminal.print(f"picture: {plain(str(picture))}")


def _play(ticks: int, seed: int, painter: Any, terminal: Terminal) -> _Result:
    """One match of the trained policies, and one for each species in which it alone acts at random."""
    import cervello
    from cervello.demo import SPECIES, RandomPolicy, mean_with_interval, policy_path
    from cervello.demo.play import play

    n_matches = 1 + len(SPECIES)
    most_agents = 0
    with compiling.shown(terminal), terminal.bar("playing", n_matches * ticks) as bar:
        # A policy with logits takes the action of the largest logit: there is no sampling.
        policies = {species.name: cervello.load(policy_path(species.name), wrappers=() if species.output_name == "logits" else "auto",
                                                seed=seed) for species in SPECIES}

        def watch(tick: Tick) -> None:
            nonlocal most_agents
            most_agents = max(most_agents, sum(tick.rows.values()))
            bar.show(tick.number, n_matches * ticks, f"{sum(tick.rows.values())} agents")
            if painter is not None:
                painter.watch(tick)

        report = play(policies, ticks, seed, watch)
        random_returns = {}
        for match, species in enumerate(SPECIES, 1):
            name, before = species.name, match * ticks

            def follow(tick: Tick, name: str = name, before: int = before) -> None:
                bar.show(before + tick.number, n_matches * ticks, f"random {name} for comparison")

            others: dict[str, Any] = {**policies, name: RandomPolicy(species, seed)}
            random_returns[name] = Interval(*mean_with_interval(play(others, ticks, seed, follow).species[name].returns))
    returns = {name: Interval(*mean_with_interval(part.returns)) for name, part in report.species.items()}
    return _Result(report, policies, returns, random_returns, most_agents)


def _latency(report: MatchReport) -> tuple[float, float]:
    """p50 and p99 of the seconds that all policies together take per tick."""
    import numpy as np

    per_tick = np.sum([part.inference_s for part in report.species.values()], axis=0)
    p50, p99 = np.percentile(per_tick, (50, 99))
    return float(p50), float(p99)


def _percentiles(part: SpeciesReport) -> tuple[float, float]:
    import numpy as np

    p50, p99 = np.percentile(part.inference_s, (50, 99))
    return float(p50), float(p99)


def _print(result: _Result, terminal: Terminal) -> None:
    report = result.report
    p50, p99 = _latency(report)
    terminal.print(f"{plural(report.ticks, 'tick')}, seed {report.seed}, up to {result.most_agents} agents at once", style="bold")
    facts = terminal.grid()
    facts.add_row("agent-steps", f"{rate(report.agent_steps)}, each decided by an ONNX policy")
    facts.add_row("policies alone", f"{rate(report.agent_steps_per_inference_second)} agent-steps per second")
    facts.add_row("whole game", f"{rate(report.agent_steps_per_second)} agent-steps per second")
    facts.add_row("tick latency", f"p50 {duration(p50)}, p99 {duration(p99)}, all policies together")
    terminal.print(facts)
    terminal.print("")

    speeds = terminal.table(["species", "~wrappers", ">batch sizes", ">p50", ">p99"])
    for name, part in report.species.items():
        low, median, high = part.batch_range
        part_p50, part_p99 = _percentiles(part)
        wrappers = ", ".join(type(wrapper).__name__ for wrapper in result.policies[name].wrappers)
        speeds.add_row(name, wrappers or "none", f"{low}-{high}, median {median}", duration(part_p50), duration(part_p99))
    terminal.print(speeds)
    terminal.print("")

    causes = sorted({cause for part in report.species.values() for cause in part.deaths})
    fates = terminal.table(["species", ">births", ">deaths", *(f"?>{cause}" for cause in causes)])
    for name, part in report.species.items():
        fates.add_row(name, f"{part.births:,}", f"{sum(part.deaths.values()):,}", *(f"{part.deaths.get(c, 0):,}" for c in causes))
    terminal.print(fates)
    terminal.print("")

    returns = terminal.table(["species", ">lives", ">mean return [95%]", ">random policy [95%]", ""])
    for name, mean in result.returns.items():
        random = result.random_returns[name]
        verdict, style = mean.beside(random)
        returns.add_row(name, f"{len(report.species[name].returns):,}", terminal.styled(str(mean), style), str(random), verdict)
    terminal.print(returns)
    terminal.print("")


def _facts(result: _Result, picture: Path | None) -> dict[str, Any]:
    report = result.report
    p50, p99 = _latency(report)
    species = {}
    for name, part in report.species.items():
        part_p50, part_p99 = _percentiles(part)
        species[name] = {
            "wrappers": [repr(wrapper) for wrapper in result.policies[name].wrappers],
            "agent_steps": part.agent_steps,
            "batch": dict(zip(("min", "median", "max"), part.batch_range, strict=True)),
            "latency_s": {"p50": part_p50, "p99": part_p99},
            "births": part.births,
            "deaths": dict(part.deaths),
            "lives": len(part.returns),
            "mean_return": result.returns[name].as_json(),
            "random_mean_return": result.random_returns[name].as_json(),
        }
    return {
        "ticks": report.ticks,
        "seed": report.seed,
        "most_agents": result.most_agents,
        "agent_steps": report.agent_steps,
        "agent_steps_per_inference_second": report.agent_steps_per_inference_second,
        "agent_steps_per_second": report.agent_steps_per_second,
        "tick_latency_s": {"p50": p50, "p99": p99},
        "species": species,
        "picture": None if picture is None else str(picture),
    }
