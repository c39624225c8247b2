"""Runs every op on every tier, in all float types and versions that ONNX's schemas allow, and prints what is wrong.

    python scripts/every_tier.py [--every] [OP ...]

A form is one node of a case that ships with the onnx package. Its results are compared with float64, and each row alone with the same row
among others, bit for bit. tests/native/test_every_tier.py does the same for one case per op, version, type and kinds of operands; `--every`
takes all of them (minutes). Exits with 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "native"))

from native_tiers import TIERS, forms, law_problem, ran_by, value_problem

from cervello.errors import CervelloError, ExecutionError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ops", nargs="*", metavar="OP", help="these ops only")
    parser.add_argument("--every", action="store_true", help="all cases of an op")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    for form in forms(arguments.every):
        if arguments.ops and form.node.op_type not in arguments.ops:
            continue
        for tier in TIERS:
            if not ran_by(form, tier):
                continue
            for check in (value_problem, law_problem):
                try:
                    problem = check(form, tier)
                    counts["wrong" if problem else "right" if problem == "" else "one row at a time"] += 1
                except ExecutionError as error:
                    counts["wrong"] += 1
                    problem = f"{form.name}, {tier}: loads, then fails: {error}"
                except CervelloError:
                    counts["refused"] += 1
                    continue
                if problem:
                    print(problem, flush=True)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
