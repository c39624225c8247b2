"""Numbers and names as people read them."""

from __future__ import annotations

import numpy as np
import pytest

from cervello.cli import formatting
from cervello.spec import TensorSpec


@pytest.mark.parametrize(("seconds", "text"), [
    (0.0, "0 ns"), (3e-9, "3 ns"), (1e-6, "1.00 µs"), (27e-6, "27.0 µs"), (99.96e-6, "100 µs"), (0.0999, "99.9 ms"), (1.5, "1.50 s"),
    (123456.0, "123456 s")])
def test_durations(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(("n_bytes", "text"), [
    (0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1024, "1.00 KiB"), (239872, "234 KiB"), (1 << 20, "1.00 MiB"),
    (3 << 30, "3.00 GiB"), (1 << 45, "32.0 TiB")])
def test_sizes(n_bytes: int, text: str) -> None:
    assert formatting.size(n_bytes) == text


def test_plurals() -> None:
    assert [formatting.plural(count, "row") for count in (0, 1, 2, 1234)] == ["0 rows", "1 row", "2 rows", "1,234 rows"]


def test_row_shapes() -> None:
    dtype = np.dtype(np.float32)
    assert formatting.row_shape(TensorSpec("image", (3, 11, 11), dtype)) == "3×11×11"
    assert formatting.row_shape(TensorSpec("done", (), dtype)) == "scalar"


def test_what_cannot_be_printed_is_spelled_out() -> None:
    assert formatting.plain("a\x1b[0mβ\u202e") == r"a\x1b[0mβ\u202e"
    assert formatting.one_line("two\n  lines\x00") == r"two lines\x00"


def test_counts_have_three_digits() -> None:
    assert [formatting.count(n) for n in (0, 7, 999, 1000, 999_499, 999_500, 1_234_567, 2_500_000_000)] == [
        "-", "7", "999", "1.00 k", "999 k", "1.00 M", "1.23 M", "2.50 G"]


def test_shares_are_percent() -> None:
    assert [formatting.share(part) for part in (0, 0.0123, 0.0994, 0.0996, 0.5, 1)] == ["0.0%", "1.2%", "9.9%", "10%", "50%", "100%"]
