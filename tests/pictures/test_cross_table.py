"""The matrix of returns and the chart of returns: well-formed, all that is said is there and stays on the page."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from cervello.pictures.cross_table import Cell, cross_table
from cervello.pictures.returns import returns_chart

SVG = "{http://www.w3.org/2000/svg}"
NOTE = "actions are drawn, seed 0, " + "rewards as they come out of wrappers, since " * 6 + "that is so"


def texts(picture: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


def test_a_cell_has_its_mean_and_interval_and_colours_follow_returns() -> None:
    cells = {("a", "b"): Cell(2.5, (1.0, 4.25)), ("b", "a"): Cell(-12345.0, None), ("a", "c"): Cell(0.0, None)}
    picture = ElementTree.fromstring(cross_table("Cross-play", "seed 0", ["a", "b", "c"], cells, {"a": "25.0 ± 1.0"}))
    assert {"Cross-play", "seed 0", "2.5", "1 to 4.25", "-12345", "0", "25.0 ± 1.0", "rating"} <= set(texts(picture))
    boxes = {box.findtext(f"{SVG}title"): box.get("fill") for box in picture.iter(f"{SVG}rect") if box.get("class") == "cell"}
    assert boxes == {"a against b: 2.5": "#7eb8c4", "b against a: -12345": "#e9a388", "a against c: 0": boxes["a against c: 0"]}
    assert sum(box.get("class") == "none" for box in picture.iter(f"{SVG}rect")) == 6
    assert "rating" not in texts(ElementTree.fromstring(cross_table("t", "n", ["a", "b"], cells, {"a": "", "b": ""})))


@pytest.mark.parametrize("draw", [
    lambda name: cross_table("t", NOTE, [name, "b"], {(name, "b"): Cell(1.0, None)}, {}),
    lambda name: returns_chart("t", NOTE, [(name, [1.0, 2.0], 1.5, None), ("b", [1.0], 1.0, None)])])
def test_long_and_odd_texts_stay_on_the_page(draw: object) -> None:
    picture = ElementTree.fromstring(draw("a name & <more> of it, \x00 too long for a line"))  # type: ignore[operator]
    width = float(picture.get("width", ""))
    lines = [text for text in picture.iter(f"{SVG}text") if text.get("class") == "note" and text.get("x") == "16"
             and (text.text or "") in NOTE]
    assert " ".join(line.text or "" for line in lines) == NOTE
    assert len(lines) > 2
    for text in picture.iter(f"{SVG}text"):
        x, long = float(text.get("x", "")), 6.6 * len(text.text or "")
        anchor = text.get("text-anchor", "start")
        left = x - {"start": 0.0, "middle": long / 2, "end": long}[anchor]
        assert left > 0, text.text
        assert left + long < width, text.text


def test_the_mean_stands_beside_the_name() -> None:
    picture = ElementTree.fromstring(returns_chart("t", "n", [("a", [1.0, 2.0], 1.5, (1.0, 2.0))]))
    assert "mean 1.5" in texts(picture)
