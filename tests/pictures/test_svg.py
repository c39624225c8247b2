"""The arena's chart: well-formed, to scale, self-contained."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from cervello.pictures.svg import arena_chart

NAMESPACE = "{http://www.w3.org/2000/svg}"


def boxes_of(svg: str) -> list[dict[str, Any]]:
    """Position, size and tooltip of each box, in the order drawn."""
    found = []
    for rect in ElementTree.fromstring(svg).iter(f"{NAMESPACE}rect"):
        if rect.get("class") == "box":
            numbers = {key: float(rect.get(key, "")) for key in ("x", "y", "width", "height")}
            found.append({**numbers, "fill": rect.get("fill"), "title": rect.findtext(f"{NAMESPACE}title")})
    return found


def texts_of(svg: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{NAMESPACE}text")]


def of_kind(svg: str, kind: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{NAMESPACE}text") if text.get("class") == kind]


def test_a_box_per_buffer_with_its_facts_as_tooltip() -> None:
    svg = arena_chart("scout, N = 64", [(0, 2, 0, 4096, "hidden"), (1, 2, 4096, 2048, "logits")], 2, 6144)
    assert [box["title"] for box in boxes_of(svg)] == ["hidden\n4,096 bytes at 0\nsteps 0 to 1", "logits\n2,048 bytes at 4,096\nstep 1"]
    assert {"scout, N = 64", "2 buffers over 2 steps, arena 6,144 bytes", "step", "hidden", "logits"} <= set(texts_of(svg))


def test_boxes_are_to_scale_and_do_not_overlap() -> None:
    low, high, late = boxes_of(arena_chart("t", [(0, 2, 0, 4096, "low"), (0, 2, 4096, 2048, "high"), (2, 4, 0, 6144, "late")], 4, 6144))
    assert low["height"] == pytest.approx(2 * high["height"], rel=0.02)
    assert late["height"] == pytest.approx(low["height"] + high["height"], rel=0.02)
    assert high["y"] + high["height"] <= low["y"]  # bytes grow upward
    assert low["x"] + low["width"] <= late["x"]
    assert low["width"] == late["width"]
    assert len({low["fill"], high["fill"], late["fill"]}) == 3


def test_a_few_bytes_beside_megabytes_stay_visible() -> None:
    tiny = boxes_of(arena_chart("t", [(0, 1, 0, 64, "tiny"), (0, 1, 64, 1 << 24, "huge")], 1, (1 << 24) + 64))[0]
    assert tiny["height"] >= 1


def test_buffers_without_bytes_are_left_out() -> None:
    svg = arena_chart("t", [(0, 1, 0, 0, "nothing"), (0, 1, 0, 64, "something")], 1, 64)
    assert len(boxes_of(svg)) == 1
    assert "1 buffer over 1 step, arena 64 bytes" in texts_of(svg)


@pytest.mark.parametrize("n_steps", [0, 3])
def test_an_empty_plan_says_so(n_steps: int) -> None:
    assert "no intermediate buffers" in texts_of(arena_chart("t", [], n_steps, 0))


def test_names_are_escaped() -> None:
    name = "<script>\"&'\x00\x1b\ud800"
    svg = arena_chart(name, [(0, 1, 0, 64, name)], 1, 64)
    shown = "<script>\"&'\ufffd\ufffd\ufffd"
    assert boxes_of(svg)[0]["title"].startswith(shown + "\n")
    assert shown in texts_of(svg)
    assert "<script" not in svg
    svg.encode("utf-8")


def test_long_names_are_shortened_in_the_label_only() -> None:
    name = "encoder/" * 40
    svg = arena_chart("t", [(0, 1, 0, 64, name)], 1, 64)
    (label,) = of_kind(svg, "label")
    assert label.startswith("encoder/")
    assert label.endswith("encoder/")
    assert "…" in label
    assert len(label) < 100
    assert boxes_of(svg)[0]["title"].startswith(name + "\n")


def test_narrow_boxes_have_no_label() -> None:
    svg = arena_chart("t", [(0, 1, 0, 64, "narrow")], 300, 64)
    assert of_kind(svg, "label") == []
    assert "narrow" in texts_of(svg)  # in the list below


def test_the_largest_buffers_are_listed_with_what_made_them() -> None:
    boxes = [(i, i + 1, 0, 64 * (i + 1), f"{i} · Gemm 'node_of_a_long_name_{i}'") for i in range(20)]
    texts = texts_of(arena_chart("t", boxes, 20, 1280))
    listed = [text for text in texts if " · Gemm '" in text]
    assert [text.split(" · ")[0] for text in listed] == [str(i) for i in range(8, 20)]
    assert all(text.endswith(f"_{i}'") and len(text) < 46 for i, text in enumerate(listed, 8))
    assert "and 8 smaller ones" in texts
    assert {"step 19", "1.25 KiB"} <= set(texts)


def test_many_steps_widen_the_picture_and_thin_the_numbers_out() -> None:
    svg = arena_chart("t", [(i, i + 1, 0, 64, f"b{i}") for i in range(1000)], 1000, 64)
    assert float(ElementTree.fromstring(svg).get("width", "")) > 4000
    assert all(box["width"] > 3 for box in boxes_of(svg))
    numbers = [int(text) for text in texts_of(svg) if text.isdigit()]
    assert numbers == list(range(0, 1000, 10))


@pytest.mark.parametrize("total_bytes", [1, 63, 64, 1000, 239872, 1 << 20, 10**9, 10**14])
def test_the_byte_axis_has_a_handful_of_marks(total_bytes: int) -> None:
    svg = arena_chart("t", [(0, 1, 0, total_bytes, "all")], 1, total_bytes)
    marks = of_kind(svg, "tick")
    assert all(re.fullmatch(r"[\d.]+ (B|KiB|MiB|GiB|TiB)", mark) for mark in marks)
    assert 2 <= len(marks) <= 9
    assert marks[0] == "0 B"
    assert len(set(marks)) == len(marks)


def test_nothing_outside_the_document_is_needed() -> None:
    svg = arena_chart("t", [(0, 1, 0, 64, "a")], 1, 64)
    assert not re.search(r"href|url\(|@import|<script|<image", svg)
    assert re.findall(r"https?://[^\"']*", svg) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("box", [
    (0, 3, 0, 64, "beyond"), (-1, 1, 0, 64, "beyond"), (1, 1, 0, 64, "beyond"), (0, 1, 32, 64, "beyond"), (0, 1, -8, 64, "beyond"),
    (0, 1, 0, -64, "beyond")])
def test_a_box_beyond_the_chart_is_refused(box: tuple[int, int, int, int, str]) -> None:
    with pytest.raises(ValueError, match="arena_chart, box 'beyond': expected steps within 0-2 and bytes within 0-64, got steps "):
        arena_chart("t", [box], 2, 64)


@pytest.mark.parametrize(("n_steps", "total_bytes"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(n_steps: int, total_bytes: int) -> None:
    with pytest.raises(ValueError, match="expected n_steps and total_bytes of at least 0, got"):
        arena_chart("t", [], n_steps, total_bytes)
