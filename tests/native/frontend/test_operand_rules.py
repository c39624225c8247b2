"""Operands that contradict their op are refused before anything is folded or lowered; the last that is legal runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from native_graphs import I64, Chain, In, graph, node, one, rows, weights
from native_oracle import assert_near, foreign
from onnx import helper

from cervello.errors import ExecutionError, GraphError, UnsupportedError
from cervello.native import Model

F64, I32 = np.dtype(np.float64), np.dtype(np.int32)


def _a(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def _fixed(*shape: int, dtype: Any = np.float32) -> In:
    return In(shape, dtype)


def _cell(op: str, *operands: Any, **attributes: Any) -> onnx.ModelProto:
    """A recurrent layer of hidden size 2 over sequences [3, 1, 5]."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    return one(op, _fixed(3, 1, 5), weights(1, 2 * gates, 5), weights(1, 2 * gates, 2), *operands, outputs=2, opset=14, **attributes)


def _loop(trips: Any) -> onnx.ModelProto:
    body = helper.make_graph(
        [node("Identity", ["c"], ["on"]), node("Neg", ["s"], ["t"])], "body",
        [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("c", 9, []), helper.make_tensor_value_info("s", 1, [2])],
        [helper.make_tensor_value_info("on", 9, []), helper.make_tensor_value_info("t", 1, [2])])
    return graph([node("Loop", ["m", "", "x"], ["y"], body=body)], {"m": trips, "x": _fixed(2)}, ["y"])


def _attention(**changes: Any) -> onnx.ModelProto:
    operands = {"q": rows(2, 3, 4), "k": rows(2, 5, 4), "v": rows(2, 5, 4), "mask": None, **changes}
    attributes = {name: operands.pop(name) for name in list(operands) if name not in ("q", "k", "v", "mask")}
    return one("Attention", *operands.values(), opset=23, **attributes)


_CELLS, _POOLS = ("LSTM", "GRU", "RNN"), ("MaxPool", "AveragePool")
_ELEMENTS = _fixed(2, 3)
_SCALES = np.array([1, 1, 0, 1], np.float32)
CONTRADICTIONS = [
    # elements by index
    (lambda: one("GatherElements", _ELEMENTS, np.zeros((5, 3), np.int64), axis=1), r"indices of sizes within \(2, 3\) off axis 1"),
    (lambda: one("GatherElements", rows(3), In((7, 3), I64), axis=1), "indices of sizes within"),
    (lambda: one("GatherElements", _ELEMENTS, np.zeros((2, 3), np.float32)), r"operand 1 \(indices\) of type int32 or int64, got float32"),
    (lambda: one("ScatterElements", _ELEMENTS, np.zeros((2, 3), np.int64), weights(1, 3)), r"updates of shape \(2, 3\), got \(1, 3\)"),
    (lambda: one("ScatterElements", _ELEMENTS, np.zeros((2, 4), np.int64), weights(2, 4)), r"indices of sizes within \(2, 3\) off axis 0"),
    (lambda: one("ScatterElements", _ELEMENTS, np.zeros((2, 3), np.int64), weights(2, 3), reduction="sum", opset=18), "reduction among"),
    (lambda: one("ScatterND", _fixed(4, 3), _a(0, 1).reshape(2, 1), weights(1, 3)), r"updates of shape \(2, 3\), got \(1, 3\)"),
    (lambda: one("ScatterND", _fixed(4, 3), _a(0, 1, 2).reshape(1, 3), weights(1)), "tuples of 1 to 2 indices"),
    (lambda: one("GatherND", _fixed(2, 3), _a(0, 1).reshape(2, 1), batch_dims=-1), "batch_dims of at least 0, got -1"),
    (lambda: one("GatherND", _fixed(2, 3), _a(0, 1).reshape(2, 1), batch_dims=2), "batch_dims below 2, got 2"),
    (lambda: one("GatherND", _fixed(2, 3), np.zeros((3, 1), np.int64), batch_dims=1), r"indices that begin with \(2,\)"),
    (lambda: one("TopK", rows(4), _a(1, 2), outputs=2), "one number as k"),
    # normalisations
    (lambda: one("GroupNormalization", rows(3, 4), weights(3), weights(3), num_groups=2, opset=21), "channels that 2 groups share evenly"),
    (lambda: one("GroupNormalization", rows(4, 4), weights(2), weights(2), num_groups=2, opset=21), r"a scale of shape \(4,\), got \(2,\)"),
    (lambda: one("InstanceNormalization", rows(3, 4), weights(3).astype(F64), weights(3)), "of one element type, got float32 and float64"),
    (lambda: one("InstanceNormalization", rows(3, 4), weights(2), weights(3)), r"a scale of shape \(3,\), got \(2,\)"),
    (lambda: one("LayerNormalization", rows(3, 4), weights(3, 4)), r"a scale of a shape that broadcasts to \(4,\)"),
    (lambda: one("LpNormalization", rows(4), p=3), "p among 1, 2, got 3"),
    (lambda: one("BatchNormalization", rows(3, 2), *[weights(3)] * 3, weights(1)), r"a variance of shape \(3,\), got \(1,\)"),
    (lambda: one("LRN", rows(3, 2, 2), size=0), "size of at least 1, got 0"),
    (lambda: one("GroupNormalization", rows(4, 4), weights(2).astype(F64), weights(2), num_groups=2, opset=17),
     "of one element type, got float32 and float64"),  # before the op was one
    # branches and loops
    (lambda: _loop(_fixed(dtype=I32)), "a trip count of type int64, got int32"),
    (lambda: _loop(_fixed(2, dtype=I64)), "one number as a trip count"),
    # recurrent layers
    *((lambda op=op: _cell(op, hidden_size=3), "hidden_size 2, as the recurrent weights have it, got 3") for op in _CELLS),
    *((lambda op=op: _cell(op, hidden_size=2, clip=1.0, direction="bidirectional"), r"weights of shape \(2,") for op in _CELLS),
    *((lambda op=op, clip=clip: _cell(op, hidden_size=2, clip=clip), f"a clip above 0, or none, got {clip}")
      for op in _CELLS for clip in (0.0, -1.0)),
    (lambda: _cell("RNN", weights(1, 3)), r"biases of shape \(1, 4\), got \(1, 3\)"),
    (lambda: _cell("LSTM", weights(1, 16), np.ones(2, np.int32)), r"sequence lengths of shape \(1,\), got \(2,\)"),
    (lambda: _cell("GRU", activations=["Tanh"]), "2 activations, got"),
    (lambda: one("Reshape", rows(1), _a(0, *[1] * 40)), "at most 32 axes, got 41"),
    (lambda: one("RoiAlign", rows(2, 6, 6), weights(1, 4), _a(0), output_height=-2), "sizes of at least 0, got"),
    (lambda: one("STFT", _fixed(1, 16, 1), np.array(4), None, np.array(1 << 31)), "frames of 1 to 16 elements, as long as the signal"),
    (lambda: one("STFT", _fixed(1, 16, 1), np.array(0), None, np.array(8)), "a step between frames of at least 1, got 0"),
    (lambda: one("CenterCropPad", rows(4, 4, 4), _a(3), axes=[2, 3]), r"sizes of shape \(2,\), got \(1,\)"),
    (lambda: one("Attention", *[_fixed(1, 2, 3, 4)] * 3, np.zeros((3, 3), np.uint8), opset=23), "a mask of bool or of floats, got uint8"),
    # elementwise
    (lambda: one("Gemm", rows(4), weights(4, 2), alpha=float("inf")), "a finite number as alpha, got inf"),
    (lambda: one("Where", rows(4), rows(4), rows(4)), r"operand 0 \(condition\) of type bool, got float32"),
    (lambda: one("Clip", rows(4), weights(4)), "one number as the least value"),
    (lambda: one("PRelu", rows(1), weights(3)), "slopes of a shape that broadcasts to"),
    (lambda: one("Gelu", rows(4), approximate="erf", opset=20), "approximate among 'none', 'tanh', got 'erf'"),
    # movement
    (lambda: one("Pad", rows(3), _a(0, 3, 0, 0), mode="reflect"), "reflect pads of at most 2 on axis 1"),
    (lambda: one("Pad", rows(3), _a(0, 1, 0, 0, 1, 0)), "two amounts for each of 2 axes"),
    (lambda: one("Pad", rows(3), _a(0, 0, 0, 1), weights(2)), "one number as a padding value"),
    (lambda: one("Slice", rows(3), _a(0), _a(1), _a(1, 1)), r"axes of shape \(1,\)"),
    (lambda: one("Slice", rows(3), _a(0, 0), _a(1, 1), _a(1, -1)), "axes within rank 2, each once"),
    (lambda: one("Slice", rows(3), _a(0), _a(1), _a(1), _a(0)), "steps other than 0"),
    (lambda: one("Split", rows(4), _a(1, 1, 2), outputs=2, axis=1), r"sizes of parts of shape \(2,\), got \(3,\)"),
    (lambda: one("Flatten", rows(4), axis=3), "an axis within rank 2, got 3"),
    (lambda: one("Reshape", rows(4), _a(-1, -2)), "sizes of at least 0, and at most one of -1"),
    (lambda: one("ConstantOfShape", _a(2, 2), value=helper.make_tensor("v", 1, [0], [])), "one number as value"),
    (lambda: one("OneHot", rows(dtype=I64), _a(3), weights(3)), r"values of shape \(2,\)"),
    (lambda: one("DepthToSpace", rows(6, 2, 2), blocksize=2), "a multiple of 4 on axis 1, got 6"),
    (lambda: one("Reshape", _fixed(0, 3), _a(1 << 31, 4, 0), allowzero=1), "at most 67108864 elements, sizes of 0 taken as 1"),
    (lambda: one("Pad", rows(3), _a(0, 0, 0, 1 << 31), mode="edge"), "at most 512 MiB of values"),
    (lambda: one("Tile", rows(3), _a(1, 1 << 31)), "at most 512 MiB of values"),
    # windows
    *((lambda op=op: one(op, rows(1, 5), kernel_shape=[2], pads=[2, 0]), r"pads below the kernel's \[2\]") for op in _POOLS),
    (lambda: one("Resize", rows(1, 2, 2), None, _SCALES, opset=18), "scales above 0"),
    (lambda: one("Resize", rows(1, 2, 2), None, None, _a(1, 1, 0, 2), opset=18), "sizes of at least 1"),
    (lambda: one("Resize", rows(1, 2, 2), None, _SCALES[:3] + 1, opset=18), r"scales of shape \(4,\)"),
    (lambda: one("Conv", rows(3, 5), weights(2, 2, 3)), "an image of 2 channels"),
    (lambda: one("Conv", rows(2, 5), weights(2, 2, 3), auto_pad="SAME"), "auto_pad among"),
    (lambda: one("ConvTranspose", rows(3, 5), weights(2, 2, 3)), "an image of 2 channels"),
    (lambda: one("ConvTranspose", rows(2, 5), weights(2, 2, 3), weights(3)), r"a bias of shape \(2,\), got \(3,\)"),
    # reductions
    (lambda: one("ReduceSum", rows(4), _a(1, -1)), "axes within rank 2, each once"),
    (lambda: one("ReduceMax", rows(4), _a(2), opset=18), "axes within rank 2"),
    (lambda: one("ArgMax", rows(0), axis=1), "elements to choose from on axis 1"),
    (lambda: one("CumSum", rows(4), _a(2)), "an axis within rank 2"),
    (lambda: one("ReduceSum", rows(4), _a(1), keepdims=2), "keepdims of 0 or 1, got 2"),
    # attention
    (lambda: _attention(v=rows(2, 4, 4)), "keys and values of equal number"),
    (lambda: _attention(q=rows(3, 3, 4)), "a multiple of those of keys"),
    (lambda: _attention(mask=weights(3, 6)), "a mask of at most 5 keys"),
    (lambda: _attention(q=rows(3, 8), k=rows(5, 8), v=rows(5, 8), q_num_heads=3, kv_num_heads=2), "3 heads share evenly"),
    # losses, words
    (lambda: one("NegativeLogLikelihoodLoss", _fixed(1, 4), _a(4)), "labels from 0 to 3, got 4"),
    (lambda: one("NegativeLogLikelihoodLoss", _fixed(1, 4), _a(0), reduction="max"), "reduction among"),
    (lambda: one("TfIdfVectorizer", _fixed(4, dtype=I64), mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=1 << 31,
                 ngram_counts=[0], ngram_indexes=[0], pool_int64s=[1]), "a max_skip_count of at most 65536"),
    # random
    (lambda: one("Multinomial", rows(0)), "at least one class"),
    (lambda: one("Multinomial", rows(3), dtype=1), "dtype among 6, 7"),
]


@pytest.mark.parametrize(("model", "message"), CONTRADICTIONS)
def test_operands_that_contradict_their_op_are_refused_at_load(model: Any, message: str) -> None:
    with pytest.raises(GraphError, match=f"node .*: expected .*{message}"):
        Model.load(model())


@pytest.mark.parametrize(("model", "message"), [
    (lambda: one("Concat", rows(4), rows(4)), "expected attribute 'axis', got none"),
    (lambda: one("Softmax", rows(4), flatten=1), r"expected attributes among \['axis'\], got 'flatten'"),
    (lambda: one("Softmax", rows(4), axis=1.0), "expected attribute 'axis' of kind INT, got 1.0"),
    (lambda: one("Elu", rows(4), alpha=1), "expected attribute 'alpha' of kind FLOAT, got 1"),
    (lambda: one("Transpose", rows(4), perm=1), "expected attribute 'perm' of kind INTS, got 1")])
def test_attributes_that_onnx_does_not_give_an_op_are_refused(model: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Model.load(model())


@pytest.mark.parametrize("model", [
    lambda: one("GatherElements", rows(3), In(("N", 2), I64), axis=1),
    lambda: one("GatherElements", _fixed(4, 3), np.zeros((2, 3), np.int64)),
    lambda: one("ScatterElements", _fixed(4, 3), np.zeros((2, 2), np.int64), weights(2, 2)), lambda: _loop(_fixed(1, dtype=I64)),
    lambda: one("Pad", rows(3), _a(0, 2, 0, 2), mode="reflect"), lambda: one("MaxPool", rows(1, 5), kernel_shape=[2], pads=[1, 1]),
    lambda: one("MaxPool", rows(2, 3), kernel_shape=[3], pads=[0, 1]),  # as large as the picture, and more than one of it
    lambda: one("AveragePool", rows(1, 5), kernel_shape=[3], pads=[2, 2], count_include_pad=1),
    lambda: one("Clip", rows(4), np.float32([0.5])), lambda: one("LayerNormalization", rows(3, 4), weights(3, 4), axis=1),
    lambda: one("GroupNormalization", rows(4, 3), weights(4), weights(4), num_groups=2, opset=21)])
def test_the_last_legal_operands_run_as_in_onnxruntime(model: Any) -> None:
    proto = model()
    loaded = Model.load(proto)
    random = np.random.default_rng(0)
    given = {}
    for port in proto.graph.input:
        kind = port.type.tensor_type
        shape = [dim.dim_value or 3 for dim in kind.shape.dim]
        given[port.name] = (random.standard_normal(shape).astype(np.float32) if kind.elem_type == 1 else random.integers(1, 3, shape))
    found = loaded.run({name: array.reshape(spec.batched(3 if loaded.batched else 1)) for (name, array), spec in zip(
        given.items(), loaded.inputs.values(), strict=True)})
    for name, expected in foreign(proto, given).items():
        assert_near(found[name].reshape(expected.shape), expected, 1e-5, name)


def test_operands_whose_shapes_only_the_run_can_tell_are_checked_there() -> None:
    c = Chain(x=_fixed(4), u=_fixed(2))
    places = c.add("Transpose", c.add("NonZero", "x"), perm=[1, 0])
    model = Model.load(c.model(c.add("ScatterND", "x", places, "u")))
    given = {"u": np.float32([5, 6])}
    found = model.run({"x": np.float32([0, 1, 0, 2]), **given})
    assert next(iter(found.values())).reshape(-1).tolist() == [0, 5, 0, 6]
    with pytest.raises(ExecutionError, match=r"node ScatterND.*: expected updates of shape \(3,\), got \(2,\)"):
        model.run({"x": np.float32([0, 1, 3, 2]), **given})


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_attention_shows_its_scores_before_and_after_they_are_capped(mode: int) -> None:
    keys = _fixed(1, 2, 5, 4)
    proto = one("Attention", _fixed(1, 2, 3, 4), keys, keys, outputs=["y0", "", "", "y1"], opset=23, softcap=0.5,
                qk_matmul_output_mode=mode)
    q, k, v = (np.random.default_rng(seed).standard_normal((1, 2, size, 4)).astype(np.float32) for seed, size in ((0, 3), (1, 5), (2, 5)))
    scores = q @ k.transpose(0, 1, 3, 2) / 2
    capped = 0.5 * np.tanh(scores / 0.5)
    shares = np.exp(capped) / np.exp(capped).sum(-1, keepdims=True)
    found = Model.load(proto).run({"x0": q, "x1": k, "x2": v})["y1"]
    np.testing.assert_allclose(found.reshape(1, 2, 3, 5), (scores, capped, capped, shares)[mode], rtol=1e-5, atol=1e-6)


def test_raw_scores_that_the_reference_implementation_caps_are_refused() -> None:
    keys = _fixed(1, 2, 5, 4, dtype=np.float64)
    with pytest.raises(UnsupportedError, match="got raw scores beside a softcap"):
        Model.load(one("Attention", keys, keys, keys, outputs=["y0", "", "", "y1"], opset=23, softcap=0.5))


def test_a_threshold_without_a_number_is_refused_where_boxes_are_chosen() -> None:
    with pytest.raises(GraphError, match="one number as the threshold of scores"):
        Model.load(one("NonMaxSuppression", _fixed(1, 2, 4), _fixed(1, 1, 2), _a(2), np.array([0.5], np.float32), np.zeros(0, np.float32),
                       opset=11))
