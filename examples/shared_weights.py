"""Two policies with a common body and heads of their own: the body's weights are stored once.

    python examples/shared_weights.py

Such files come from fine-tuning: the layers that were frozen are equal, byte for byte, in both.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import cervello

WIDTH, HIDDEN, ACTIONS = 64, 256, 8


def weights(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def export(head_seed: int) -> bytes:
    """A policy obs [N, 64] → action [N, 8]; only the last layer depends on the seed."""
    layers = [(weights(1, WIDTH, HIDDEN), weights(2, HIDDEN)), (weights(3, HIDDEN, HIDDEN), weights(4, HIDDEN)),
              (weights(head_seed, HIDDEN, ACTIONS), weights(head_seed + 1, ACTIONS))]
    nodes, stored, last = [], [], "obs"
    for i, (w, b) in enumerate(layers):
        stored += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        out = "action" if i == len(layers) - 1 else f"h{i}"
        nodes += [helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"z{i}"]), helper.make_node("Tanh", [f"z{i}"], [out])]
        last = out
    graph = helper.make_graph(nodes, "policy", [helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["N", WIDTH])],
                              [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["N", ACTIONS])], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


chaser = cervello.load(export(head_seed=10))
runner = cervello.load(export(head_seed=20), share=chaser)

plan = runner.model.plan(1)
print(f"each policy needs {plan.weight_bytes:,} bytes of weights")
print(f"the second one shares {plan.shared_bytes:,} of them ({plan.shared_bytes / plan.weight_bytes:.0%} saved)")

for policy in (chaser, runner):
    policy.begin_agent("someone")
x = np.ones(WIDTH, np.float32)
print("chaser:", np.round(chaser.infer_single("someone", {"obs": x})["action"][:4], 3))
print("runner:", np.round(runner.infer_single("someone", {"obs": x})["action"][:4], 3))
