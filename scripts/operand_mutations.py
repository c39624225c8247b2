"""Small valid models of every op, and changes that contradict exactly one shape, type, attribute or operand in them.

Seeds are the node cases of the onnx package and the graphs of tests/native/native_cases. A file is a function of its number alone.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
_LARGEST = 40_000  # bytes of a seed
_TYPES = (1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 13, 16)  # float, integers, bool, float16, double, bfloat16
_INTS = (-1, 0, 1, 2, 3, -2, 5, 17, -100, 1 << 31, -(1 << 63), (1 << 63) - 1)
_FLOATS = (0.0, -1.0, 0.5, 2.0, 100.0, float("nan"), float("inf"))
_TEXTS = ("", "none", "add", "mul", "reflect", "wrap", "edge", "constant", "SAME_UPPER", "VALID", "linear", "cubic", "nearest", "tanh",
          "bidirectional", "reverse", "align_corners", "tf_crop_and_resize", "ij,jk->ik", "no such word")


class Seed(NamedTuple):
    """A valid model, values for its inputs where it has some of its own, and whether onnxruntime gives the op the same meaning."""

    name: str
    data: bytes
    given: dict[str, np.ndarray[Any, Any]]
    foreign: bool


def seeds() -> list[Seed]:
    """All seeds, in a fixed order; takes some seconds."""
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "native")]
    warnings.simplefilter("ignore")
    import backend_cases
    import native_cases

    found = []
    for key, case in backend_cases.cases().items():
        if not key.startswith("node/"):
            continue
        model, sets, _, _ = backend_cases.loaded(case)
        values = dict(zip((port.name for port in model.graph.input), sets[0][0], strict=False))
        plain = all(isinstance(value, np.ndarray) and value.dtype.kind not in "OSUc" for value in values.values())
        if plain and values and model.ByteSize() < _LARGEST and sum(value.nbytes for value in values.values()) < _LARGEST:
            found.append(Seed(case.name, model.SerializeToString(), values, True))
    for case in native_cases.ALL:
        for width in (1, 3, 6):
            model = case.build(width)
            if model.ByteSize() < _LARGEST:
                found.append(Seed(f"{case.name} {width}", model.SerializeToString(), {}, case.foreign))
    return found


def contradicted(corpus: Sequence[Seed], number: int) -> tuple[bytes, str, bool]:
    """File `number`, what was done to make it, and whether onnxruntime's values count."""
    rng = random.Random(number)
    while True:
        seed = corpus[rng.randrange(len(corpus))]
        model = onnx.ModelProto.FromString(seed.data)
        _varied(model, seed, rng)
        before = model.SerializeToString()
        kind = rng.choice(("shape", "type", "attribute", "attribute", "operand"))
        try:
            what = _KINDS[kind](model, rng)
        except (ValueError, TypeError, OverflowError, IndexError):  # protobuf or numpy cannot hold it, or there is nothing to change
            continue
        after = model.SerializeToString()
        if what and after != before:
            return after, f"{seed.name}: {what}", seed.foreign


def _varied(model: onnx.ModelProto, seed: Seed, rng: random.Random) -> None:
    """Other valid forms of the same: constants in place of inputs, a batch of any size."""
    graph = model.graph
    if seed.given:
        stays = rng.randrange(len(graph.input)) if rng.random() < 0.3 else 0
        for index, port in reversed(list(enumerate(graph.input))):
            if index != stays and port.name in seed.given and rng.random() < 0.7:
                graph.initializer.append(numpy_helper.from_array(seed.given[port.name], port.name))
                del graph.input[index]
    if rng.random() < 0.5:
        leading = [port.type.tensor_type.shape.dim for port in graph.input]
        first = leading[0][0].dim_value if leading and leading[0] else 0
        for dims in leading:
            if dims and first and dims[0].dim_value == first:
                dims[0].dim_param = "N"
        for port in graph.output:
            port.type.tensor_type.ClearField("shape")


def _graphs(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    """The graph and those inside its nodes."""
    found = [model.graph]
    for graph in found:
        found += [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return found


def _node(model: onnx.ModelProto, rng: random.Random) -> onnx.NodeProto:
    return rng.choice([node for graph in _graphs(model) for node in graph.node])


def _resized(shape: Sequence[int], rng: random.Random) -> list[int]:
    """Another shape."""
    sizes = list(shape)
    kind = rng.randrange(5)
    if kind == 0 or not sizes:
        sizes.insert(rng.randint(0, len(sizes)), rng.choice((1, 1, 2, 3)))
    elif kind == 1:
        del sizes[rng.randrange(len(sizes))]
    elif kind == 2 and len(sizes) > 1:
        sizes = sizes[::-1]
    else:
        at = rng.randrange(len(sizes))
        sizes[at] = max(0, rng.choice((sizes[at] - 1, sizes[at] + 1, 0, 1, 2, 2 * sizes[at], sizes[at] + 7)))
    return sizes


def _shape(model: onnx.ModelProto, rng: random.Random) -> str:
    ports = [port for port in model.graph.input if port.type.HasField("tensor_type")]
    tensors = list(model.graph.initializer)
    if tensors and (not ports or rng.random() < 0.5):
        tensor = rng.choice(tensors)
        array = numpy_helper.to_array(tensor)
        shape = _resized(array.shape, rng)
        tensor.CopyFrom(numpy_helper.from_array(np.resize(array, shape) if array.size else np.zeros(shape, array.dtype), tensor.name))
        return f"initializer {tensor.name} of shape {shape} for {list(array.shape)}"
    port = rng.choice(ports)
    sizes: list[Any] = [dim.dim_param or dim.dim_value for dim in port.type.tensor_type.shape.dim]
    shape = _resized([size if isinstance(size, int) else -1 for size in sizes], rng)
    named = ["N" if size == -1 else size for size in shape]
    port.CopyFrom(helper.make_tensor_value_info(port.name, port.type.tensor_type.elem_type, named))
    return f"input {port.name} of shape {named} for {sizes}"


def _type(model: onnx.ModelProto, rng: random.Random) -> str:
    kind = rng.choice(_TYPES)
    tensors, ports = list(model.graph.initializer), list(model.graph.input)
    if tensors and (not ports or rng.random() < 0.5):
        tensor = rng.choice(tensors)
        with np.errstate(all="ignore"):
            array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(kind))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        return f"initializer {tensor.name} of type {array.dtype}"
    port = rng.choice(ports)
    port.type.tensor_type.elem_type = kind
    return f"input {port.name} of type {kind}"


def _attribute(model: onnx.ModelProto, rng: random.Random) -> str:
    node = _node(model, rng)
    known = onnx.defs.get_schema(node.op_type, node.domain).attributes if onnx.defs.has(node.op_type, node.domain) else {}
    if not node.attribute or rng.random() < 0.25:
        name = rng.choice(sorted(known) or ["axis"]) if rng.random() < 0.9 else rng.choice(("flatten", "scores", "axis", "ops"))
        if any(attribute.name == name for attribute in node.attribute):
            return ""
        kind = known[name].type.name if name in known else "INT"
        value = {"INT": rng.choice(_INTS[:8]), "FLOAT": rng.choice(_FLOATS), "STRING": rng.choice(_TEXTS),
                 "INTS": [rng.choice(_INTS[:8]) for _ in range(rng.randint(1, 4))],
                 "FLOATS": [rng.choice(_FLOATS)], "STRINGS": [rng.choice(_TEXTS)]}.get(kind)
        if value is None:
            return ""
        node.attribute.append(helper.make_attribute(name, value))
        return f"{node.op_type} with {name}={value}"
    at = rng.randrange(len(node.attribute))
    attribute = node.attribute[at]
    if rng.random() < 0.15:
        del node.attribute[at]
        return f"{node.op_type} without {attribute.name}"
    value: Any = helper.get_attribute_value(attribute)
    if rng.random() < 0.1:
        value = rng.choice((1, 0.5, "text", [1, 1], [0.5], np.zeros(2, np.float32)))
        value = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
    elif isinstance(value, int):
        value = rng.choice((*_INTS, value + 1, value - 1))
    elif isinstance(value, float):
        value = rng.choice(_FLOATS)
    elif isinstance(value, bytes):
        value = rng.choice(_TEXTS)
    elif isinstance(value, onnx.TensorProto):
        array = numpy_helper.to_array(value)
        value = numpy_helper.from_array(np.resize(array, _resized(array.shape, rng)))
    elif isinstance(value, list) and all(isinstance(each, (int, float)) for each in value):
        value = _listed(value, rng)
    else:
        return ""
    if value == []:
        return ""
    name = attribute.name
    node.attribute[at].CopyFrom(helper.make_attribute(name, value))
    return f"{node.op_type} with {name}={'a tensor' if isinstance(value, onnx.TensorProto) else value}"


def _listed(values: list[Any], rng: random.Random) -> list[Any]:
    found, kind = list(values), rng.randrange(4)
    numbers = _FLOATS if any(isinstance(value, float) for value in values) else _INTS
    if kind == 0 or not found:
        found.append(rng.choice(numbers))
    elif kind == 1:
        del found[rng.randrange(len(found))]
    else:
        at = rng.randrange(len(found))
        found[at] = rng.choice((*numbers, found[at] + 1, found[at] - 1))
    return found


def _operand(model: onnx.ModelProto, rng: random.Random) -> str:
    tensors = [tensor for tensor in model.graph.initializer if tensor.data_type in (6, 7) and np.prod(tensor.dims, dtype=int)]
    if tensors and rng.random() < 0.5:
        tensor = rng.choice(tensors)
        array = numpy_helper.to_array(tensor).copy()
        at = rng.randrange(array.size)
        old = int(array.reshape(-1)[at])
        array.reshape(-1)[at] = np.int64(rng.choice((*_INTS, old + 1, old - 1)) if array.dtype == np.int64 else rng.choice(_INTS[:9]))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        return f"initializer {tensor.name}[{at}] = {array.reshape(-1)[at]}"
    node = _node(model, rng)
    n, kind = len(node.input), rng.randrange(5)
    names = [name for graph in _graphs(model) for each in graph.node for name in each.input if name]
    if n == 0:
        return ""
    at = rng.randrange(n)
    if kind == 0 and n > 1:
        other = rng.randrange(n)
        node.input[at], node.input[other] = node.input[other], node.input[at]
    elif kind == 1:
        node.input[at] = ""
    elif kind == 2:
        del node.input[at]
    elif kind == 3:
        node.input.append(rng.choice(names))
    else:
        node.input[at] = rng.choice(names)
    return f"{node.op_type} of {list(node.input)}"


_KINDS = {"shape": _shape, "type": _type, "attribute": _attribute, "operand": _operand}
