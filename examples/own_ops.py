"""Ops of one's own: a file with a custom domain runs on the planned tier, and a chain of nodes runs as one.

    python examples/own_ops.py

`SquaredRelu` is compiled from the function below, sixteen elements at a time, and taken into the product before it. `Residual` is written
in ops that Cervello has. The pattern on `Mul` finds x * relu(x) in any file and runs it as `SquaredRelu`.
"""

from __future__ import annotations

import numpy as np
import onnx.parser

import cervello
from cervello import ops


@ops.elementwise("com.example", "SquaredRelu", scale=1.0)
def squared_relu(x, scale):  # type: ignore[no-untyped-def]
    positive = ops.select(x > ops.splat(np.float32(0)), x, ops.splat(np.float32(0)))
    return scale * positive * positive


@ops.decompose("com.example", "Residual")
def residual(builder: ops.GraphBuilder) -> bool:
    builder.set_outputs(builder.add("Add", builder.input(0), builder.input(1)))
    return True


@ops.decompose("", "Mul")
def x_times_relu(builder: ops.GraphBuilder) -> bool:
    for x, gate in ((0, 1), (1, 0)):
        maker = builder.maker(gate)
        if maker is not None and maker.op == "Relu" and maker.inputs[0] == builder.input(x):
            builder.set_outputs(builder.add("SquaredRelu", builder.input(x), domain="com.example"))
            return True
    return False


POLICY = """<ir_version: 10, opset_import: ["" : 21, "com.example" : 1]>
policy (float[N, 8] obs) => (float[N, 8] action) {
  h = MatMul(obs, w)
  s = com.example.SquaredRelu<scale: float = 0.5>(h)
  r = Relu(s) m = Mul(r, s)
  action = com.example.Residual(m, obs)
}"""


def policy() -> onnx.ModelProto:
    proto = onnx.parser.parse_model(POLICY)
    weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return proto


def main() -> None:
    proto = policy()
    w = onnx.numpy_helper.to_array(proto.graph.initializer[0])
    model = cervello.Model.load(proto, strict=True)  # strict: every op planned, or an error
    print(model.plan(3))
    obs = np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)
    found = model.run({"obs": obs})["action"]
    s = 0.5 * np.maximum(obs.astype(np.float64) @ w, 0) ** 2
    expected = np.maximum(s, 0) ** 2 + obs
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    print("equal to numpy; steps:", [step.op for step in model.plan(3).steps])


if __name__ == "__main__":
    main()
