"""What notebooks show: each thing has a representation, well-formed, with every name in it escaped."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

import numpy as np
import offline_logs
import onnx
import pytest
from small_models import FLOAT, graph, node

import cervello
from cervello import evaluation, heads
from cervello.envs.play_result import PlayResult, Returns
from cervello.native.report.profile import profile
from cervello.pictures import notebook
from cervello.pictures.svg import arena_chart

NAME = "<b onmouseover='x'>&\"name"
ESCAPED = "&lt;b onmouseover="
ARENA = arena_chart(NAME, [(0, 1, 0, 64, NAME)], 1, 64)


def test_a_figure_keeps_its_rules_to_itself() -> None:
    html = notebook.figure(ARENA, "a <b>")
    assert "<style" not in html
    assert "<b>" not in html
    data = re.search(r"base64,([\w+/=]+)", html)
    assert data is not None
    assert base64.b64decode(data[1]).decode() == ARENA


def test_tables_escape_what_they_show() -> None:
    html = notebook.table(["<h>"], [["<script>", 1]]) + notebook.facts({"<f>": "<i>", "none": ""}) + notebook.heading("<t>", "<n>")
    assert not any(tag in html for tag in ("<h>", "<script>", "<i>", "<f>", "<t>", "<n>"))
    assert "none" not in html
    ElementTree.fromstring(f"<div>{html}</div>")


def hostile() -> cervello.Model:
    """A model whose names would all be tags: its own, those of inputs, outputs, steps and buffers, and of its slow node."""
    where = f"{NAME}/h"
    nodes = [onnx.helper.make_node("Tanh", [NAME], [where], name=f"{NAME}/tanh"),
             onnx.helper.make_node("Hardmax", [where], [f"{NAME}/y"], name=f"{NAME}/hardmax"), node("Identity", "v", "version")]
    data = graph(nodes, {NAME: (FLOAT, ("N", 3))}, {f"{NAME}/y": (FLOAT, ("N", 3)), "version": (FLOAT, (1,))},
                 {"v": np.ones(1, np.float32)}, name=NAME)
    return cervello.Model.load(data)


def policy() -> cervello.Policy:
    return cervello.Policy(hostile())


def frame() -> cervello.Frame:
    runtime = cervello.Runtime()
    runtime.add(NAME, policy())
    runtime.begin_agent(NAME, 1)
    runtime.push(NAME, 1, {NAME: np.zeros(3, np.float32)})
    return runtime.run()


def played() -> PlayResult:
    returns = Returns(NAME, np.arange(3.0), np.ones(3, np.int64), np.ones(3, bool), 1.0, 1.0, 0)
    return PlayResult(NAME, {NAME: returns}, None, 0, False, "")


def evaluated() -> Any:
    candidate = offline_logs.logits_policy(offline_logs.behaviour_weights(scale=0.5), np.zeros(3))
    return evaluation.evaluate(offline_logs.walks(30), {NAME: cervello.load(candidate)}, head=heads.Categorical("logits"),
                               estimators=["wis"])


THINGS = {"model": hostile, "plan": lambda: hostile().plan(4), "policy": policy, "frame": frame, "play": played, "evaluation": evaluated,
          "profile": lambda: profile(hostile(), {NAME: np.zeros((2, 3), np.float32)}, 2, 1)}
SHOWN = {"model": ("batch axis", "constants", "slow"), "plan": ("made by", "arena", "peak"), "policy": (">agents<", "wrappers"),
         "frame": ("1 decision in", "skipped"), "play": ("episodes",), "evaluation": ("verdict", "why"), "profile": ("share",)}


def pictures(html: str) -> Iterator[str]:
    """The SVG documents of a representation."""
    for data in re.findall(r"base64,([\w+/=]+)", html):
        yield base64.b64decode(data).decode()


@pytest.mark.parametrize("kind", THINGS)
def test_it_is_well_formed_and_escapes_every_name(kind: str) -> None:
    html = THINGS[kind]()._repr_html_()
    for document in (f"<div>{html}</div>", *pictures(html)):
        root = ElementTree.fromstring(document)
        assert all(element.get("onmouseover") is None for element in root.iter())
        assert ESCAPED in document
    assert [text for text in SHOWN[kind] if text not in html] == []
    assert len(list(pictures(html))) == {"model": 1, "plan": 2, "play": 1, "evaluation": 1, "profile": 1}.get(kind, 0)


def test_a_frame_without_decisions_says_so_and_has_its_budget() -> None:
    runtime = cervello.Runtime()
    runtime.add(NAME, policy())
    html = runtime.run(budget_s=0.5)._repr_html_()
    assert "0 decisions in" in html
    assert "of 500 ms" in html
