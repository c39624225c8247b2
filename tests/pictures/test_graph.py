"""The picture of a graph: a box per node, edges downward, a page that stays narrow."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from cervello.pictures.graph import GraphNode, graph_chart

SVG = "{http://www.w3.org/2000/svg}"


def boxes(svg: str) -> dict[str, tuple[str, float, float, float, float]]:
    """Class, x, y, width and height by tooltip."""
    keys = ("x", "y", "width", "height")
    return {rect.findtext(f"{SVG}title") or "": (rect.get("class") or "", *(float(rect.get(key, "")) for key in keys))
            for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None}


def edges(svg: str) -> list[tuple[float, float, float, float]]:
    """Where each piece of an edge begins and ends."""
    found = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        numbers = [float(each) for each in re.findall(r"-?[\d.]+", path.get("d", ""))]
        found.append((numbers[0], numbers[1], numbers[-2], numbers[-1]))
    return found


DIAMOND = [GraphNode("obs", "input", "input", ()), GraphNode("left", "a:a", "planned", (0,)), GraphNode("right", "b:b", "numpy", (0,)),
           GraphNode("join", "c:c", "reference", (1, 2, 0)), GraphNode("action", "output", "output", (3,))]


def test_each_node_is_below_what_it_needs_and_coloured_by_tier() -> None:
    found = boxes(graph_chart("t", "note", DIAMOND))
    assert {name: box[0] for name, box in found.items()} == {"obs": "input", "left": "planned", "right": "numpy", "join": "reference",
                                                             "action": "input"}
    assert found["obs"][2] < found["left"][2] == found["right"][2] < found["join"][2] < found["action"][2]


def test_boxes_do_not_overlap_and_stay_on_the_page() -> None:
    nodes = [GraphNode(f"in{i}", "input", "input", ()) for i in range(7)]
    nodes += [GraphNode(f"n{i}", "k:k", "planned", tuple(range(7 if i < 4 else 11))) for i in range(8)]
    svg = graph_chart("t", "note", nodes)
    page = ElementTree.fromstring(svg)
    found = list(boxes(svg).values())
    assert len(found) == 15
    for i, (_, x, y, width, height) in enumerate(found):
        assert x >= 0
        assert x + width <= float(page.get("width", ""))
        assert y + height <= float(page.get("height", ""))
        for _, x2, y2, width2, height2 in found[:i]:
            assert x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y


def test_edges_go_down_and_meet_their_boxes() -> None:
    svg = graph_chart("t", "note", DIAMOND)
    found = boxes(svg)
    pieces = edges(svg)
    assert all(y1 > y0 for _, y0, _, y1 in pieces)
    tops = {(x + width / 2, y) for _, x, y, width, _ in found.values()}
    bottoms = {(x + width / 2, y + height) for _, x, y, width, height in found.values()}
    into_join = [piece for piece in pieces if (piece[2], piece[3]) == (found["join"][1] + found["join"][3] / 2, found["join"][2])]
    assert len(into_join) == 3
    assert sum((x, y) in bottoms for x, y, _, _ in pieces) == 6  # the seventh piece begins where an edge crosses a layer
    assert sum((x, y) in tops for _, _, x, y in pieces) == 6


def test_inputs_stand_where_they_are_needed() -> None:
    chain = [GraphNode("obs", "input", "input", ()), GraphNode("h_in", "input", "input", ()), GraphNode("a", "", "planned", (0,)),
             GraphNode("b", "", "planned", (2,)), GraphNode("c", "", "planned", (3, 1))]
    found = boxes(graph_chart("t", "", chain))
    assert found["h_in"][2] == found["b"][2]


def test_a_hundred_wide_graph_stays_narrow() -> None:
    nodes = [GraphNode(f"n{i}", "", "planned", ()) for i in range(100)]
    assert float(ElementTree.fromstring(graph_chart("t", "", nodes)).get("width", "")) == 640


def test_only_tiers_that_occur_are_in_the_key() -> None:
    texts = [text.text for text in ElementTree.fromstring(graph_chart("t", "", DIAMOND[:2])).iter(f"{SVG}text")]
    assert "planned" in texts
    assert "numpy tier" not in texts


def test_an_empty_graph_is_a_picture() -> None:
    assert boxes(graph_chart("t", "", [])) == {}


def test_a_node_after_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="node 'a': expected numbers below 0, got \\(0,\\)"):
        graph_chart("t", "", [GraphNode("a", "", "planned", (0,))])
