"""README and the pages of docs/ as tests read them: fenced blocks, and what is said before each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
ELSEWHERE = {"docs/architecture.md": "tests/test_architecture.py"}  # pages whose blocks another test runs
RUNS = ("python", "text", "sh", "console", "bash")
_BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block.

    Attributes:
      kind: python (runs), text (what the block before it prints), sh (its lines run; tests run its `cervello` lines only), console (a
        command and what it prints), py or bash (not run by tests; `before` says why, or where).
      before: the paragraph above. line: of the fence, from 1.
    """

    kind: str
    text: str
    before: str
    line: int

    @property
    def elsewhere(self) -> str:
        """Why it does not run where the page does: what the paragraph above says, or the file that has its lines; "" where it runs."""
        if said := re.search(r"[Nn]ot run here.*?(?=\)| -->|\n|$)", self.before):
            return said[0]
        files = [] if self.kind in RUNS else re.findall(r"`([\w./-]+\.\w+)`", self.before)
        return next((f"`{name}` has its lines" for name in files if (ROOT / name).is_file() and self.text in text_of(name)), "")


def pages() -> list[str]:
    """README and every page of docs/, as paths from the root."""
    found = ["README.md", *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))]
    return [name for name in found if name not in ELSEWHERE]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *kinds: str) -> list[Block]:
    """Blocks of these kinds, or of all, in order."""
    text, found = text_of(page), []
    for match in _BLOCK.finditer(text):
        if not kinds or match[1] in kinds:
            above = text[:match.start()]
            found.append(Block(match[1], match[2], above.rstrip().rpartition("\n\n")[2], above.count("\n") + 1))
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
