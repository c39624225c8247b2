"""Writes the table of estimators in docs/evaluation.md from the table in cervello/evaluation/registry.py.

    python scripts/list_estimators.py            # writes
    python scripts/list_estimators.py --check    # status 1 when the page is not current
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cervello.evaluation.registry import markdown

PAGE = Path(__file__).resolve().parent.parent / "docs" / "evaluation.md"
BEGIN, END = "<!-- estimators: written by scripts/list_estimators.py -->", "<!-- end of estimators -->"


def written(page: str) -> str:
    """The page with the current table between its marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{markdown()}\n{END}{rest.split(END)[1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the page is current")
    chosen = parser.parse_args(arguments)
    page = PAGE.read_text(encoding="utf-8")
    current = written(page)
    if not chosen.check:
        PAGE.write_text(current, encoding="utf-8")
        return 0
    if page != current:
        print(f"{PAGE}: expected the table of cervello/evaluation/registry.py, got another one; run python scripts/list_estimators.py",
              file=sys.stderr)
    return int(page != current)


if __name__ == "__main__":
    sys.exit(main())
