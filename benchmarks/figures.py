"""Figures with goals: how a benchmark shows them, and writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from timing import write_json


class Figure(NamedTuple):
    """One line of a report.

    Attributes:
      goal: what it should be, None for a figure that is only shown.
      least: whether the goal is a lower bound.
    """

    what: str
    value: float
    unit: str
    goal: float | None = None
    least: bool = True
    beside: str = ""

    @property
    def holds(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.least else self.value <= self.goal


def show(console: Console, figures: Sequence[Figure]) -> None:
    """Prints a line for each."""
    table = Table("figure", "value", "goal", "", "beside")
    for figure in figures:
        goal = "" if figure.goal is None else f"{'≥' if figure.least else '≤'} {figure.goal:g}"
        verdict = {None: "", True: "holds", False: "MISSED"}[figure.holds]
        table.add_row(figure.what, f"{figure.value:.2f} {figure.unit}", goal, verdict, figure.beside)
    console.print(table)


def report(console: Console, parts: Iterable[tuple[str, Callable[[], list[Figure]]]], path: Path, facts: dict[str, Any]) -> None:
    """Measures part after part, shows all figures and writes them."""
    figures: list[Figure] = []
    for what, measure in parts:
        with console.status(f"measuring {what} …"):
            figures += measure()
    show(console, figures)
    write(path, facts, figures)
    console.print(f"written to {path}")


def write(path: Path, facts: dict[str, Any], figures: Sequence[Figure]) -> None:
    """The facts of the machine and all figures as JSON."""
    write_json(path, {"machine": facts, "figures": [figure._asdict() | {"holds": figure.holds} for figure in figures]})
