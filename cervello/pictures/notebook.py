"""HTML for notebooks: tables that take the page's colours, and pictures that keep their style to themselves."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

_CELL = "text-align: left; padding: 2px 12px 2px 0; border-bottom: 1px solid rgba(128, 128, 128, .35); vertical-align: top"


def figure(svg: str, title: str) -> str:
    """A picture: as an image, so that neither its rules reach the page nor the page's reach it."""
    data = base64.b64encode(svg.encode()).decode("ascii")
    return f'<img alt="{escape(title)}" style="max-width: 100%" src="data:image/svg+xml;base64,{data}"/>'


def heading(text: str, note: str = "") -> str:
    return f"<p><b>{escape(text)}</b>{' ' + escape(note) if note else ''}</p>"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows of text under headings."""
    def line(tag: str, cells: Sequence[object]) -> str:
        return "<tr>" + "".join(f'<{tag} style="{_CELL}">{escape(str(cell))}</{tag}>' for cell in cells) + "</tr>"

    return f"<table>{line('th', headings)}{''.join(line('td', row) for row in rows)}</table>"


def facts(known: Mapping[str, object]) -> str:
    """What is said about each name; empty ones are left out."""
    rows = "".join(f'<tr><th style="{_CELL}">{escape(name)}</th><td style="{_CELL}">{escape(str(value))}</td></tr>'
                   for name, value in known.items() if str(value))
    return f"<table>{rows}</table>"


def folded(summary: str, html: str) -> str:
    """Shown after a click."""
    return f"<details><summary>{escape(summary)}</summary>{html}</details>"
