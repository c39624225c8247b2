"""For the documentation site: an entry `low, high: text` of a docstring's Args or Attributes becomes an entry for each name.

mkdocs.yml names this file; griffe, which reads the docstrings, looks every entry up in the signature and takes one name only.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"(Args|Attributes|Raises):")
_ENTRY = re.compile(r"(?P<indent> +)(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)+):(?P<text> .*)")


def ungrouped(text: str) -> str:
    """A docstring, cleaned of its indentation, with one name to an entry. Lines that continue an entry are repeated for each name."""
    found: list[str] = []
    lines = text.splitlines()
    inside, at = False, 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line and not line.startswith(" "):
            inside = _SECTION.fullmatch(line) is not None
        entry = _ENTRY.fullmatch(line) if inside else None
        if entry is None:
            found.append(line)
            continue
        more = []
        while at < len(lines) and lines[at].startswith(entry["indent"] + " "):
            more.append(lines[at])
            at += 1
        for name in entry["names"].split(", "):
            found += [f"{entry['indent']}{name}:{entry['text']}", *more]
    return "\n".join(found)


class GroupedNames(griffe.Extension):
    """What griffe calls for each object that it has read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = ungrouped(obj.docstring.value)
