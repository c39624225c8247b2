"""What all pictures share: letters, colours for light and dark, and the document around them.

Letters are 14 of the page's 640 pixels, so that a picture can be read where it is shown 400 pixels wide.
"""

from __future__ import annotations

from collections.abc import Iterable

from cervello.pictures.text import plain_text

WIDTH, MARGIN, LINE = 640, 16, 19
COLOURS = ("#4e79a7", "#d9771e", "#59a14f", "#b6639a", "#2a9d9d", "#d1605e", "#8a6fc0", "#a9861f", "#5f8f3e", "#7c6a5d")

_LIGHT = """\
  text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; font-size: 14px; fill: #3c4553 }
  .page { fill: #ffffff } .plot { fill: #f5f7fa } .grid { stroke: #dde2e9; stroke-width: 1 } .axis { stroke: #97a1af; stroke-width: 1 }
  .title { font-size: 19px; font-weight: 600; fill: #1d2430 } .note { fill: #5c6675 } .name { font-weight: 600; fill: #1d2430 }
  .strong { stroke: #1d2430; stroke-width: 2 }
"""
_DARK = """\
    text { fill: #b9c2cf } .page { fill: #14181f } .plot { fill: #1b212a } .grid { stroke: #2a323d } .axis { stroke: #596473 }
    .title, .name { fill: #eef2f7 } .note { fill: #98a3b2 } .strong { stroke: #eef2f7 }
"""


def document(title: str, notes: Iterable[str], width: float, height: float, parts: Iterable[str], light: str = "", dark: str = "") -> str:
    """A whole SVG document that refers to nothing outside itself; light or dark as the viewer prefers.

    Args:
      title, notes: heading and the lines below it, any text.
      light, dark: rules beside the shared ones.
    Source: SVG 1.1, second edition.
    """
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(width)}" height="{number(height)}" '
        f'viewBox="0 0 {number(width)} {number(height)}" role="img">',
        f"<title>{plain_text(title)}</title>",
        f"<style>\n{_LIGHT}{light}  @media (prefers-color-scheme: dark) {{\n{_DARK}{dark}  }}\n</style>",
        f'<rect class="page" width="{number(width)}" height="{number(height)}"/>',
        label(MARGIN, 34, title, "title"),
        *(label(MARGIN, 58 + LINE * i, line, "note") for i, line in enumerate(notes)),
        *parts, "</svg>", ""])


def head(n_notes: int) -> int:
    """Pixels that the heading and so many lines of notes take."""
    return 50 + LINE * n_notes


def label(x: float, y: float, text: str, kind: str = "", anchor: str = "start", tip: str = "", fill: str = "") -> str:
    """Text with a class, an anchor, a tooltip, a colour of its own."""
    attributes = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor != "start" else "") + (
        f' style="fill: {fill}"' if fill else "")
    found = f'<text x="{number(x)}" y="{number(y)}"{attributes}>{plain_text(text)}</text>'
    return f"<g>{found}<title>{plain_text(tip)}</title></g>" if tip else found


def number(value: float) -> str:
    """At most two digits behind the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
