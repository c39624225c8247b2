"""A policy whose agents observe lists of different lengths: with state, noise, and an observation on which it fails."""

from __future__ import annotations

from typing import Any

import numpy as np
from small_models import FLOAT, INT64, dense, graph, node

import cervello
from cervello import Epsilon, Policy, Recurrent

SIZES = {1: 5, 2: 7, 3: 5, "four": 1, 5: 2}


def crowd(limit: int = 10) -> bytes:
    """obs [N, 3], entities [N, n, 3], index [N], h_in [N, 3], epsilon [N, 3] → h_out = h_in + obs + max of the entities, action = h_out +
    epsilon + a table's row, scores [N, n]: fails while running for an index outside the table."""
    constants: dict[str, Any] = {"w": dense(3), "table": np.arange(3 * limit, dtype=np.float32).reshape(limit, 3)}
    nodes = [node("ReduceMax", "entities", "nearest", axes=[1], keepdims=0), node("Add", "obs nearest", "seen"),
             node("Add", "h_in seen", "h_out"), node("Gather", "table index", "row", axis=0), node("Add", "h_out row", "sure"),
             node("Add", "sure epsilon", "action"), node("MatMul", "entities w", "values"), node("Softmax", "values", "scores", axis=1)]
    row = (FLOAT, ("N", 3))
    return graph(nodes, {"obs": row, "entities": (FLOAT, ("N", "n", 3)), "index": (INT64, ("N",)), "h_in": row, "epsilon": row},
                 {"action": row, "scores": (FLOAT, ("N", "n")), "h_out": row}, constants)


def policy(**options: Any) -> Policy:
    found = cervello.load(crowd(), wrappers=[Recurrent(), Epsilon("epsilon")], seed=3, **options)
    found.begin_agents(list(SIZES))
    return found


def observations(step: int = 0, ids: Any = SIZES) -> dict[Any, dict[str, Any]]:
    found = {}
    for i, (agent, size) in enumerate(SIZES.items()):
        random = np.random.default_rng([step, i])
        found[agent] = {"obs": random.standard_normal(3).astype(np.float32), "index": np.int64(i),
                        "entities": random.standard_normal((size, 3)).astype(np.float32)}
    return {agent: found[agent] for agent in ids}


def assert_same(found: Any, expected: Any) -> None:
    assert list(found) == list(expected)
    for agent, outputs in expected.items():
        for name, array in outputs.items():
            assert np.asarray(found[agent][name]).tobytes() == np.asarray(array).tobytes(), (agent, name)


def tokens() -> bytes:
    """tokens [N, n, 3] → their sum [N, 3]; the only input."""
    return graph([node("ReduceSum", "tokens axis", "sum", keepdims=0)], {"tokens": (FLOAT, ("N", "n", 3))}, {"sum": (FLOAT, ("N", 3))},
                 {"axis": np.array([1])})


def columns_of(given: Any, ids: Any = None) -> dict[str, Any]:
    """Observations by agent as columns, entities as an array of type object."""
    rows = [given[agent] for agent in (given if ids is None else ids)]
    found: dict[str, Any] = {"obs": np.array([row["obs"] for row in rows], np.float32).reshape(-1, 3),
                             "index": np.array([row["index"] for row in rows], np.int64), "entities": np.empty(len(rows), object)}
    for i, row in enumerate(rows):
        found["entities"][i] = row["entities"]
    return found


def replaced(column: Any, row: int, value: Any) -> Any:
    """A column with another row."""
    column = column.copy()
    column[row] = value
    return column
