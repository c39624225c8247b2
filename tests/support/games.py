"""Small policies for games, as ONNX bytes: linear ones, and one that always takes the first or last legal move."""

from __future__ import annotations

import numpy as np
from small_models import FLOAT, dense, graph, node


def linear(width: int, actions: int, name: str = "obs", seed: int = 0) -> bytes:
    """name [N, width] → logits [N, actions]."""
    return graph([node("MatMul", f"{name} w", "logits")], {name: (FLOAT, ("N", width))}, {"logits": (FLOAT, ("N", actions))},
                 {"w": dense(width, actions, seed=seed)})


def preferring(order: list[int], row: tuple[int, ...], name: str = "observation") -> bytes:
    """name [N, *row] → logits [N, K] that prefer actions in this order, by far and whatever is observed."""
    scores = np.zeros((1, len(order)), np.float32)
    scores[0, order] = np.arange(len(order), 0, -1) * 200
    size = int(np.prod(row))
    nodes = [node("Reshape", f"{name} flat", "rows"), node("MatMul", "rows zeros", "nothing"), node("Add", "nothing scores", "logits")]
    return graph(nodes, {name: (FLOAT, ("N", *row))}, {"logits": (FLOAT, ("N", len(order)))},
                 {"flat": np.array([-1, size]), "zeros": np.zeros((size, len(order)), np.float32), "scores": scores})


def motionless(row: tuple[int, ...], width: int, name: str = "observation") -> bytes:
    """name [N, *row] → action [N, width] of zeros."""
    size = int(np.prod(row))
    return graph([node("Reshape", f"{name} flat", "rows"), node("MatMul", "rows zeros", "action")], {name: (FLOAT, ("N", *row))},
                 {"action": (FLOAT, ("N", width))}, {"flat": np.array([-1, size]), "zeros": np.zeros((size, width), np.float32)})


def gaussian(width: int, actions: int, name: str = "obs") -> bytes:
    """name [N, width] → mean and log_std [N, actions]."""
    return graph([node("MatMul", f"{name} w", "mean"), node("MatMul", f"{name} v", "log_std")], {name: (FLOAT, ("N", width))},
                 {"mean": (FLOAT, ("N", actions)), "log_std": (FLOAT, ("N", actions))},
                 {"w": dense(width, actions, seed=0), "v": dense(width, actions, seed=1)})
