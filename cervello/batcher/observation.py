"""Checks one agent's observation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cervello.array_like import as_numpy, as_typed, check_names, is_array_like
from cervello.errors import InputError
from cervello.spec import Array, Specs

Observation = Mapping[str, Any]


def sole_input(specs: Specs) -> str | None:
    """The name of the only required input; None if there are several, or none."""
    names = [name for name, spec in specs.items() if spec.default is None]
    return names[0] if len(names) == 1 else None


def checked(specs: Specs, observation: Any, agent: object, policy: str = "") -> dict[str, Array]:
    """One agent's observation as arrays of the right shape.

    Args:
      observation: rows by input; or the row alone, if there is one required input.
      policy: name of the policy for messages.
    Raises:
      InputError: a missing or unknown name, a wrong shape or type; the message names policy, agent and input.
    """
    where = f"policy {policy!r}, agent {agent!r}" if policy else f"agent {agent!r}"
    if type(observation) is not dict and not isinstance(observation, Mapping):
        observation = _as_mapping(specs, observation, where)
    if observation.keys() != specs.keys():
        defaults = {n: spec.default for n, spec in specs.items() if spec.default is not None and n not in observation}
        check_names(where, specs, observation, defaults, "inputs ")
        observation = {**observation, **defaults}
    found = {}
    for name, spec in specs.items():
        row = observation[name]
        if type(row) is not np.ndarray:
            row = as_numpy(f"{where}, input {name!r}", row)
        if row.shape != spec.shape:
            raise InputError(f"{where}, input {name!r}: expected {spec.shape} {spec.dtype}, got {row.shape} {row.dtype}; "
                             f"{spec.shape_remedy}")
        found[name] = row if row.dtype == spec.dtype else as_typed(f"{where}, input {name!r}", row, spec.dtype, spec.is_mask)
    return found


def _as_mapping(specs: Specs, observation: Any, where: str) -> dict[str, Any]:
    """An observation given as a row alone, under the name of the only input."""
    sole = sole_input(specs)
    if sole is not None and is_array_like(observation):
        return {sole: observation}
    wanted = f"a mapping of inputs {list(specs)}" + ("" if sole is None else f", or the row of {sole!r} alone")
    remedy = ""
    if sole is None and is_array_like(observation):
        remedy = "; an array alone is taken by policies with one input only, so say which input it is"
    raise InputError(f"{where}: expected {wanted}, got {type(observation).__name__}{remedy}")
