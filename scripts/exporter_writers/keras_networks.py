"""Networks of Keras by tf2onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
import tf2onnx
from cases import attempt, progress
from tensorflow.keras import Input, Model, Sequential, layers

OPSETS = (11, 13, 15, 17, 18)  # tf2onnx 1.16 writes none above 18


def networks() -> dict[str, tuple[Any, dict[str, tuple[int, ...]]]]:
    """Kinds: a model and the shape of one agent's row, by input."""
    obs, picture, history = {"obs": (8,)}, {"obs": (16, 16, 3)}, {"obs": (5, 8)}

    def stateful(cell: Any, n_states: int) -> Any:
        seen, held = Input((8,)), [Input((16,)) for _ in range(n_states)]
        out, after = cell(seen, held)
        return Model([seen, *held], [layers.Dense(3)(out), *after])

    return {
        "MLP": (Sequential([Input((8,)), layers.Dense(32, "relu"), layers.LayerNormalization(), layers.Dense(3)]), obs),
        "CNN": (Sequential([Input((16, 16, 3)), layers.Conv2D(8, 4, 2, activation="relu"), layers.Conv2D(8, 3, activation="relu"),
                            layers.Flatten(), layers.Dense(3)]), picture),
        "LSTM over a history": (Sequential([Input((5, 8)), layers.LSTM(16), layers.Dense(3)]), history),
        "GRU over a history": (Sequential([Input((5, 8)), layers.GRU(16), layers.Dense(3)]), history),
        "LSTMCell, state outside": (stateful(layers.LSTMCell(16), 2), {"obs": (8,), "h_in": (16,), "c_in": (16,)}),
        "GRUCell, state outside": (stateful(layers.GRUCell(16), 1), {"obs": (8,), "h_in": (16,)}),
    }


def write(name: str, folder: Path) -> list[dict[str, Any]]:
    tf.random.set_seed(0)
    cases = []
    for kind, (model, shapes) in networks().items():
        progress(kind)
        for batch, rows in (("free", None), ("baked", 1)):
            signature = tuple(tf.TensorSpec((rows, *shape), tf.float32, name=name) for name, shape in shapes.items())

            @tf.function(input_signature=signature)
            def decide(*given: Any, model: Any = model) -> Any:
                return model(given if len(given) > 1 else given[0])

            for opset in OPSETS:
                cases.append(attempt(folder, kind, batch, opset, lambda path, decide=decide, opset=opset, signature=signature:
                                     tf2onnx.convert.from_function(decide, signature, opset=opset, output_path=str(path))))
    return cases
