"""Steps from top to bottom and what flows between them, coloured by tier.

Layers by longest path, edges over several layers routed through places of their own, orders by the mean place of neighbours.
Source: K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical System Structures", IEEE Transactions on
Systems, Man, and Cybernetics 11(2), 1981.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cervello.pictures.page import LINE, MARGIN, WIDTH, document, head, label, number
from cervello.pictures.text import plain_text, shortened, text_width, wrapped

_BOX, _HEIGHT, _GAP, _DOWN, _PLACE = 180.0, 48.0, 12.0, 34.0, 8.0
_NAME, _RUNS = (int((_BOX - 18) * 14 / 13 / text_width("n", bold)) for bold in (True, False))  # letters of 13 pixels
_ABREAST = 3  # boxes; more of one layer come below each other, so that the page stays narrow
_SWEEPS = 4
_KINDS = {"input": "inputs and outputs", "planned": "planned", "numpy": "numpy tier", "reference": "reference tier"}
_LIGHT = """\
  .edge { fill: none; stroke: #8b96a5; stroke-width: 1.5 }
  .in { fill: #ffffff; font-size: 13px; font-weight: 600 } .runs { fill: #ffffff; font-size: 13px }
  .input { fill: #5c6675 } .planned { fill: #3f6fa3 } .numpy { fill: #b45f12 } .reference { fill: #b3403d }
"""
_DARK = """\
    .edge { stroke: #6d7888 } .in, .runs { fill: #ffffff }
"""


class GraphNode(NamedTuple):
    """One box.

    Attributes:
      name, runs: its two lines; tip: a tooltip. kind: "input", "output", "planned", "numpy" or "reference".
      after: numbers of the nodes that it takes something from, all smaller than its own.
    """

    name: str
    runs: str
    kind: str
    after: tuple[int, ...]
    tip: str = ""


@dataclass(eq=False, slots=True)
class _Place:
    """A box, or where an edge crosses a layer. Mutable while the picture is laid out."""

    node: int | None
    layer: int
    above: list[_Place] = field(default_factory=list)
    below: list[_Place] = field(default_factory=list)
    x: float = 0.0

    @property
    def width(self) -> float:
        return _PLACE if self.node is None else _BOX


def graph_chart(title: str, note: str, nodes: Sequence[GraphNode]) -> str:
    """Draws a graph.

    Returns:
      a whole SVG document that refers to nothing outside itself; light or dark as the viewer prefers.
    Raises:
      ValueError: a node is to come after one that is not before it.
    """
    for i, node in enumerate(nodes):
        if any(not 0 <= other < i for other in node.after):
            raise ValueError(f"graph_chart, node {node.name!r}: expected numbers below {i}, got {node.after}")
    layers = _laid_out(nodes)
    inner = max((sum(place.width + _GAP for place in layer) - _GAP for layer in layers), default=0.0)
    width = max(float(WIDTH), math.ceil(inner + 2 * MARGIN))
    for layer in layers:
        x = (width - sum(place.width + _GAP for place in layer) + _GAP) / 2
        for place in layer:
            place.x, x = x + place.width / 2, x + place.width + _GAP
    lines = wrapped(note, width - 2 * MARGIN)
    top = head(len(lines)) + 8 + LINE
    parts = list(_key(nodes, top - LINE + 6))
    top += 14
    for place in (place for layer in layers for place in layer):
        parts += [_edge(place, other, top) for other in place.below]
    for place in (place for layer in layers for place in layer):
        if place.node is not None:
            parts += _box(nodes[place.node], place, top)
    return document(title, lines, width, top + len(layers) * (_HEIGHT + _DOWN) - _DOWN + MARGIN, parts, _LIGHT, _DARK)


def _layers_of(nodes: Sequence[GraphNode]) -> list[int]:
    """A layer per node: behind all that it needs; inputs right before what first needs them."""
    layers: list[int] = []
    for node in nodes:
        layers.append(max((layers[other] + 1 for other in node.after), default=0))
    first: dict[int, int] = {}
    for i, node in enumerate(nodes):
        for other in node.after:
            first[other] = min(first.get(other, layers[i]), layers[i])
    found = [first[i] - 1 if not node.after and i in first else layers[i] for i, node in enumerate(nodes)]
    rows: list[int] = [0] * len(nodes)
    row = 0
    for layer in sorted(set(found)):
        members = [i for i, own in enumerate(found) if own == layer]
        for k, i in enumerate(members):
            rows[i] = row + k // _ABREAST
        row += -(-len(members) // _ABREAST)
    return rows


def _laid_out(nodes: Sequence[GraphNode]) -> list[list[_Place]]:
    """Layers of places in their order."""
    numbers = _layers_of(nodes)
    layers: list[list[_Place]] = [[] for _ in range(max(numbers, default=-1) + 1)]
    places = [_Place(i, numbers[i]) for i in range(len(nodes))]
    for place in places:
        layers[place.layer].append(place)
    for i, node in enumerate(nodes):
        for other in dict.fromkeys(node.after):
            above = places[other]
            for layer in range(above.layer + 1, numbers[i]):
                crossing = _Place(None, layer)
                layers[layer].append(crossing)
                _join(above, crossing)
                above = crossing
            _join(above, places[i])
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in layers if down else reversed(layers):
            at = {id(place): i / max(len(each), 1) for each in layers for i, place in enumerate(each)}
            row.sort(key=lambda place: _mean([at[id(other)] for other in (place.above if down else place.below)], at[id(place)]))
    return layers


def _join(above: _Place, below: _Place) -> None:
    above.below.append(below)
    below.above.append(above)


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _edge(above: _Place, below: _Place, top: float) -> str:
    """A curve between layers; a crossing of a layer is a straight line through it."""
    y0 = top + above.layer * (_HEIGHT + _DOWN) + _HEIGHT
    y1 = top + below.layer * (_HEIGHT + _DOWN)
    through = f"M {number(above.x)} {number(y0 - _HEIGHT)} V {number(y0)}" if above.node is None else f"M {number(above.x)} {number(y0)}"
    bend = _DOWN * 0.6
    return (f'<path class="edge" d="{through} C {number(above.x)} {number(y0 + bend)} {number(below.x)} {number(y1 - bend)} '
            f'{number(below.x)} {number(y1)}"/>')


def _box(node: GraphNode, place: _Place, top: float) -> list[str]:
    y = top + place.layer * (_HEIGHT + _DOWN)
    kind = "input" if node.kind == "output" else node.kind
    tip = f"<title>{plain_text(node.tip or node.name)}</title>"
    at = f'x="{number(place.x - _BOX / 2)}" y="{number(y)}" width="{number(_BOX)}" height="{number(_HEIGHT)}" rx="6"'
    return [f'<rect class="{kind}" {at}>{tip}</rect>',
            label(place.x, y + 20, shortened(node.name, _NAME), "in", "middle", node.tip or node.name),
            label(place.x, y + 38, shortened(node.runs, _RUNS), "runs", "middle")]


def _key(nodes: Sequence[GraphNode], y: float) -> list[str]:
    """What the colours mean, as far as they occur."""
    found, x = [], float(MARGIN)
    for kind, meaning in _KINDS.items():
        if any(node.kind == kind for node in nodes):
            found += [f'<rect class="{kind}" x="{number(x)}" y="{number(y - 11)}" width="12" height="12" rx="2"/>',
                      label(x + 18, y, meaning, "note")]
            x += 18 + text_width(meaning) + 24
    return found
