"""Pictures as files in a theme, bars, intervals."""

from __future__ import annotations

import re
import struct
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from cervello.errors import ConfigurationError
from cervello.pictures.bars import Bar, bar_chart
from cervello.pictures.cross_table import Cell, cross_table
from cervello.pictures.files import png, save, themed
from cervello.pictures.graph import GraphNode, graph_chart
from cervello.pictures.intervals import Estimated, interval_chart
from cervello.pictures.returns import returns_chart
from cervello.pictures.svg import arena_chart

SVG = "{http://www.w3.org/2000/svg}"
NAME = "/network_body/observation_encoder & <more>/normalizer/Sub"
PICTURES = {
    "arena": arena_chart(NAME, [(0, 2, 0, 4096, NAME), (1, 2, 4096, 64, "b")], 3, 4160),
    "graph": graph_chart("t", "note", [GraphNode(NAME, "input", "input", ()), GraphNode(NAME, "maps:unary", "numpy", (0,))]),
    "bars": bar_chart("t", "note", [Bar(NAME, 2.0, "2 µs", "planned", mark=1.0), Bar("b", 0.0, "0 ns", "numpy")],
                      {"planned": "#4e79a7", "numpy": "#d9771e", "reference": "#d1605e"}, "least time"),
    "intervals": interval_chart("t", "note", [Estimated(NAME, 1.0, (0.5, 1.5), "weak"),
                                              Estimated("b", None, None, "unsupported")], "return"),
    "returns": returns_chart("t", "note", [(NAME, [1.0, 2.0], 1.5, (1.0, 2.0))]),
    "cross": cross_table("t", "note", [NAME, "b"], {(NAME, "b"): Cell(1.0, (0.0, 2.0))}, {NAME: "25 ± 1"})}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_theme_is_one_theme(kind: str) -> None:
    svg = PICTURES[kind]
    assert svg.count("prefers-color-scheme: dark") == 1
    light, dark = themed(svg, "light"), themed(svg, "dark")
    for each in (light, dark):
        ElementTree.fromstring(each)
        assert "@media" not in each
    assert themed(svg, "auto") == svg
    rules = [rule for each in (light, dark) for rule in re.findall(r"\.page \{ fill: (#\w+) \}", each)]
    assert rules == ["#ffffff", "#ffffff", "#14181f"]  # in the dark one the later rule counts


@pytest.mark.parametrize("kind", PICTURES)
def test_texts_stay_on_the_page_and_letters_are_large_enough(kind: str) -> None:
    root = ElementTree.fromstring(PICTURES[kind])
    width = float(root.get("width", ""))
    assert width <= 640  # at 14 pixels a letter, it can be read at 400
    for text in root.iter(f"{SVG}text"):
        if text.get("transform"):
            continue
        long = 7.0 * len(text.text or "")
        left = float(text.get("x", "")) - {"start": 0.0, "middle": long / 2, "end": long}[text.get("text-anchor", "start")]
        assert left >= 0, text.text
        assert left + long <= width, text.text


@pytest.mark.parametrize("kind", PICTURES)
def test_nothing_outside_the_document_is_needed(kind: str) -> None:
    assert not re.search(r"href|url\(|@import|<script|<image", PICTURES[kind])


def test_bars_are_to_scale_and_have_a_key() -> None:
    root = ElementTree.fromstring(bar_chart("t", "n", [Bar("a", 2.0, "2 s", "x"), Bar("b", 1.0, "1 s", "x")],
                                           {"x": "#123456", "y": "#654321"}))
    first, second = (float(rect.get("width", "")) for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None)
    assert first == pytest.approx(2 * second)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"a", "2 s", "x"} <= set(texts)
    assert "y" not in texts


def test_an_estimate_without_a_value_says_so() -> None:
    texts = [text.text for text in ElementTree.fromstring(PICTURES["intervals"]).iter(f"{SVG}text")]
    assert texts.count("unsupported") == 2  # its row, and the key
    assert "return" in texts


def test_files_are_svg_or_png_by_their_suffix(tmp_path: Path) -> None:
    save(PICTURES["bars"], tmp_path / "a.svg", theme="dark")
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == themed(PICTURES["bars"], "dark")
    pytest.importorskip("cairosvg")
    save(PICTURES["bars"], tmp_path / "a.png", width=400)
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n")
    assert struct.unpack(">I", data[16:20]) == (400,)
    assert png(PICTURES["bars"], 400, "dark") != png(PICTURES["bars"], 400, "light")


def test_a_png_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    with pytest.raises(ConfigurationError, match=r"picture: expected the extra 'png' for a PNG file, got .*; install the "
                                                 r"extra 'png'"):
        save(PICTURES["bars"], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
