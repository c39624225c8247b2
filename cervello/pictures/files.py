"""Pictures as files: SVG as it is or in one theme, or PNG of it."""

from __future__ import annotations

import re
from pathlib import Path

from cervello.errors import ConfigurationError

PNG_WIDTH = 1200
_DARK = re.compile(r"^  @media \(prefers-color-scheme: dark\) \{\n(.*?)^  \}\n", re.MULTILINE | re.DOTALL)


def themed(svg: str, theme: str) -> str:
    """A picture of this package in one theme: "light" or "dark"; "auto" leaves it to the viewer."""
    if theme == "auto":
        return svg
    return _DARK.sub(lambda found: found[1] if theme == "dark" else "", svg)


def png(svg: str, width: int = PNG_WIDTH, theme: str = "light") -> bytes:
    """A picture of this package as PNG.

    Args:
      width: pixels; the height follows.
      theme: "light" or "dark"; "auto" is light, since PNG has one theme.
    Raises:
      ConfigurationError: cairosvg, the extra 'png', is not installed, or the library cairo that it needs is not.
    """
    try:
        import cairosvg
    except (ImportError, OSError) as error:  # OSError: cairocffi finds no cairo
        got = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise ConfigurationError(f"picture: expected the extra 'png' for a PNG file, got {got}; install the "
                                 "extra 'png', which needs the library cairo, or write an .svg file") from error
    found: bytes = cairosvg.svg2png(themed(svg, "light" if theme == "auto" else theme).encode(), output_width=width)
    return found


def save(svg: str, path: str | Path, width: int = PNG_WIDTH, theme: str = "auto") -> None:
    """Writes a picture; a name that ends in .png makes it a PNG of `width` pixels.

    Raises:
      ConfigurationError: as `png`. OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() == ".png":
        path.write_bytes(png(svg, width, theme))
    else:
        path.write_text(themed(svg, theme), encoding="utf-8")
