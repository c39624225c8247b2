"""A head's graph: run on columns, or as a stage of the compiled call of a policy."""

from __future__ import annotations

from cervello.native import Model
from cervello.native.execution.chained import Feed, Stage
from cervello.spec import Array

NOISE, FLAGS = Feed("noise"), Feed("flags")


def stage(model: Model, *, int8: frozenset[str] = frozenset(), **feeds: Feed) -> Stage:
    """A head's graph as a stage.

    Args:
      model: the graph.
      int8: results that the graph has as float32.
      feeds: by input; those that are not its inputs are omitted.
    """
    return Stage(model, {name: feed for name, feed in feeds.items() if name in model.inputs}, {name: name for name in model.outputs}, int8)


def run(model: Model, **columns: Array | None) -> dict[str, Array]:
    """Runs a head's graph.

    Args:
      model: the graph.
      columns: [N, …] by input; those that are not its inputs are omitted.
    Returns:
      [N, …] by output.
    """
    return model.run({name: column for name, column in columns.items() if name in model.inputs})
