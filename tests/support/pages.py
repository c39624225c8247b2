"""README and the pages of docs/ as tests read them: fenced blocks, and what is said before each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
ELSEWHERE = {"docs/architecture.md": "tests/test_architecture.py"}  # pages whose blocks another test runs
_BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block.

    Attributes:
      kind: python (runs), text (what the block before it prints), sh (its `cervello` lines run), console (a command and what it prints),
        py or bash (not run; `before` says why, or where).
      before: the paragraph above.
    """

    kind: str
    text: str
    before: str


def pages() -> list[str]:
    """README and every page of docs/, as paths from the root."""
    found = ["README.md", *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))]
    return [name for name in found if name not in ELSEWHERE]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *kinds: str) -> list[Block]:
    """Blocks of these kinds, in order."""
    text, found = text_of(page), []
    for match in _BLOCK.finditer(text):
        if match[1] in kinds:
            found.append(Block(match[1], match[2], text[:match.start()].rstrip().rpartition("\n\n")[2]))
    return found


def with_blocks(*kinds: str) -> list[str]:
    """Pages that have a block of these kinds."""
    return [page for page in pages() if blocks(page, *kinds)]


def needed(page: str) -> list[str]:
    """Modules that a page's Python needs beside the test extra: `<!-- needs: torch, stable_baselines3 -->`."""
    found = re.search(r"^<!-- needs: ([\w, ]+) -->$", text_of(page), re.MULTILINE)
    return [] if found is None else found[1].split(", ")


def assert_shown(shown: str, printed: str) -> None:
    """Checks that a program printed what a page shows; numbers are not compared, a line of `...` stands for any lines."""
    pattern = " ?.* ?".join(re.escape(_numberless(part)) for part in re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE))
    assert re.fullmatch(pattern, _numberless(printed)), printed


def _numberless(text: str) -> str:
    return re.sub(r"-?\d[\d,.]*", "#", " ".join(text.replace("─", "").split()))
