"""Sizes that a file leaves open, on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx.parser
import pytest

IMAGE = """<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 1, height, width] image) => (float[batch, 1, 1, 1] y)
{ p = MaxPool<kernel_shape = [2, 2]>(image) y = GlobalAveragePool(p) }"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.onnx"
    path.write_bytes(onnx.parser.parse_model(IMAGE).SerializeToString())
    return path


@pytest.mark.parametrize("command", ["api", "plan", "run", "profile", "benchmark"])
def test_every_command_takes_them(image: Path, cervello: Callable[..., Any], command: str) -> None:
    few = {"run": ["--calls", "2"], "profile": ["--rounds", "1"], "benchmark": ["-c", "2"]}.get(command, [])
    said = cervello(command, image, "--dim", "height=6", "--dim", "width=4", *few)
    assert said.status == 0, said.err


def test_without_them_the_error_names_them(image: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("api", image)
    assert said.status != 0
    assert "'height': 1, 'width': 1" in said.err


@pytest.mark.parametrize("text", ["height", "height=", "=3", "height=0", "height=two"])
def test_what_is_no_size_is_refused(image: Path, cervello: Callable[..., Any], text: str) -> None:
    said = cervello("api", image, "--dim", text)
    assert said.status == 2
    assert "expected NAME=SIZE" in said.err


def test_api_lists_those_that_are_open(tmp_path: Path, cervello: Callable[..., Any]) -> None:
    path = tmp_path / "sequence.onnx"
    path.write_bytes(onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[batch, time, 3] x) => (float[batch, time, 3] y) { y = Softmax(x) }""").SerializeToString())
    assert "open sizes" in cervello("api", path).out
    assert json.loads(cervello("api", path, "--json").out)["open_dims"] == {"time": 1}
    assert json.loads(cervello("api", path, "--json", "--dim", "time=4").out)["open_dims"] == {}
