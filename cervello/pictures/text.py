"""Text in pictures: escaped, shortened, broken into lines that fit."""

from __future__ import annotations

import textwrap
from xml.sax.saxutils import escape

_LETTER = 8.2  # pixels, a generous mean width of a letter at 14 pixels
_BOLD = 9.2  # pixels, the same of bold letters


def plain_text(text: str) -> str:
    """Escaped, and without the characters that XML 1.0 cannot hold in any form."""
    return escape("".join(c if _legal(ord(c)) else "\N{REPLACEMENT CHARACTER}" for c in text))


def _legal(code: int) -> bool:
    return code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000


def shortened(text: str, most: int = 20) -> str:
    """Text of at most so many characters, an ellipsis in its middle."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    if not half:
        return text[:most - 1] + "…"
    return f"{text[:most - 1 - half]}…{text[-half:]}"


def text_width(text: str, bold: bool = False) -> float:
    """About how wide a text is, in pixels at 14 pixels."""
    return (_BOLD if bold else _LETTER) * len(text)


def wrapped(text: str, width: float) -> list[str]:
    """Lines of a text that fit into so many pixels."""
    return textwrap.wrap(text, max(int(width / _LETTER), 10)) or [""]


def size_text(count: int) -> str:
    """Bytes with a binary unit and at most four digits."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def duration(seconds: float) -> str:
    """Seconds with the unit that suits them and three digits."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{three_digits(seconds * factor)} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def three_digits(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def share(part: float) -> str:
    """A part of a whole in percent, with a digit more below ten."""
    return f"{part:.0%}" if part >= 0.0995 else f"{part:.1%}"
