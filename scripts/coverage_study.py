"""Checks the estimators and the coverage of their intervals, and writes docs/coverage.md.

    python scripts/coverage_study.py [--runs 2000] [--worlds 50] [--output docs/coverage.md]
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy
import scipy

from cervello.evaluation.certify import Check, certify, table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "coverage.md"

_PAGE = """# Coverage of intervals

Written by `{command}` on {date} ({runs:,} data sets per row; {versions}).
`cervello evaluate --certify` makes the same table on your machine.

Three families of light tails have weights of relative deviation 0.42 to 0.46: a bandit, five steps of two actions, and a Gaussian target
shifted by 0.4 deviations. Nominal coverage is 95%. {error} With weights of relative deviation 1 the
BCa interval covers 89 to 91% at n = 100. The families of heavy tails have infinite variance, and must hardly ever be called reliable.

{table}
No rule that sees only data holds for every family: where 2% of episodes have a heavy tail and the rest a weight of exactly 1, any rule is
fooled at n = 100. The families are in `cervello/evaluation/coverage.py`.
"""


def page(checks: Sequence[Check], command: str, date: str, runs: int, versions: str) -> str:
    """The text of docs/coverage.md."""
    error = f"With so many data sets\nthe standard error of a coverage of 95% is {(0.95 * 0.05 / runs) ** 0.5:.1%}"
    error += "." if runs >= 5000 else "; ± is three of them, by which\na run on another machine may miss."
    return _PAGE.format(command=command, date=date, runs=runs, versions=versions, error=error, table=table(checks))


def versions() -> str:
    """What the numbers were made with."""
    return f"Python {platform.python_version()}, numpy {numpy.__version__}, scipy {scipy.__version__}, {platform.machine()}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=2000, help="data sets per row (default: %(default)s)")
    parser.add_argument("--worlds", type=int, default=50, help="decision processes that are enumerated (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=PAGE, help="file to write (default: docs/coverage.md)")
    chosen = parser.parse_args(arguments)
    checks = certify(lambda done, total: print(f"{done} of {total}", flush=True), worlds=chosen.worlds, runs=chosen.runs)
    command = f"python scripts/coverage_study.py --runs {chosen.runs} --worlds {chosen.worlds}"
    written = page(checks, command, f"{datetime.now(UTC):%Y-%m-%d}", chosen.runs, versions())
    chosen.output.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
