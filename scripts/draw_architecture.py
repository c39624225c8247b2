"""Draws which room of cervello imports which, and which phase of `cervello.native`, as docs/pictures/architecture.svg, and lists them in
docs/architecture.md.

    python scripts/draw_architecture.py            # draws and lists
    python scripts/draw_architecture.py --check    # says whether picture and list are current; status 1 when they are not

The order of rooms and phases is that of the import-linter contracts in pyproject.toml, the imports are those of the sources at run time
(not those for types only, nor those of public names from `cervello` itself), and a caption is the first line of a docstring. None of the
code that is drawn is run.
"""

from __future__ import annotations

import argparse
import ast
import functools
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE, PAGE = ROOT / "docs" / "pictures" / "architecture.svg", ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- phases and rooms: written by scripts/draw_architecture.py -->", "<!-- end of phases and rooms -->"
CONTRACTS = {"": "Imports run one way", "native": "Phases of a model, from the file to the run"}
# Letters are 14 of the picture's 640 pixels, as in cervello.pictures.page, so that it can be read where it is shown 400 pixels wide.
_WIDTH, _ROW, _CELL, _NAMES, _MARGIN, _HEAD = 640, 24, 21, 116, 16, 144
_WITH_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)  # imports are in no other nodes
_STYLE = """\
  text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif; font-size: 14px; fill: #3c4553 }
  .page { fill: #ffffff } .row { fill: #f1f4f8 } .self { fill: #c9d2de } .dot { fill: #2f6f8f } .count { fill: #ffffff; font-size: 12px }
  .name { font-weight: 600; fill: #1d2430 } .title { font-size: 19px; font-weight: 600; fill: #1d2430 }
  @media (prefers-color-scheme: dark) {
    text { fill: #b9c2cf } .page { fill: #14181f } .row { fill: #1c222c } .self { fill: #3a4454 } .dot { fill: #6fb3cf }
    .count { fill: #14181f } .name, .title { fill: #eef2f7 }
  }
"""


def layers(container: str) -> list[str]:
    """Names of a container's layers, uppermost first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (found,) = (each["layers"] for each in contracts if each["name"] == CONTRACTS[container])
    return [name.strip().rpartition(".")[2] for layer in found for name in layer.split("|")]


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Modules that a file imports when it runs, and names that it imports from them."""
    return frozenset(_imports(ast.parse(path.read_text(encoding="utf-8"))))


def _imports(tree: ast.Module) -> Iterator[str]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            waiting.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, _WITH_STATEMENTS))


def imported(package: str, names: Sequence[str]) -> Counter[tuple[str, str]]:
    """How many files of one layer import from another, by (importer, imported)."""
    found: Counter[tuple[str, str]] = Counter()
    folder = ROOT.joinpath(*package.split("."))
    for path in sorted(folder.rglob("*.py")):
        source = path.relative_to(folder).parts[0].removesuffix(".py")
        targets = {module.removeprefix(f"{package}.").split(".")[0] for module in imports(path) if module.startswith(f"{package}.")}
        found.update((source, target) for target in targets if source in names and target in names and target != source)
    return found


def caption(package: str, name: str) -> str:
    """The first sentence of a layer's docstring."""
    path = ROOT.joinpath(*package.split("."), name)
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    paragraph = (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return " ".join(paragraph.split()).split(". ")[0].rstrip(".:").replace("`", "")


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def panel(title: str, package: str, names: Sequence[str], top: int) -> list[str]:
    """A row per layer, and a column per layer that it may import; each dot says how many files import."""
    found, left = imported(package, names), _MARGIN + _NAMES
    parts = [f'<text class="title" x="{_MARGIN}" y="{top + 34}">{escaped(title)}</text>',
             f'<text x="{_MARGIN}" y="{top + 56}">A row imports from the columns with a dot; a dot counts the files that do.</text>']
    top += _HEAD
    for j, name in enumerate(names):
        x = left + _CELL * j + _CELL / 2 + 4
        parts.append(f'<text transform="translate({x:g} {top - 6}) rotate(-60)">{name}</text>')
    for i, name in enumerate(names):
        y = top + _ROW * i
        parts += [f'<rect class="row" x="{_MARGIN}" y="{y + 1}" width="{left - _MARGIN + _CELL * len(names)}" height="{_ROW - 2}"/>',
                  f'<text class="name" x="{_MARGIN + 6}" y="{y + 17}">{name}</text>']
        for j, other in enumerate(names):
            x, count = left + _CELL * j, found[name, other]
            if i == j:
                parts.append(f'<rect class="self" x="{x + 1}" y="{y + 1}" width="{_CELL - 2}" height="{_ROW - 2}"/>')
            elif count:
                parts += [f'<circle class="dot" cx="{x + _CELL // 2}" cy="{y + _ROW // 2}" r="9.5"><title>{count} of {name} import {other}'
                          "</title></circle>",
                          f'<text class="count" x="{x + _CELL // 2}" y="{y + 16}" text-anchor="middle">{count}</text>']
    return parts


def drawn() -> str:
    """The whole SVG document."""
    rooms, phases = layers(""), layers("native")
    second = _HEAD + _ROW * len(phases) + _MARGIN
    height = second + _HEAD + _ROW * len(rooms) + _MARGIN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" role="img">',
        "<title>Phases of cervello.native and rooms of cervello, with their imports</title>", f"<style>\n{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}"/>',
        *panel("Phases of cervello.native", "cervello.native", phases, 0), *panel("Rooms of cervello", "cervello", rooms, second),
        "</svg>"]) + "\n"


def listed() -> str:
    """The page with its list of phases and rooms."""
    lines = []
    for what, package, container in (("phase", "cervello.native", "native"), ("room", "cervello", "")):
        rows = [f"| {name} | {caption(package, name)} |" for name in layers(container)]
        lines += ["", f"| {what} | what it is |", "|---|---|", *rows]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return "\n".join([before + BEGIN, *lines, "", END + rest.partition(END)[2]])


def main() -> int:
    parser = argparse.ArgumentParser(description="Draws and lists cervello's rooms and phases.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when picture or list are not current")
    check, status = parser.parse_args().check, 0
    for path, text in ((PICTURE, drawn()), (PAGE, listed())):
        name = path.relative_to(ROOT).as_posix()
        if not check:
            path.write_text(text, encoding="utf-8", newline="\n")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{name}: expected what the code imports, got an older one; run python scripts/draw_architecture.py", file=sys.stderr)
            status = 1
        else:
            print(f"{name} is current")
    return status


if __name__ == "__main__":
    sys.exit(main())
