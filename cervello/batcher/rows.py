"""From columns of results back to agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cervello.spec import Array, Specs


def odd_axes(specs: Specs) -> dict[str, int | None]:
    """The batch axis of outputs whose rows do not lie in front; nearly always empty."""
    return {name: spec.batch_axis for name, spec in specs.items() if spec.batch_axis != 0}


def completed(specs: Specs, columns: Mapping[str, Any], n_rows: int) -> Mapping[str, Any]:
    """Columns with those added that were left out and have a default."""
    left_out = {name: spec for name, spec in specs.items() if spec.default is not None and name not in columns}
    if not left_out:
        return columns
    rows = {name: np.repeat(np.asarray(spec.default)[None], n_rows, axis=0) for name, spec in left_out.items()}
    return {**columns, **rows}


def owned(results: Any, columns: Mapping[str, Array]) -> Any:
    """Results, with copies of those that lie in the memory of `columns`, which the next batch overwrites."""
    for name, array in results.items():
        if array.base is not None and any(np.may_share_memory(array, column) for column in columns.values()):
            results[name] = array.copy()
    return results


def by_agent(ids: tuple[Any, ...], results: Any, odd: Mapping[str, int | None]) -> Any:
    """Columns of results as one mapping per agent, of the same type with the same attributes.

    Args:
      odd: as `odd_axes` says; what has no rows goes to every agent.
    """
    names, columns = list(results), list(results.values())
    for i, name in enumerate(names):
        if name in odd:
            axis = odd[name]
            columns[i] = [columns[i]] * len(ids) if axis is None else np.moveaxis(columns[i], axis, 0)
    if len(names) == 1:
        name = names[0]
        split = {agent: {name: row} for agent, row in zip(ids, columns[0], strict=True)}
    elif len(names) == 2:
        name, other = names
        split = {agent: {name: row, other: more} for agent, row, more in zip(ids, *columns, strict=True)}
    elif names:
        rows = zip(*columns, strict=True)
        split = {agent: dict(zip(names, row, strict=True)) for agent, row in zip(ids, rows, strict=True)}
    else:
        split = {agent: {} for agent in ids}
    return results.like(split)
