"""`cervello api`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_inputs_outputs_and_constants_are_listed(scout: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("api", scout)
    assert (said.status, said.err) == (0, "")
    lines = words(said.out)
    assert lines[0] == ["scout"]
    assert ["obs", "4", "float32", "0"] in lines
    assert ["action", "2", "float32", "0"] in lines
    assert ["version_number", "1", "float32", "[3.0]"] in lines
    assert ["wrappers", "none", "needed"] in lines
    assert "free, all rows run at once" in said.out
    assert "every step is on the planned tier" in said.out


def test_wrappers_are_proposed(wanderer: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("api", wanderer)
    assert "Epsilon('epsilon')" in said.out
    assert "Recurrent({'h_in': 'h_out'})" in said.out


def test_the_reason_for_one_row_at_a_time_is_given(mixer: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("api", mixer)
    assert "one row at a time: node ReduceMean 'centre'" in said.out


def test_nodes_outside_the_planned_tier_are_named(slowpoke: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("api", slowpoke)
    assert "slow      Hardmax 'pick'" in said.out


def test_json_holds_the_same(wanderer: Path, slowpoke: Path, scout: Path, cervello: Callable[..., Any]) -> None:
    facts = json.loads(cervello("api", wanderer, "--json").out)
    assert facts["inputs"][0] == {"name": "obs", "shape": [3], "dtype": "float32", "batch_axis": 0, "required": True}
    assert facts["wrappers"] == ["Epsilon('epsilon')", "Recurrent({'h_in': 'h_out'})"]
    assert (facts["batched"], facts["one_row"], facts["slow_nodes"]) == (True, "", {})
    assert list(json.loads(cervello("api", slowpoke, "--json").out)["slow_nodes"]) == ["Hardmax 'pick'"]
    assert json.loads(cervello("api", scout, "--json").out)["constants"] == [
        {"name": "version_number", "shape": [1], "dtype": "float32", "value": [3.0]}]


def test_metadata_of_the_file_is_shown_on_one_line_each(scout: Path, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    model = onnx.load(scout)
    scales = ", ".join(["0.25"] * 100)
    onnx.helper.set_model_props(model, {"joint_names": "hip,\n\x1b[31mknee", "action_scale": scales})
    path = tmp_path / "robot.onnx"
    onnx.save(model, path)
    said = cervello("api", path).out
    assert "joint_names: hip, \\x1b[31mknee" in said
    assert f"({len(scales)} characters)" in said
    assert scales not in said
    assert json.loads(cervello("api", path, "--json").out)["metadata"] == {"joint_names": "hip,\n\x1b[31mknee", "action_scale": scales}
    assert "metadata" not in cervello("api", scout).out
