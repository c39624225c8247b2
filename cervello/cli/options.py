"""Argument types that commands share. argparse puts `argument -b/--batch:` before their errors."""

from __future__ import annotations

import argparse
import errno
import math
import os
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from cervello.errors import ConfigurationError
from cervello.spec import Wrapper

MOST_ROWS = 1_000_000_000  # a plan's bytes stay far below 2**63
_MOST_SEED = 2**64 - 1
_MOST_COUNTS = 10_000
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


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


def rounds(text: str) -> int:
    return whole(text, 1, 1_000_000)


def check_writable(path: Path) -> None:
    """Refuses, before the work, a path that cannot be written: a folder, or a file in a missing or read-only folder."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))


def new_file(text: str) -> Path:
    """A path that can be written to, as far as can be checked before the work."""
    path = Path(text)
    try:
        check_writable(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"expected a file that can be written, got {text!r}: {error.strerror}") from error
    return path


def seed(text: str) -> int:
    return whole(text, 0, _MOST_SEED)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def level(text: str) -> float:
    """A number between 0 and 1."""
    return _number(text, lambda value: 0 < value < 1, "a number between 0 and 1, such as 0.95")


def _number(text: str, fits: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


def seconds(text: str) -> float:
    """Seconds of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"expected seconds of at least 0, got {text!r}")
    return value


def size_bytes(text: str) -> int:
    """Bytes: a whole number, or a number with a unit such as 2GiB or 1.5 GB (capitals do not matter)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip(), re.ASCII)
    unit = None if found is None else _UNITS.get(found[2].upper())
    value = 0 if found is None or unit is None or ("." in found[1] and unit == 1) else round(Decimal(found[1]) * unit)
    if not 1 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"expected a number of bytes from 1, such as 500000000, 500MB or 2GiB, got {text!r}")
    return value


def pair(text: str) -> tuple[str, str]:
    """IN:OUT."""
    parts = text.split(":")
    if len(parts) % 2 or not all(parts):
        raise argparse.ArgumentTypeError(f"expected IN:OUT, got {text!r}")
    # Names may hold a colon themselves (`state:0`); the one in the middle separates.
    half = len(parts) // 2
    return ":".join(parts[:half]), ":".join(parts[half:])


def recurrent(text: str) -> str | dict[str, str]:
    """`auto`, or IN:OUT pairs by comma."""
    if text.lower() == "auto":
        return "auto"
    parts = text.split(",")
    if any(part.lower() == "auto" for part in parts):
        raise argparse.ArgumentTypeError(f"expected auto or IN:OUT,IN:OUT, got both in {text!r}")
    try:
        pairs = [pair(part) for part in parts]
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected auto or IN:OUT,IN:OUT, got {text!r}") from None
    if len(dict(pairs)) != len(pairs):
        raise argparse.ArgumentTypeError(f"expected every input once, got {text!r}")
    return dict(pairs)


def row_counts(text: str) -> list[int]:
    """Numbers of rows: N and LOW-HIGH, by comma, in the order given."""
    counts: list[int] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        try:
            first = rows(low)
            last = rows(high) if dash else first
        except argparse.ArgumentTypeError:
            raise argparse.ArgumentTypeError(f"expected numbers and ranges such as 1-4,8, each from 1 to {MOST_ROWS:,}, got {part!r}"
                                             + (f" in {text!r}" if part != text else "")) from None
        if last < first:
            raise argparse.ArgumentTypeError(f"expected ranges LOW-HIGH, got {part!r}; did you mean {last}-{first}?")
        if len(counts) + last - first >= _MOST_COUNTS:
            raise argparse.ArgumentTypeError(f"expected at most {_MOST_COUNTS:,} sizes, got more in {text!r}")
        counts += range(first, last + 1)
    return counts


def dim(text: str) -> tuple[str, int]:
    """NAME=SIZE."""
    name, equals, size = text.rpartition("=")
    if not equals or not name or not size.isdecimal() or int(size) < 1:
        raise argparse.ArgumentTypeError(f"expected NAME=SIZE with a size of at least 1, got {text!r}")
    return name, int(size)


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=Path, help="policy file (.onnx, or .crvo with ONNX in it)")
    add_dims(parser)


def add_dims(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dim", metavar="NAME=SIZE", type=dim, action="append", default=[], dest="dims",
                        help="a size that the file leaves open beside the batch; 1 without it; may be repeated")


def add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-b", "--batch", metavar="N", type=rows, default=1, help="agents, that is rows of the batch (default: 1)")


def add_wrappers(parser: argparse.ArgumentParser, noise: str, state: str) -> None:
    """-w and -r, the same for all commands.

    Args:
      noise, state: what holds without them.
    """
    parser.add_argument("-w", "--with-epsilon", "--epsilon", metavar="INPUT", action="append", default=[],
                        help=f"fill this input with noise; may be repeated; {noise}")
    parser.add_argument("-r", "--recurrent", metavar="auto|IN:OUT,IN:OUT", type=recurrent, action="append", default=[],
                        help=f"feed outputs back as inputs: by their usual names, or the pairs named; may be repeated; {state}")


def recurrent_pairs(given: list[str | dict[str, str]]) -> str | dict[str, str] | None:
    """The recurrent pairs of all -r: None without one, "auto", or pairs."""
    if not given:
        return None
    pairs: dict[str, str] = {}
    for each in given:
        if isinstance(each, dict):
            pairs.update(each)
    if pairs and "auto" in given:
        raise ConfigurationError(f"-r: expected auto or pairs, got auto and {pairs}")
    return pairs or "auto"


def wrappers(arguments: argparse.Namespace) -> list[Wrapper]:
    """The wrappers of -w and -r only."""
    from cervello.wrappers import Epsilon, Recurrent

    found: list[Wrapper] = [Epsilon(key) for key in dict.fromkeys(arguments.with_epsilon)]
    pairs = recurrent_pairs(arguments.recurrent)
    if pairs is not None:
        found.append(Recurrent(pairs if isinstance(pairs, dict) else None))
    return found


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--seed", metavar="S", type=seed, default=0, help=f"{what} (default: 0)")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", choices=("text", "json"), default="text", help="tables or JSON (default: text)")
    parser.add_argument("--json", action="store_const", dest="output", const="json", help="the same as --output json")
