"""Pictures that commands write: the options that ask for them, and the files."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from cervello.cli import options
from cervello.cli.formatting import plain
from cervello.cli.terminal import Terminal

_THEMES, _WIDTH = ("auto", "light", "dark"), 1200  # those of cervello.pictures.files
_MOST_WIDTH = 20_000


def add(parser: argparse.ArgumentParser, what: str, *spellings: str) -> None:
    """--picture FILE, --theme and --width.

    Args:
      what: is drawn, for the help.
      spellings: of --picture, beside it.
    """
    parser.add_argument("--picture", *spellings, metavar="FILE", type=picture_file, dest="picture",
                        help=f"also draw {what}; .svg, or .png with the extra 'png'")
    parser.add_argument("--theme", choices=_THEMES, default="auto",
                        help="of pictures: an SVG follows its viewer and a PNG is light (auto), or this one (default: auto)")
    parser.add_argument("--width", metavar="PIXELS", type=_width, default=_WIDTH, help=f"of a PNG (default: {_WIDTH})")


def write(svg: str, path: Path, arguments: argparse.Namespace) -> None:
    """Draws one picture with the options --theme and --width."""
    from cervello.pictures.files import save

    save(svg, path, arguments.width, arguments.theme)


def remark(path: Path | None, terminal: Terminal) -> None:
    if path is not None:
        terminal.remark(f"picture: {plain(str(path))}")


def picture_file(text: str) -> Path:
    """A path that ends in .svg or .png and can be written, as far as can be checked before the work."""
    path = Path(text)
    if path.suffix.lower() not in (".svg", ".png"):
        raise argparse.ArgumentTypeError(f"expected a file that ends in .svg or .png, got {text!r}")
    if path.suffix.lower() == ".png" and importlib.util.find_spec("cairosvg") is None:
        raise argparse.ArgumentTypeError("expected the extra 'png' for a PNG, got no cairosvg; install the extra 'png', or ask for "
                                         "an .svg")
    return options.new_file(text)


def _width(text: str) -> int:
    return options.whole(text, 16, _MOST_WIDTH)
