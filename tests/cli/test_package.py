"""`cervello describe`, `package` and `unpack`: containers of cervo."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cervello import Model, UnsupportedError
from cervello.errors import FormatError
from cervello.native.frontend import crvo


def test_a_container_is_eight_bytes_and_the_file(scout: Path, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    assert cervello("-q", "package", scout, tmp_path / "packed.bin").status == 0
    data = (tmp_path / "packed.crvo").read_bytes()
    assert data == b"CRVO\0\0\0\1" + scout.read_bytes()
    assert cervello("-q", "unpack", tmp_path / "packed.crvo", tmp_path / "again.onnx").status == 0
    assert (tmp_path / "again.onnx").read_bytes() == scout.read_bytes()


def test_containers_are_run_as_the_files_in_them(scout: Path, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    path = tmp_path / "scout.crvo"
    path.write_bytes(crvo.packed(scout.read_bytes()))
    obs = np.ones((2, 4), np.float32)
    expected = Model.load(scout).run({"obs": obs})["action"]
    for source in (path, path.read_bytes()):
        assert np.array_equal(Model.load(source).run({"obs": obs})["action"], expected)
    assert cervello("api", path).out == cervello("api", scout).out


def test_files_are_described_in_cervos_words(scout: Path, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    packed, other, tar = tmp_path / "a.crvo", tmp_path / "b.crvo", tmp_path / "c.nnef.tar"
    packed.write_bytes(crvo.packed(b"anything"))
    other.write_bytes(b"CRVO\0\0\0\2graph.nnef")
    tar.write_bytes(b"graph.nnef")
    said = [cervello("describe", path).out for path in (scout, packed, other, tar)]
    assert said == ["an ONNX file\n", "a native cervo file containing onnx data\n", "a native cervo file containing nnef data\n",
                    "a NNEF file\n"]


@pytest.mark.parametrize(("data", "kind", "message"), [
    (b"CRVO\0\0\0\2graph.nnef", UnsupportedError, "model 'x.crvo': expected a container with ONNX, got one with NNEF"),
    (b"CRVO\0\0\0\3", FormatError, "got kind 3"), (b"CRVO\0\0", FormatError, "the container is truncated"),
    (b"ONNX\0\0\0\1", FormatError, "which begins with b'CRVO', got b'ONNX'")])
def test_other_payloads_are_refused_by_name(data: bytes, kind: type[Exception], message: str, tmp_path: Path,
                                            cervello: Callable[..., Any]) -> None:
    path = tmp_path / "x.crvo"
    path.write_bytes(data)
    said = cervello("unpack", path, tmp_path / "out.onnx")
    assert said.status == 2
    assert message in said.err
    assert not (tmp_path / "out.onnx").exists()
    if crvo.is_crvo(data):
        with pytest.raises(kind):
            Model.load(path)


def with_outside_constant(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """The same with one weight as a Constant whose data lie in a file of a folder."""
    weight = model.graph.initializer.pop(0)
    (folder / "w.bin").write_bytes(weight.raw_data or onnx.numpy_helper.to_array(weight).tobytes())
    node = onnx.helper.make_node("Constant", [], [weight.name], value=weight)
    tensor = node.attribute[0].t
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    model.graph.node.insert(0, node)
    return model


def test_what_a_container_could_not_hold_is_not_packaged(scout: Path, tmp_path: Path, cervello: Callable[..., Any]) -> None:
    outside, packed, tar = tmp_path / "outside.onnx", tmp_path / "packed.crvo", tmp_path / "a.nnef.tar"
    onnx.save_model(onnx.load(scout), outside, save_as_external_data=True, size_threshold=0, location="weights")
    constant = tmp_path / "constant.onnx"
    onnx.save(with_outside_constant(onnx.load(scout), tmp_path), constant)
    packed.write_bytes(crvo.packed(scout.read_bytes()))
    tar.write_bytes(b"graph.nnef")
    refused = {outside: "expected weights inside the file", constant: "expected weights inside the file",
               packed: "got a container already", tar: "got NNEF"}
    for path, message in refused.items():
        said = cervello("package", path, tmp_path / "target")
        assert (said.status, message in said.err) == (2, True)
        assert not (tmp_path / "target.crvo").exists()


@pytest.mark.parametrize("command", [["run", "-n", 2], ["benchmark", "-c", 4], ["profile", "--rounds", 1]])
def test_batch_noise_and_state_are_spelled_alike(command: list[Any], wanderer: Path, cervello: Callable[..., Any]) -> None:
    name, *rest = command
    for batch, noise, state in (("-b", "-w", "-r"), ("--batch", "--with-epsilon", "--recurrent")):
        for pairs in ("h_in:h_out", "auto"):
            said = cervello("-q", name, wanderer, batch, 2, noise, "epsilon", state, pairs, *rest)
            assert (said.status, said.err) == (0, "")
    said = cervello("-q", name, wanderer, "-w", "nothing", *rest)
    assert said.status == 2
    assert "'nothing'" in said.err
    assert cervello(name, wanderer, "-r", "auto", "-r", "h_in:h_out", *rest).status == 2


def test_a_profile_begins_with_the_state_of_a_first_step(wanderer: Path, cervello: Callable[..., Any]) -> None:
    said = cervello("-q", "profile", wanderer, "-b", 2, "-r", "auto", "-w", "epsilon", "--rounds", 1, "--json")
    assert said.status == 0
    assert json.loads(said.out)
