"""Small policies as ONNX bytes, one per shape of policy that the rooms must carry. Weights come from fixed seeds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
Dims = Sequence[int | str]


def dense(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Normal weights, small enough for tanh to stay alive."""
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * 0.4).astype(np.float32)


def graph(nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, tuple[int, Dims]], outputs: Mapping[str, tuple[int, Dims]],
          constants: Mapping[str, np.ndarray[Any, Any]], name: str = "small") -> bytes:
    """ONNX bytes of a graph."""
    described = [[helper.make_tensor_value_info(key, kind, list(dims)) for key, (kind, dims) in given.items()]
                 for given in (inputs, outputs)]
    stored = [numpy_helper.from_array(np.asarray(data), key) for key, data in constants.items()]
    proto = helper.make_graph(list(nodes), name, described[0], described[1], stored)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node; names are separated by spaces."""
    return helper.make_node(op, inputs.split(" "), outputs.split(" "), **attributes)


def _mlp(into: str, out: str, sizes: Sequence[int], constants: dict[str, np.ndarray[Any, Any]], seed: int = 0) -> list[onnx.NodeProto]:
    nodes = []
    for i, (width, height) in enumerate(itertools.pairwise(sizes)):
        last = i == len(sizes) - 2
        w, b = f"{out}.w{i}", f"{out}.b{i}"
        constants[w], constants[b] = dense(width, height, seed=seed + i), dense(height, seed=seed + i)
        to = out if last else f"{out}.h{i}"
        nodes.append(node("Gemm", f"{into} {w} {b}", f"{to}.z"))
        nodes.append(node("Tanh", f"{to}.z", to))
        into = to
    return nodes


def feed_forward(width: int = 6, hidden: int = 16, actions: int = 3, batch: Dims = ("N",)) -> bytes:
    """obs [N, width] → action [N, actions]."""
    constants: dict[str, Any] = {}
    nodes = _mlp("obs", "action", (width, hidden, hidden, actions), constants)
    return graph(nodes, {"obs": (FLOAT, (*batch, width))}, {"action": (FLOAT, (*batch, actions))}, constants)


def noisy(width: int = 6, actions: int = 3) -> bytes:
    """obs, epsilon → action = mean + 0.1 epsilon."""
    constants: dict[str, Any] = {"scale": np.float32(0.1)}
    nodes = [*_mlp("obs", "mean", (width, 16, actions), constants), node("Mul", "epsilon scale", "step"),
             node("Add", "mean step", "action")]
    inputs = {"obs": (FLOAT, ("N", width)), "epsilon": (FLOAT, ("N", actions))}
    return graph(nodes, inputs, {"action": (FLOAT, ("N", actions))}, constants)


def noise_alone(width: int = 4) -> bytes:
    """obs, epsilon → action = epsilon exactly, as long as obs is finite."""
    nodes = [node("Mul", "obs zero", "nothing"), node("Add", "epsilon nothing", "action")]
    return graph(nodes, {"obs": (FLOAT, ("N", width)), "epsilon": (FLOAT, ("N", width))}, {"action": (FLOAT, ("N", width))},
                 {"zero": np.float32(0)})


def counter() -> bytes:
    """obs [N, 1], h_in [N, 1] → action = h_out = h_in + obs: the sum of all observations of an episode."""
    nodes = [node("Add", "h_in obs", "h_out"), node("Identity", "h_out", "action")]
    column = (FLOAT, ("N", 1))
    return graph(nodes, {"obs": column, "h_in": column}, {"action": column, "h_out": column}, {})


def full(width: int = 6, hidden: int = 8, actions: int = 3) -> bytes:
    """Everything an agent may bring: obs, epsilon, previous action, episode start, bool mask, GRU-like state → action, value, h_out."""
    constants: dict[str, Any] = {"scale": np.float32(0.1), "low": np.float32(-9)}
    constants |= {"wo": dense(width, hidden, seed=1), "wh": dense(hidden, hidden, seed=2), "wp": dense(actions, hidden, seed=3),
                  "ws": dense(1, hidden, seed=4), "wv": dense(hidden, 1, seed=6), "flat": np.array([-1], np.int64)}
    nodes = [
        node("MatMul", "obs wo", "o"), node("MatMul", "h_in wh", "h"), node("MatMul", "prev_action wp", "p"),
        node("MatMul", "start ws", "s"),
        node("Add", "o h", "oh"), node("Add", "p s", "ps"), node("Add", "oh ps", "sum"), node("Tanh", "sum", "h_out"),
        *_mlp("h_out", "mean", (hidden, actions), constants, seed=9),
        node("Mul", "epsilon scale", "e"), node("Add", "mean e", "free"), node("Where", "mask free low", "action"),
        node("MatMul", "h_out wv", "v"), node("Reshape", "v flat", "value")]
    inputs = {"obs": (FLOAT, ("N", width)), "h_in": (FLOAT, ("N", hidden)), "epsilon": (FLOAT, ("N", actions)),
              "prev_action": (FLOAT, ("N", actions)), "start": (FLOAT, ("N", 1)), "mask": (BOOL, ("N", actions))}
    outputs = {"action": (FLOAT, ("N", actions)), "value": (FLOAT, ("N",)), "h_out": (FLOAT, ("N", hidden))}
    return graph(nodes, inputs, outputs, constants)


def recurrent(kind: str = "GRU", width: int = 5, hidden: int = 7, layers: int = 1) -> bytes:
    """A real GRU or LSTM; its state is (layers, N, hidden) as Stable-Baselines3 exports it: the batch lies on axis 1.

    obs [N, width], h_in (, c_in) → action [N, 2], h_out (, c_out).
    """
    gates = {"GRU": 3, "LSTM": 4}[kind]
    states = ["h"] if kind == "GRU" else ["h", "c"]
    constants: dict[str, Any] = {"front": np.array([0], np.int64)}
    nodes = [node("Unsqueeze", "obs front", "x0")]
    n = width
    for state in states:
        if layers > 1:
            nodes.append(node("Split", f"{state}_in", " ".join(f"{state}_in.{k}" for k in range(layers)), axis=0))
    for k in range(layers):
        constants |= {f"w{k}": dense(1, gates * hidden, n, seed=k), f"r{k}": dense(1, gates * hidden, hidden, seed=k + 5),
                      f"b{k}": dense(1, 2 * gates * hidden, seed=k + 9)}
        old = " ".join(f"{s}_in" if layers == 1 else f"{s}_in.{k}" for s in states)
        new = " ".join(f"{s}_out" if layers == 1 else f"{s}_out.{k}" for s in states)
        nodes.append(node(kind, f"x{k} w{k} r{k} b{k}  {old}", f"y{k} {new}", hidden_size=hidden))
        nodes.append(node("Squeeze", f"y{k} one", f"x{k + 1}"))
        constants["one"] = np.array([1], np.int64)
        n = hidden
    for state in states:
        if layers > 1:
            nodes.append(node("Concat", " ".join(f"{state}_out.{k}" for k in range(layers)), f"{state}_out", axis=0))
    nodes.append(node("Squeeze", f"x{layers} front", "top"))
    nodes += _mlp("top", "action", (hidden, 2), constants, seed=31)
    shape = (layers, "N", hidden)
    return graph(nodes, {"obs": (FLOAT, ("N", width)), **{f"{s}_in": (FLOAT, shape) for s in states}},
                 {"action": (FLOAT, ("N", 2)), **{f"{s}_out": (FLOAT, shape) for s in states}}, constants)


def stacked_state(layers: int = 2, hidden: int = 3) -> bytes:
    """A state (layers, N, hidden) that sums observations per layer: layer k adds (k + 1) obs. action = its last layer."""
    constants: dict[str, Any] = {"weights": np.arange(1, layers + 1, dtype=np.float32).reshape(layers, 1, 1),
                                 "front": np.array([0], np.int64), "last": np.array(layers - 1, np.int64)}
    nodes = [node("Unsqueeze", "obs front", "x"), node("Mul", "x weights", "steps"), node("Add", "h_in steps", "h_out"),
             node("Gather", "h_out last", "action", axis=0)]
    shape = (layers, "N", hidden)
    return graph(nodes, {"obs": (FLOAT, ("N", hidden)), "h_in": (FLOAT, shape)},
                 {"action": (FLOAT, ("N", hidden)), "h_out": (FLOAT, shape)}, constants)


def random_normal(width: int = 4) -> bytes:
    """obs → action = obs + normal noise drawn inside the graph."""
    nodes = [node("RandomNormalLike", "obs", "noise"), node("Add", "obs noise", "action")]
    return graph(nodes, {"obs": (FLOAT, ("N", width))}, {"action": (FLOAT, ("N", width))}, {})


def multinomial(width: int = 4) -> bytes:
    """logits → one int64 sample each."""
    nodes = [node("Multinomial", "logits", "action", sample_size=1, dtype=INT64)]
    return graph(nodes, {"logits": (FLOAT, ("N", width))}, {"action": (INT64, ("N", 1))}, {})


def masked_argmax(width: int = 5, actions: int = 4) -> bytes:
    """obs, bool mask → int64 action among the allowed, [N]."""
    constants: dict[str, Any] = {"low": np.float32(-1e9)}
    nodes = [*_mlp("obs", "logits", (width, actions), constants), node("Where", "mask logits low", "allowed"),
             node("ArgMax", "allowed", "action", axis=1, keepdims=0)]
    return graph(nodes, {"obs": (FLOAT, ("N", width)), "mask": (BOOL, ("N", actions))}, {"action": (INT64, ("N",))}, constants)


def lookup(entries: int = 10) -> bytes:
    """int64 index [N] → a row of a table; an index outside it fails while running."""
    table = np.arange(2 * entries, dtype=np.float32).reshape(entries, 2)
    nodes = [node("Gather", "table index", "action", axis=0)]
    return graph(nodes, {"index": (INT64, ("N",))}, {"action": (FLOAT, ("N", 2))}, {"table": table})


def remembered_lookup(entries: int = 10) -> bytes:
    """index, h_in → action (a table's row), h_out = h_in + 1, previous: fails while running for an index outside the table."""
    constants = {"table": np.arange(2 * entries, dtype=np.float32).reshape(entries, 2), "one": np.float32(1), "scale": np.float32(0.5)}
    nodes = [node("Gather", "table index", "row", axis=0), node("Add", "h_in one", "h_out"), node("Mul", "h_in scale", "half"),
             node("Add", "row half", "biased"), node("Add", "biased epsilon", "noisy"), node("Add", "noisy prev", "action")]
    return graph(nodes, {"index": (INT64, ("N",)), "h_in": (FLOAT, ("N", 2)), "epsilon": (FLOAT, ("N", 2)), "prev": (FLOAT, ("N", 2))},
                 {"action": (FLOAT, ("N", 2)), "h_out": (FLOAT, ("N", 2))}, constants)


def rank_one(width: int = 10) -> bytes:
    """Exported without a batch axis: input [width] → action [3]."""
    constants: dict[str, Any] = {"w": dense(width, 3), "b": dense(3)}
    nodes = [node("MatMul", "obs w", "z"), node("Add", "z b", "a"), node("Tanh", "a", "action")]
    return graph(nodes, {"obs": (FLOAT, (width,))}, {"action": (FLOAT, (3,))}, constants)


def one_row_only(width: int = 6) -> bytes:
    """Exported for one row in a way that cannot be freed: the batch is folded into a product. obs [1, width] → action [1, 1]."""
    constants: dict[str, Any] = {"flat": np.array([width], np.int64), "w": dense(width), "shape": np.array([1, 1], np.int64)}
    nodes = [node("Reshape", "obs flat", "row"), node("MatMul", "row w", "dot"), node("Reshape", "dot shape", "action")]
    return graph(nodes, {"obs": (FLOAT, (1, width))}, {"action": (FLOAT, (1, 1))}, constants)


def with_constant_output() -> bytes:
    """obs → action, and `version`, which no input reaches."""
    constants: dict[str, Any] = {"three": np.array([3], np.float32)}
    nodes = [*_mlp("obs", "action", (4, 2), constants), node("Identity", "three", "version")]
    return graph(nodes, {"obs": (FLOAT, ("N", 4))}, {"action": (FLOAT, ("N", 2)), "version": (FLOAT, (1,))}, constants)


def state_named(into: str, out: str) -> bytes:
    """As `counter`, with a state of these names."""
    nodes = [helper.make_node("Add", [into, "obs"], ["sum"]), helper.make_node("Identity", ["sum"], [out]),
             helper.make_node("Identity", ["sum"], ["action"])]
    return graph(nodes, {"obs": (FLOAT, ("N", 2)), into: (FLOAT, ("N", 2))}, {"action": (FLOAT, ("N", 2)), out: (FLOAT, ("N", 2))}, {})


def scaled(data: bytes, factor: float) -> bytes:
    """The same graph with other weights."""
    proto = onnx.load_from_string(data)
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array((array * np.float32(factor)).astype(np.float32), tensor.name))
    return proto.SerializeToString()


def stochastic(width: int = 5, actions: int = 4) -> bytes:
    """obs → logits [N, actions], mean [N, 2] and log_std, a row that all agents share and that no input reaches."""
    constants: dict[str, Any] = {"spread": np.array([-1.0, 0.5], np.float32)}
    nodes = [*_mlp("obs", "logits", (width, actions), constants), *_mlp("obs", "mean", (width, 8, 2), constants, seed=3),
             node("Identity", "spread", "log_std")]
    return graph(nodes, {"obs": (FLOAT, ("N", width))},
                 {"logits": (FLOAT, ("N", actions)), "mean": (FLOAT, ("N", 2)), "log_std": (FLOAT, (2,))}, constants)


def picture(channels: int = 4, size: int = 6) -> bytes:
    """image [N, channels, size, size] → action [N, 3], every element of it weighted."""
    constants: dict[str, Any] = {}
    nodes = [node("Flatten", "image", "flat"), *_mlp("flat", "action", (channels * size * size, 3), constants)]
    return graph(nodes, {"image": (FLOAT, ("N", channels, size, size))}, {"action": (FLOAT, ("N", 3))}, constants)


def fragile() -> bytes:
    """obs [N, 2], h_in [N, 2] → action = log(obs), h_out = h_in + action, count [N, 1] int64: not finite where obs is not positive."""
    nodes = [node("Log", "obs", "action"), node("Add", "h_in action", "h_out"), node("ArgMax", "obs", "count", axis=1)]
    pair = (FLOAT, ("N", 2))
    return graph(nodes, {"obs": pair, "h_in": pair}, {"action": pair, "h_out": pair, "count": (INT64, ("N", 1))}, {})
