"""Small policies as files, and the command run in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cervello.cli import main


class Said(NamedTuple):
    """What a command said; `err` without the remark about compilation, which depends on the machine's cache."""

    status: int
    out: str
    err: str


@pytest.fixture
def cervello(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs `cervello ARGUMENTS` in this process, without a terminal."""
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Said:
        status = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        remarks = [line for line in err.splitlines(keepends=True) if not line.startswith("compiling kernels for this machine")]
        return Said(status, out, "".join(remarks))

    return run


def save(path: Path, inputs: dict[str, Sequence[object]], outputs: dict[str, Sequence[object]], nodes: list[onnx.NodeProto],
         constants: dict[str, np.ndarray] | None = None) -> Path:
    graph = helper.make_graph(
        nodes, path.stem,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def weight(*shape: int) -> np.ndarray:
    return (np.arange(1, 1 + np.prod(shape)).reshape(shape) / 10).astype(np.float32)


@pytest.fixture
def scout(tmp_path: Path) -> Path:
    """Feed-forward, with a constant output."""
    nodes = [helper.make_node("Gemm", ["obs", "w", "b"], ["h"], name="trunk"), helper.make_node("Tanh", ["h"], ["action"], name="squash"),
             helper.make_node("Identity", ["v"], ["version_number"])]
    return save(tmp_path / "scout.onnx", {"obs": ["N", 4]}, {"action": ["N", 2], "version_number": [1]}, nodes,
                {"w": weight(4, 2), "b": weight(2), "v": np.array([3.0], np.float32)})


@pytest.fixture
def wanderer(tmp_path: Path) -> Path:
    """Recurrent and noisy: action = obs + epsilon, h_out = h_in + obs."""
    nodes = [helper.make_node("Add", ["obs", "epsilon"], ["action"]), helper.make_node("Add", ["h_in", "obs"], ["h_out"])]
    shape = ["N", 3]
    return save(tmp_path / "wanderer.onnx", {"obs": shape, "epsilon": shape, "h_in": shape}, {"action": shape, "h_out": shape}, nodes)


@pytest.fixture
def oddly_named(tmp_path: Path) -> Path:
    """Like `wanderer`, but nobody can guess what its inputs are for."""
    nodes = [helper.make_node("Add", ["obs", "dice"], ["action"]), helper.make_node("Add", ["past:0", "obs"], ["future:0"])]
    shape = ["N", 3]
    return save(tmp_path / "odd.onnx", {"obs": shape, "dice": shape, "past:0": shape}, {"action": shape, "future:0": shape}, nodes)


@pytest.fixture
def mixer(tmp_path: Path) -> Path:
    """Exported for one row, with a mean over its batch of 1, so that it runs one row at a time."""
    nodes = [helper.make_node("ReduceMean", ["obs"], ["mean"], axes=[0], keepdims=1, name="centre"),
             helper.make_node("Sub", ["obs", "mean"], ["action"])]
    return save(tmp_path / "mixer.onnx", {"obs": [1, 3]}, {"action": [1, 3]}, nodes)


@pytest.fixture
def slowpoke(tmp_path: Path) -> Path:
    """Has a node outside the planned tier, and gives NaN."""
    nodes = [helper.make_node("Hardmax", ["obs"], ["hard"], name="pick"), helper.make_node("Sub", ["hard", "nothing"], ["action"])]
    return save(tmp_path / "slowpoke.onnx", {"obs": ["N", 3]}, {"action": ["N", 3]}, nodes,
                {"nothing": np.array([0, np.nan, 0], np.float32)})


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Names that would write to the terminal, or pass for markup."""
    name = "\x1b[31mred\x1b[0m [bold]obs[/bold] \u202e"
    nodes = [helper.make_node("Relu", [name], ["hidden\nline"], name="\x1b]0;title\x07"),
             helper.make_node("Neg", ["hidden\nline"], ["action"])]
    return save(tmp_path / "hostile.onnx", {name: ["N", 3]}, {"action": ["N", 3]}, nodes)
