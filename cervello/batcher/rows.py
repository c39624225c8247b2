"""Converts columns of results to results by agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cervello.batcher.observation import sole_input
from cervello.spec import Array, Specs


def find_non_leading_axes(specs: Specs) -> dict[str, int | None]:
    """The batch axes of outputs where they are not 0; nearly always empty."""
    return {name: spec.batch_axis for name, spec in specs.items() if spec.batch_axis != 0}


def completed(specs: Specs, columns: Mapping[str, Any], n_rows: int) -> Mapping[str, Any]:
    """Columns completed by the defaults of omitted inputs."""
    left_out = {name: spec for name, spec in specs.items() if spec.default is not None and name not in columns}
    if not left_out:
        return columns
    rows = {name: np.repeat(np.asarray(spec.default)[None], n_rows, axis=0) for name, spec in left_out.items()}
    return {**columns, **rows}


def owned(results: Any, columns: Mapping[str, Array]) -> Any:
    """Results, with copies of those that share memory with `columns`, which the next batch overwrites."""
    for name, array in results.items():
        if array.base is not None and any(np.may_share_memory(array, column) for column in columns.values()):
            results[name] = array.copy()
    return results


class OneRow:
    """Converts one agent's observation to columns of one row, which are views of its arrays. Immutable.

    Args:
      specs: of the inputs.
    """

    __slots__ = ("_ports", "_sole")

    def __init__(self, specs: Specs):
        leading = all(spec.batch_axis == 0 for spec in specs.values())
        self._ports = tuple((spec.name, spec.shape, spec.dtype) for spec in specs.values()) if leading else ()
        self._sole = self._ports[0][0] if len(self._ports) == 1 and sole_input(specs) is not None else None

    def columns(self, observation: Any) -> dict[str, Array] | None:
        """None if some arrays do not fit without conversion."""
        ports = self._ports
        if type(observation) is not dict:
            if self._sole is None or type(observation) is not np.ndarray:
                return None
            observation = {self._sole: observation}
        if len(observation) != len(ports):
            return None
        found = {}
        for name, shape, dtype in ports:
            row = observation.get(name)
            if type(row) is not np.ndarray or row.dtype is not dtype or row.shape != shape:
                return None
            found[name] = row[None]
        return found or None


def first_row(results: Mapping[str, Array], non_leading_axes: Mapping[str, int | None], columns: Mapping[str, Array]) -> dict[str, Array]:
    """The row of results that have one row.

    Args:
      non_leading_axes: as returned by `find_non_leading_axes`.
      columns: inputs; results that share their memory are copied.
    """
    if not non_leading_axes and not columns:
        return {name: column[0] for name, column in results.items()}
    found = {}
    for name, column in results.items():
        if column.base is not None and any(np.may_share_memory(column, other) for other in columns.values()):
            column = column.copy()
        axis = non_leading_axes.get(name, 0)
        found[name] = column if axis is None else column[0] if axis == 0 else np.moveaxis(column, axis, 0)[0]
    return found


def by_agent(ids: tuple[Any, ...], results: Any, non_leading_axes: Mapping[str, int | None]) -> Any:
    """Columns of results as one mapping per agent, of the same type with the same attributes.

    Small rows are copied if there are several, so that an agent's row does not keep the whole batch alive.

    Args:
      results: columns by output, with `like`, `rows` and `split` of `agents.policy.actions.Actions`.
      non_leading_axes: as returned by `find_non_leading_axes`; a value without rows goes to every agent.
    """
    if len(ids) == 1:
        found = results.like()
        if non_leading_axes:
            found[ids[0]] = first_row(results, non_leading_axes, {})
        else:
            found[ids[0]] = {name: column[0] for name, column in results.items()}
        return found
    columns = dict(results)
    for name in non_leading_axes:
        if columns[name].dtype != object:  # see `open_pad.ragged`
            axis = non_leading_axes[name]
            columns[name] = [columns[name]] * len(ids) if axis is None else list(results.rows(np.moveaxis(columns[name], axis, 0)))
        else:
            columns[name] = list(columns[name])
    found = results.split(ids, columns) if ids else None
    if found is not None:
        return found
    names = list(columns)
    if not names:
        return results.like({agent: {} for agent in ids})
    rows = zip(*(column if type(column) is list else results.rows(column) for column in columns.values()), strict=True)
    return results.like({agent: dict(zip(names, row, strict=True)) for agent, row in zip(ids, rows, strict=True)})
