"""Argument types that commands share. Their errors end up behind `argument -b/--batch:`."""

from __future__ import annotations

import argparse
from pathlib import Path

MOST_ROWS = 1_000_000_000  # a plan's bytes stay far below 2**63
_MOST_SEED = 2**64 - 1


def whole(text: str, low: int, high: int) -> int:
    """A whole number within low..high."""
    expected = f"expected a whole number from {low} to {high:,}, got {text!r}"
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(expected) from None
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(expected)
    return value


def rows(text: str) -> int:
    return whole(text, 1, MOST_ROWS)


def calls(text: str) -> int:
    return whole(text, 1, 1_000_000_000)


def seed(text: str) -> int:
    return whole(text, 0, _MOST_SEED)


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=Path, help="policy file (.onnx)")


def add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-b", "--batch", metavar="N", type=rows, default=1, help="agents, that is rows of the batch (default: 1)")


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--seed", metavar="S", type=seed, default=0, help=f"{what} (default: 0)")
