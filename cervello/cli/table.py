"""Tables and lists of facts that fit a width: names are shortened in the middle, columns that matter least are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table as RichTable
    from rich.text import Text

_LEAST_NAME = 20  # columns that a name keeps beside others
_SHORTEST_NAME = 6  # in a terminal that holds no more
_GAP = 2
_ELLIPSIS = "…"


def shortened(text: str, width: int) -> str:
    """Text of at most `width` columns of a terminal, an ellipsis in its middle: both ends of a name tell it apart."""
    from rich.cells import cell_len

    if cell_len(text) <= width:
        return text
    if width < 2:
        return _ELLIPSIS[:width]
    head = tail = ""
    room = width - 1
    front, back = 0, len(text) - 1
    while front <= back:
        at_front = cell_len(head) <= cell_len(tail)
        letter = text[front] if at_front else text[back]
        if cell_len(head) + cell_len(tail) + cell_len(letter) > room:
            break
        if at_front:
            head, front = head + letter, front + 1
        else:
            tail, back = letter + tail, back - 1
    return head + _ELLIPSIS + tail


class Table:
    """Rows under headings. Mutable until it is printed.

    Args:
      headings: `>` in front aligns to the right; `~` is a name, which is shortened in the middle where the width does not suffice; `?` is
        left out then, the last one first. Where that is not enough, the last columns are left out.
    """

    def __init__(self, headings: Sequence[str]):
        self.headings = [heading.lstrip("?~>") for heading in headings]
        self._marks = [heading[:len(heading) - len(own)] for heading, own in zip(headings, self.headings, strict=True)]
        self._rows: list[tuple[list[str | Text], str | None]] = []

    def add_row(self, *cells: str | Text, style: str | None = None) -> None:
        """A cell per heading."""
        if len(cells) != len(self.headings):
            raise ValueError(f"table: expected {len(self.headings)} cells, got {len(cells)}")
        self._rows.append((list(cells), style))

    def fitted(self, width: int | None) -> tuple[RichTable, list[str]]:
        """The table for rich, and the headings of columns that were left out.

        Args:
          width: columns of the terminal; None where there is no limit.
        """
        from rich import box
        from rich.cells import cell_len
        from rich.table import Table as RichTable
        from rich.text import Text

        natural = [max([cell_len(heading), *(cell_len(_plain(cells[i])) for cells, _ in self._rows)])
                   for i, heading in enumerate(self.headings)]
        shown = list(range(len(self.headings)))
        widths = dict(enumerate(natural))
        if width is not None:
            def is_too_wide(name: int) -> bool:
                """Whether columns do not fit although names have only `name` columns."""
                return sum((min(natural[i], name) if "~" in self._marks[i] else natural[i]) + _GAP for i in shown) - _GAP > width

            while is_too_wide(_LEAST_NAME) and (spare := [i for i in shown if "?" in self._marks[i]]):
                shown.remove(spare[-1])
            while is_too_wide(_SHORTEST_NAME) and len(shown) > 1:  # a number is never cut
                shown.pop()
            names = sorted((i for i in shown if "~" in self._marks[i]), key=lambda i: natural[i])
            room = width - sum(natural[i] for i in shown if i not in names) - _GAP * (len(shown) - 1)
            for done, i in enumerate(names):
                widths[i] = max(min(natural[i], room // (len(names) - done)), 1)
                room -= widths[i]
        table = RichTable(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, show_edge=False, padding=(0, _GAP - 1, 0, 0))
        for i in shown:
            side: Literal["left", "right"] = "right" if ">" in self._marks[i] else "left"
            table.add_column(Text(shortened(self.headings[i], widths[i])), justify=side, no_wrap=True)
        for cells, style in self._rows:
            fitting = {i: Text(shortened(_plain(cells[i]), widths[i]), style=_style(cells[i])) for i in shown if "~" in self._marks[i]}
            table.add_row(*(fitting.get(i, cells[i]) for i in shown), style=style)
        return table, [heading for i, heading in enumerate(self.headings) if i not in shown]


class Facts:
    """A list of facts without lines: a name, then what is said about it. Mutable until it is printed."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str | Text, str | None]] = []

    def add_row(self, name: str, value: str | Text, style: str | None = None) -> None:
        self._rows.append((name, value, style))

    def fitted(self, width: int | None) -> RichTable:
        """For rich; sentences are broken between words, and words that are too long for a line are shortened in the middle."""
        from rich.cells import cell_len
        from rich.table import Table as RichTable
        from rich.text import Text

        grid = RichTable.grid(padding=(0, _GAP))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column()
        room = None if width is None else max(width - max((cell_len(name) for name, *_ in self._rows), default=0) - _GAP, 2)
        for name, value, style in self._rows:
            text = _plain(value)
            if room is not None:
                text = "\n".join(" ".join(shortened(word, room) for word in line.split(" ")) for line in text.split("\n"))
            grid.add_row(name, Text(text, style=_style(value)), style=style)
        return grid


def _plain(cell: str | Text) -> str:
    return cell if isinstance(cell, str) else cell.plain


def _style(cell: str | Text) -> str:
    return "" if isinstance(cell, str) else str(cell.style)
