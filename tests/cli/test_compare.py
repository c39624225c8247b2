"""`cervello compare`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from cervello.native.report.comparison import difference

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 2] obs) => (float[batch, 2] action) <float[2] w = {{1, 2}}, float[2] b = {{{b}, 0}}> {{
  scaled = Mul(obs, w)
  moved = Add(scaled, b)
  action = Tanh(moved)
}}"""
ROWS_MIXED = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 2] obs) => (float[1, 2] action) { y = Relu(obs) action = Softmax<axis = 1>(y) }"""


def model(folder: Path, name: str, b: float = 0.0, text: str = TEXT) -> Path:
    proto = onnx.parser.parse_model(text.format(b=b) if text is TEXT else text)
    for node in proto.graph.node:
        node.name = f"the {node.op_type}"
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def test_equal_policies_agree(tmp_path: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("compare", model(tmp_path, "a.onnx"), model(tmp_path, "b.onnx"))
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("a.onnx and b.onnx agree, tolerance 0.0001, batch sizes 1, 7, 64\n")
    assert said.out.splitlines()[-1].split()[:6] == ["action", "0", "0", "0", "of", "144"]


def test_the_first_node_that_differs_is_named(tmp_path: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("compare", model(tmp_path, "a.onnx"), model(tmp_path, "b.onnx", b=0.25), "-b", "1,3")
    assert said.status == 1
    assert said.out.startswith("a.onnx and b.onnx differ, tolerance 0.0001, batch sizes 1, 3\n")
    assert "first      Add 'the Add', tensor moved: " in said.out
    facts = json.loads(cervello("compare", tmp_path / "a.onnx", tmp_path / "b.onnx", "-b", "1,3", "--json").out)
    assert (facts["agree"], facts["first"]["tensor"], facts["first"]["node"]) == (False, "moved", "Add 'the Add'")
    assert facts["first"]["largest"] == pytest.approx(0.25, rel=1e-5)
    assert facts["first"]["index"] == [0, 0]
    assert [node["tensor"] for node in facts["nodes"]] == ["scaled", "moved", "action"]
    assert [node["differs"] for node in facts["nodes"]] == [False, True, True]
    assert facts["outputs"][0]["n_differing"] == 4  # the first column of each row


def test_the_tolerance_decides(tmp_path: Path, cervello: Callable[..., Any]) -> None:
    pair = model(tmp_path, "a.onnx"), model(tmp_path, "b.onnx", b=1e-3)
    assert cervello("compare", *pair, "--tolerance", "0.01").status == 0
    assert cervello("compare", *pair, "--tolerance", "1e-6").status == 1
    assert cervello("compare", pair[0], pair[0], "--tolerance", "0").status == 0


def test_given_observations_are_used(tmp_path: Path, cervello: Callable[..., Any]) -> None:
    pair = model(tmp_path, "a.onnx"), model(tmp_path, "b.onnx", b=1e-3)
    saturated = tmp_path / "saturated.npz"
    np.savez(saturated, obs=np.full((5, 2), 50, np.float32))  # where tanh is flat the two agree
    assert cervello("compare", *pair, "--tolerance", "1e-6").status == 1
    said = cervello("compare", *pair, "--tolerance", "1e-6", "--observations", saturated)
    assert said.status == 0
    assert "batch sizes 5\n" in said.out
    assert "batch sizes 2\n" in cervello("compare", *pair, "--tolerance", "1e-6", "--observations", saturated, "-b", "2").out


def test_nan_agrees_with_nan_and_with_nothing_else(tmp_path: Path, cervello: Callable[..., Any]) -> None:
    pair = model(tmp_path, "a.onnx"), model(tmp_path, "b.onnx", b=np.nan)
    assert cervello("compare", pair[1], pair[1]).status == 0
    facts = json.loads(cervello("compare", *pair, "--json").out)
    assert (facts["agree"], facts["outputs"][0]["scaled"], facts["first"]["tensor"]) == (False, "inf", "moved")


@pytest.mark.parametrize("text", [TEXT, ROWS_MIXED])
def test_onnxruntime_agrees(text: str, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    pytest.importorskip("onnxruntime")
    said = cervello("compare", model(tmp_path, "a.onnx", text=text), "--against", "onnxruntime")
    assert said.status == 0, said.out
    assert said.out.startswith("cervello and onnxruntime ")


def test_a_wrong_kernel_is_found_against_onnxruntime(tmp_path: Path, cervello: Callable[..., Any],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    from cervello.native.report import comparison

    ran = comparison._ran

    def wrong(model: Any, inputs: Any) -> dict[str, Any]:
        found = ran(model, inputs)
        return {name: array + 0.5 if name in ("moved", "action") else array for name, array in found.items()}

    monkeypatch.setattr(comparison, "_ran", wrong)
    facts = json.loads(cervello("compare", model(tmp_path, "a.onnx"), "--against", "onnxruntime", "--json").out)
    assert (facts["agree"], facts["first"]["node"]) == (False, "Add 'the Add'")


@pytest.mark.parametrize("name", ["mlagents_3DBall", "mlagents_Hallway", "robot_tron2_encoder_1d"])
def test_real_policies_agree_with_onnxruntime(name: str, shared_models: Any, cervello: Callable[..., Any]) -> None:
    pytest.importorskip("onnxruntime")
    said = cervello("compare", shared_models.path(name), "--against", "onnxruntime", "-b", "1,5")
    assert said.status == 0, said.out


def test_outputs_of_one_alone_are_a_difference(tmp_path: Path, cervello: Callable[..., Any]) -> None:
    more = TEXT.replace("(float[batch, 2] action)", "(float[batch, 2] action, float[batch, 2] moved)")
    proto = onnx.parser.parse_model(more.format(b=0))
    (tmp_path / "more.onnx").write_bytes(proto.SerializeToString())
    said = cervello("compare", model(tmp_path, "a.onnx"), tmp_path / "more.onnx")
    assert said.status == 1
    assert "output  moved: only more.onnx has it" in said.out


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "compare: expected B or --against onnxruntime, got neither; see cervello compare --help"),
    (("b.onnx", "--against", "onnxruntime"), "compare: expected B or --against onnxruntime, got both"),
    (("b.onnx", "--tolerance", "-1"), "argument --tolerance: expected a number of at least 0, got '-1'"),
    (("b.onnx", "--tolerance", "nan"), "argument --tolerance: expected a number of at least 0, got 'nan'"),
    (("b.onnx", "--observations", "nobody.npz"), "'nobody.npz': expected a path that is there, found none"),
    (("b.onnx", "--observations", "a.onnx"), "observations 'a.onnx': expected a .npz file, as numpy.savez writes it, got "),
    (("b.onnx", "--observations", "other.npz"), "observations 'other.npz': expected an array for each of ['obs'], got ['x']"),
    (("b.onnx", "--observations", "wide.npz"), "observations 'wide.npz', input 'obs': expected the shape obs: (N, 2) float32, got (3, 4)"),
    (("b.onnx", "--observations", "three.npz", "-b", "4"), "compare, -b: expected at most the 3 rows of 'three.npz', got 4"),
    (("wide.onnx",), "compare, input 'obs': expected the same in both, got (2,) float32 in 'a.onnx' and (3,) float32 in 'wide.onnx'")])
def test_errors_of_the_user_are_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path, cervello: Callable[..., Any],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.onnx", "b.onnx"):
        model(tmp_path, name)
    (tmp_path / "wide.onnx").write_bytes(onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[batch, 3] obs) => (float[batch, 3] action) { action = Tanh(obs) }'
    ).SerializeToString())
    np.savez("other.npz", x=np.zeros((3, 2), np.float32))
    np.savez("wide.npz", obs=np.zeros((3, 4), np.float32))
    np.savez("three.npz", obs=np.zeros((3, 2), np.float32))
    said = cervello("compare", "a.onnx", *arguments)
    assert (said.status, said.out) == (2, "")
    assert message in said.err
    assert said.err.count("\n") == 1


def test_large_integers_that_differ_by_one_differ() -> None:
    found = difference("t", "n", np.array([2**53]), np.array([2**53 + 1]), 0.0)
    assert found.n_differing == 1
