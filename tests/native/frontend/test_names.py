"""Names in a file that are not text."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import cervello
from cervello.errors import FormatError


def model() -> bytes:
    """obs [rows, 4] → Gemm(alpha=0.5) → action, with names of six letters everywhere."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["obs_in", "weight"], ["action"], name="dense_", alpha=0.5)], "policy",
        [helper.make_tensor_value_info("obs_in", TensorProto.FLOAT, ["n_rows", 4])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["n_rows", 2])],
        [numpy_helper.from_array(np.ones((4, 2), np.float32), "weight")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


@pytest.mark.parametrize("name", [b"obs_in", b"weight", b"action", b"dense_", b"policy", b"n_rows", b"Gemm", b"alpha"])
def test_a_name_that_is_not_utf_8_is_refused_wherever_it_stands(name: bytes) -> None:
    data = model()
    assert cervello.Model.load(data).run({"obs_in": [[1, 1, 1, 1]]})["action"].tolist() == [[2, 2]]
    damaged = data.replace(name, name[:2] + b"\x9d" + name[3:])
    assert damaged != data
    with pytest.raises(FormatError, match=r"expected names in UTF-8, got b'|expected an ONNX file, got"):
        cervello.Model.load(damaged)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(damaged)
    except Exception:  # the protobuf that is installed refuses such names by itself
        return
    with pytest.raises(FormatError, match="expected names in UTF-8"):
        cervello.Model.load(proto)
