"""Finds the agent whose row makes a batch fail, for the message of the error."""

from __future__ import annotations

import numpy as np

from cervello.agents.membership.table import AgentTable
from cervello.errors import CervelloError, ExecutionError
from cervello.inferers.base import ModelInferer
from cervello.spec import Array, Specs, View


def name_agent(error: ExecutionError, inferer: ModelInferer, view: View, table: AgentTable) -> None:
    """Puts the first agent whose row fails in front of the message of an error.

    The batch runs again in halves: a row has the same bits in any batch, so it fails in any. A batch of N rows costs about N rows more.

    Args:
      error: of `inferer.infer_raw(view)`.
      view: its inputs are the model's.
      table: the agents of the batch.
    """
    first, end = 0, view.n_rows
    while end - first > 1:
        middle = (first + end) // 2
        first, end = (first, middle) if _fails(inferer, view, first, middle) else (middle, end)
    if view.n_rows == 1 or _fails(inferer, view, first, end):
        slot = int(view.slots[first])
        agent = next((repr(agent) for agent, own in list(table.slots.items()) if own == slot), None)
        message = str(error).removeprefix(f"policy {inferer.model.name!r}, ")
        error.args = f"row {first}, {message}" if agent is None else f"agent {agent}, {message}", *error.args[1:]


def _fails(inferer: ModelInferer, view: View, first: int, end: int) -> bool:
    """Whether rows [first, end) fail without the others."""
    flags = None if view.deterministic is None else view.deterministic[first:end]
    inputs = _rows_of(inferer.raw_inputs, view.inputs, first, end)
    try:
        inferer.infer_raw(View(end - first, view.slots[first:end], inputs, {}, view.agents, flags))
    except CervelloError:  # a user's kernel may fail otherwise in another batch
        return True
    return False


def _rows_of(specs: Specs, columns: dict[str, Array], first: int, end: int) -> dict[str, Array]:
    """Rows [first, end) of every column; an input without rows is left as it is."""
    return {name: columns[name] if spec.batch_axis is None
            else np.asarray(columns[name])[(slice(None),) * spec.batch_axis + (slice(first, end),)] for name, spec in specs.items()}
