"""Batches through a custom inferer, as many rows at a time as it selects."""

from __future__ import annotations

from typing import Any

import numpy as np

from cervello.errors import ExecutionError
from cervello.spec import Array, Inferer, Specs, View
from cervello.wrappers.column_checks import check_columns


def run_selected(policy: str, inferer: Inferer, view: View) -> None:
    """Calls `infer_raw` with as many rows at a time as `select_batch_size` selects from the remaining ones.

    Raises:
      ExecutionError: an impossible number of rows, or outputs that do not fit.
    """
    first, n_rows = 0, view.n_rows
    parts: list[tuple[slice, dict[str, Array]]] = []
    while first < n_rows:
        selected: Any = inferer.select_batch_size(n_rows - first)
        if isinstance(selected, bool) or not isinstance(selected, (int, np.integer)) or not 1 <= selected <= n_rows - first:
            raise ExecutionError(f"policy {policy!r}, inferer {inferer!r}: expected select_batch_size({n_rows - first}) to give 1 to "
                                 f"{n_rows - first}, got {selected!r}")
        if selected == n_rows:
            inferer.infer_raw(view)
            return
        rows = slice(first, first + int(selected))
        flags = None if view.deterministic is None else view.deterministic[rows]
        part = View(int(selected), view.slots[rows], _part(inferer.raw_inputs, view.inputs, rows), {}, view.agents, flags)
        inferer.infer_raw(part)
        check_columns(f"inferer {inferer!r}", "output", inferer.raw_outputs, part.outputs, part.n_rows, "infer_raw must fill view.outputs")
        parts.append((rows, part.outputs))
        first = rows.stop
    for name, spec in inferer.raw_outputs.items():
        axis = spec.batch_axis
        view.outputs[name] = parts[-1][1][name] if axis is None else np.concatenate([found[name] for _, found in parts], axis)


def _part(specs: Specs, columns: dict[str, Array], rows: slice) -> dict[str, Array]:
    """Some rows of columns."""
    return {name: column if specs[name].batch_axis is None else column[(slice(None),) * (specs[name].batch_axis or 0) + (rows,)]
            for name, column in columns.items()}
