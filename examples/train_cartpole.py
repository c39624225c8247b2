"""Finds a CartPole policy by the cross-entropy method and writes examples/cartpole.onnx. Takes seconds; numpy and gymnasium suffice.

    python examples/train_cartpole.py [FILE]

A population of small tanh networks plays at once, each in an environment of its own; the next population is drawn around the best.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model

POPULATION, ELITE, GENERATIONS, EPISODES = 64, 8, 30, 3
SHAPES = {"w1": (4, 8), "b1": (8,), "w2": (8, 2), "b2": (2,)}
SIZE = sum(int(np.prod(shape)) for shape in SHAPES.values())


def unpack(genes: np.ndarray) -> dict[str, np.ndarray]:
    """[P, SIZE] genes as weights [P, ...] by name."""
    edges = np.cumsum([int(np.prod(shape)) for shape in SHAPES.values()])[:-1]
    return {name: part.reshape(len(genes), *shape)
            for (name, shape), part in zip(SHAPES.items(), np.split(genes, edges, axis=1), strict=True)}


def play(envs: gymnasium.vector.VectorEnv, genes: np.ndarray, seed: int) -> np.ndarray:
    """[P] return of one episode for each individual."""
    w = unpack(genes)
    observations, _ = envs.reset(seed=seed)
    returns, alive = np.zeros(len(genes)), np.ones(len(genes), bool)
    while alive.any():
        hidden = np.tanh(np.einsum("pi,pij->pj", observations, w["w1"]) + w["b1"])
        logits = np.einsum("pj,pjk->pk", hidden, w["w2"]) + w["b2"]
        observations, rewards, terminated, truncated, _ = envs.step(logits.argmax(1))
        returns += rewards * alive
        alive &= ~(terminated | truncated)
    return returns


def search(seed: int = 0) -> np.ndarray:
    """[SIZE] genes of a policy that balances the pole."""
    random = np.random.default_rng(seed)
    mean, spread = np.zeros(SIZE), np.ones(SIZE)
    envs = gymnasium.make_vec("CartPole-v1", POPULATION, vectorization_mode="vector_entry_point")
    for generation in range(GENERATIONS):
        genes = mean + spread * random.standard_normal((POPULATION, SIZE))
        returns = np.mean([play(envs, genes, 1000 * generation + k) for k in range(EPISODES)], axis=0)
        best = genes[np.argsort(-returns)[:ELITE]]
        mean, spread = best.mean(0), best.std(0) + 0.3 * 0.85 ** generation
        score = play(envs, np.tile(mean, (POPULATION, 1)), 77).mean()
        print(f"generation {generation:>2}: best {returns.max():5.0f}, mean of the elite's centre {score:5.1f}")
        if score >= 500:
            break
    return mean


def export(genes: np.ndarray, path: Path) -> None:
    """Writes obs [N, 4] → action [N] int64, and the logits [N, 2]."""
    weights = {name: array[0].astype(np.float32) for name, array in unpack(genes[None]).items()}
    nodes = [helper.make_node("Gemm", ["obs", "w1", "b1"], ["z1"]), helper.make_node("Tanh", ["z1"], ["hidden"]),
             helper.make_node("Gemm", ["hidden", "w2", "b2"], ["logits"]),
             helper.make_node("ArgMax", ["logits"], ["action"], axis=1, keepdims=0)]
    graph = helper.make_graph(
        nodes, "cartpole", [helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("action", TensorProto.INT64, ["N"]),
         helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()])
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "cartpole.onnx"
    export(search(), target)
    print(f"wrote {target.name}")
