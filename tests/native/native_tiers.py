"""Graphs of one node for every op, type and version that ONNX's schemas name, from the cases that ship with the onnx package; forced tiers.

A case says which operands and attributes make sense. It is run in other types and versions of its op than it is written for, where the
schema of that version allows them.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import onnx
from native_rows import take
from onnx import helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

from cervello.native import Model
from cervello.native.fallback import NUMPY
from cervello.native.frontend.importer import read
from cervello.native.lowering.registry import LOWER
from cervello.native.passes.graph_builder import DECOMPOSITIONS

Array = np.ndarray[Any, Any]
TIERS = ("planned", "numpy", "reference")
N_ROWS = 5
_TYPES = {name: np.dtype(helper.tensor_dtype_to_np_dtype(kind)) for name, kind in {
    "float16": onnx.TensorProto.FLOAT16, "bfloat16": onnx.TensorProto.BFLOAT16, "float": onnx.TensorProto.FLOAT,
    "double": onnx.TensorProto.DOUBLE}.items()}
FLOATS = tuple(_TYPES.values())
# Relative to the largest magnitude of the result.
TOLERANCE = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 3e-6, "float64": 1e-14}
_OLDEST = 7  # opsets before it are refused for most ops
_SKIPPED = frozenset({"Bernoulli", "ImageDecoder"})  # random; wants Pillow
# Ops whose operands behind the first say how they work; they are constants of the graphs.
_SETTINGS = frozenset({
    "AffineGrid", "BatchNormalization", "CenterCropPad", "Clip", "Col2Im", "Conv", "ConvTranspose", "CumProd", "CumSum", "DFT",
    "Expand", "GRU", "Gemm", "GroupNormalization", "InstanceNormalization", "LSTM", "LayerNormalization", "MatMulInteger", "OneHot",
    "Pad", "RMSNormalization", "RNN", "Reshape", "Resize", "ReverseSequence", "Slice", "Split", "Squeeze", "Tile", "TopK", "Trilu",
    "Unsqueeze", "Upsample"})


class Form(NamedTuple):
    """One node in one type and version; `operands` are arrays, None where absent."""

    name: str
    node: onnx.NodeProto
    operands: tuple[Array | None, ...]
    opset: int
    dtype: np.dtype[Any]


@functools.cache
def cases() -> tuple[tuple[str, onnx.NodeProto, tuple[Any, ...], int], ...]:
    """(name, node, operands, opset) of the cases that hold a single node of ONNX's own domain, on tensors of numbers."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        listed = [case for case in load_model_tests(kind="node") if case.model is not None]
    for case in listed:
        nodes, opset = case.model.graph.node, case.model.opset_import[0].version
        if len(nodes) != 1 or nodes[0].domain or len(case.data_sets) != 1 or any(a.type == a.GRAPH for a in nodes[0].attribute):
            continue
        arrays = [numpy_helper.to_array(a) if isinstance(a, onnx.TensorProto) else a for a in case.data_sets[0][0]]
        if any(not isinstance(a, (np.ndarray, np.generic)) or np.asarray(a).dtype.kind in "OSU" for a in arrays):
            continue
        given = dict(zip([port.name for port in case.model.graph.input], arrays, strict=True))
        if set(given) != {name for name in nodes[0].input if name}:
            continue
        operands = tuple(np.asarray(given[name]) if name else None for name in nodes[0].input)
        found.append((case.name.removeprefix("test_"), nodes[0], operands, opset))
    return tuple(found)


def _allows(schema: onnx.defs.OpSchema, node: onnx.NodeProto, operands: tuple[Array | None, ...]) -> bool:
    """Whether a version of an op takes these operands and attributes."""
    if not schema.min_input <= len(operands) <= schema.max_input or len(node.output) > schema.max_output or schema.deprecated:
        return False
    kinds: dict[str, Any] = {name: known.type for name, known in schema.attributes.items()}
    if any(a.name not in kinds or kinds[a.name].value != a.type for a in node.attribute):
        return False
    bound: dict[str, str] = {}
    for i, operand in enumerate(operands):
        formal = schema.inputs[min(i, len(schema.inputs) - 1)]
        if operand is None:
            continue
        kind = onnx.TensorProto.DataType.Name(helper.np_dtype_to_tensor_dtype(operand.dtype)).lower()
        if f"tensor({kind})" not in formal.types or bound.setdefault(formal.type_str, kind) != kind:
            return False
    return True


def forms(every: bool) -> Iterator[Form]:
    """Cases in all float types, and versions up to their own, that the schemas allow.

    Args:
      every: all cases; else the first with operands of the same kinds, for each op, version and type.
    """
    histories: dict[str, list[onnx.defs.OpSchema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain:
            histories.setdefault(schema.name, []).append(schema)
    seen = set()
    for name, node, operands, opset in cases():
        if node.op_type in _SKIPPED:
            continue
        for dtype in FLOATS if any(a is not None and a.dtype in FLOATS for a in operands) else FLOATS[2:3]:
            with np.errstate(over="ignore"):
                typed = tuple(a.astype(dtype) if a is not None and a.dtype in FLOATS else a for a in operands)
            for schema in histories[node.op_type]:
                key = (node.op_type, schema.since_version, dtype, _kinds(operands), len(node.output))
                if _OLDEST <= schema.since_version <= opset and _allows(schema, node, typed) and (every or key not in seen):
                    seen.add(key)
                    yield Form(f"{name}, opset {schema.since_version}, {dtype}", node, typed, schema.since_version, dtype)


def ran_by(form: Form, tier: str) -> bool:
    """Whether a form has a tier of its own to be forced to: numpy where there is a function, the reference where there is none."""
    return tier == "planned" or (form.node.op_type in NUMPY) == (tier == "numpy")


def _kinds(operands: tuple[Array | None, ...]) -> str:
    return "".join("-" if a is None else "f" if a.dtype in FLOATS else a.dtype.kind for a in operands)


def graph(form: Form, *, rows: bool) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The form as a model, and the arrays it is given; `rows`: the first axis of the data is the batch."""
    n_data = 1 if form.node.op_type in _SETTINGS else len(form.operands)
    names = [f"i{i}" if a is not None else "" for i, a in enumerate(form.operands)]
    node = onnx.NodeProto()
    node.CopyFrom(form.node)
    node.input[:] = names
    node.output[:] = [f"o{i}" if name else "" for i, name in enumerate(form.node.output)]
    inputs, given, stored = [], {}, []
    for i, (name, array) in enumerate(zip(names, form.operands, strict=True)):
        if array is None:
            continue
        if i >= n_data:
            stored.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
            continue
        shape = ["N", *array.shape[1:]] if rows and array.ndim and array.shape[0] == form.operands[0].shape[0] else list(array.shape)
        inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape))
        given[name] = array
    proto = helper.make_graph([node], "form", inputs, [helper.make_empty_tensor_value_info(name) for name in node.output if name], stored)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", form.opset)], ir_version=8 if form.opset > 8 else 4), given


def _batch_normalization(form: Form, x: Array, *operands: Array) -> Array:
    scale, bias, mean, variance = (a.reshape(-1, *(1,) * (x.ndim - 2)) for a in operands)
    return np.asarray((x - mean) / np.sqrt(variance + float_attribute(form, "epsilon", 1e-5)) * scale + bias)


def _local_response(form: Form, x: Array) -> Array:
    size = next(a.i for a in form.node.attribute if a.name == "size")
    squares = np.pad(x * x, ((0, 0), ((size - 1) // 2, size // 2), *((0, 0),) * (x.ndim - 2)))
    total = sum(squares[:, i:i + x.shape[1]] for i in range(size))
    alpha, beta, bias = (float_attribute(form, *of) for of in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    return np.asarray(x / (bias + alpha / size * total) ** beta)


def _mean_variance(form: Form, x: Array) -> Array:
    axes = (0, 2, 3)  # of the case there is
    return np.asarray((x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 1e-9))


def float_attribute(form: Form, name: str, default: float) -> float:
    """An attribute as files hold it, in float32."""
    return next((a.f for a in form.node.attribute if a.name == name), float(np.float32(default)))


# Ops whose reference implementation is wrong, or computes attributes in float32.
DEFINITIONS: dict[str, Callable[..., Array]] = {
    "BatchNormalization": _batch_normalization, "LRN": _local_response, "MeanVarianceNormalization": _mean_variance}
_IMPLEMENTED = {"AveragePool": 7, "DequantizeLinear": 19}  # the versions it has that do all that earlier ones do
_FLATTENED = frozenset({"Hardmax", "LogSoftmax", "Softmax"})
_OWN_TYPE = frozenset({"BitCast", "Cast", "CastLike"})  # what they give depends on the type they are given


def _flattened(form: Form) -> list[Array]:
    """Before opset 13 everything from the axis on was one row, which the reference implementation does not know."""
    axis = next((a.i for a in form.node.attribute if a.name == "axis"), 1)
    (x,) = form.operands
    assert x is not None
    node = onnx.NodeProto()
    node.CopyFrom(form.node)
    del node.attribute[:]
    lead = int(np.prod(x.shape[:axis % x.ndim], dtype=np.int64))
    return [exact(form._replace(node=node, operands=(x.reshape(lead, -1),), opset=13))[0].reshape(x.shape)]


def exact(form: Form) -> list[Array]:
    """The results in float64: by the definitions above, else as onnx's reference implementation gives them for operands in float64."""
    op = form.node.op_type
    if op in _FLATTENED and form.opset < 13:
        return _flattened(form)
    wide = tuple(a.astype(np.float64) if a is not None and a.dtype in FLOATS and op not in _OWN_TYPE else a for a in form.operands)
    if op == "QuantizeLinear" and wide[2:] and wide[2] is not None and wide[2].dtype.kind in "iu":
        wide = np.clip(wide[0], -1e6, 1e6), *wide[1:]  # type: ignore[type-var]  # the implementation wraps what int32 cannot hold
    if op in DEFINITIONS:
        return [DEFINITIONS[op](form, *wide)]
    proto, _ = graph(form._replace(operands=wide, opset=max(form.opset, _IMPLEMENTED.get(op, 0))), rows=False)
    if op == "Scatter":  # the same under its newer name
        proto.graph.node[0].op_type, proto.opset_import[0].version = "ScatterElements", 11
    stored = {tensor.name for tensor in proto.graph.initializer}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = ReferenceEvaluator(proto).run(None, {f"i{i}": a for i, a in enumerate(wide) if a is not None and f"i{i}" not in stored})
    return [np.asarray(a) for a in found]


def value_problem(form: Form, tier: str) -> str:
    """What is wrong with a form's results on a tier; empty when nothing is.

    Raises:
      CervelloError: the form is refused.
    """
    with forced(tier, form.node.op_type):
        proto, given = graph(form, rows=False)
        model = Model(read(proto), shapes={name: a.shape for name, a in given.items()})
        found = model.run({name: a[None] for name, a in given.items()}) | dict(model.constants)
    for port, expected in zip(proto.graph.output, exact(form), strict=True):
        result = found[port.name][0] if port.name in model.outputs else found[port.name]
        if why := _difference(form, result, expected):
            return f"{form.name}, {tier}, {port.name}: {why}"
    return ""


def _difference(form: Form, found: Array, expected: Array) -> str:
    if found.shape != expected.shape:
        return f"{found.shape} for {expected.shape}"
    name = found.dtype.name
    a, b = found.astype(np.float64), expected.astype(np.float64)
    if name not in TOLERANCE:
        allowed = 1 if form.node.op_type == "DynamicQuantizeLinear" else 0  # float32 rounds its scale, which moves what lies half-way
        return "" if np.allclose(a, b, rtol=0, atol=allowed, equal_nan=True) else f"{a} for {b}"
    with np.errstate(over="ignore"):
        rounded = b.astype(found.dtype).astype(np.float64)
    finite = np.isfinite(rounded)
    if not np.array_equal(np.where(finite, 0, a), np.where(finite, 0, rounded), equal_nan=True):
        return "other numbers that are not finite"
    if not finite.any():
        return ""
    worst, scale = float(np.abs(a[finite] - b[finite]).max()), float(np.abs(b[finite]).max())
    return "" if worst <= TOLERANCE[name] * max(scale, 1e-5) else f"{worst:.3g} off, largest magnitude {scale:.3g}"


def law_problem(form: Form, tier: str) -> str | None:
    """Which row has other bits alone than among others; None when the form's rows cannot run at once.

    Raises:
      CervelloError: the form is refused with a free batch, since its first axis is none.
    """
    with forced(tier, form.node.op_type):
        proto, given = graph(form, rows=True)
        model = Model(read(proto))
        axes = {name: spec.batch_axis for name, spec in model.inputs.items()}
        if not model.batched or model.open_dims or set(axes.values()) - {0, None}:
            return None  # an open axis that is a size of one row is no batch
        random = np.random.default_rng(0)
        batch = {}
        for name, array in given.items():
            batch[name] = array if axes[name] is None else array[np.arange(N_ROWS) % len(array)]
            if axes[name] == 0 and array.dtype in FLOATS:
                batch[name] = (batch[name].astype(np.float64) * random.uniform(0.5, 1.5, batch[name].shape)).astype(array.dtype)
        together = model.run(batch)
        for row in (0, 1, N_ROWS - 1):
            alone = model.run({name: a if axes[name] is None else a[row:row + 1] for name, a in batch.items()})
            for name, spec in model.outputs.items():
                if spec.batch_axis is not None and take(together[name], spec, [row]).tobytes() != alone[name].tobytes():
                    return f"{form.name}, {tier}, {name}: row {row} has other bits alone"
    return ""


@contextmanager
def forced(tier: str, op: str) -> Iterator[None]:
    """Leaves an op only its slower tiers."""
    tables: list[tuple[dict[Any, Any], Any]] = []
    if tier != "planned":
        tables += [(LOWER, op), (DECOMPOSITIONS, ("", op))]
    if tier == "reference":
        tables.append((NUMPY, op))
    taken = [(table, key, table.pop(key)) for table, key in tables if key in table]
    try:
        yield
    finally:
        for table, key, value in taken:
            table[key] = value
