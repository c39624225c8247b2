"""`cwpdis`: consistent weighted per-decision importance sampling."""

from __future__ import annotations

import numpy as np

from cervello.errors import ConfigurationError
from cervello.evaluation.moments import Moments, blocks_of, columns_of, divided, sum_of
from cervello.evaluation.table import AnyTable, Table, largest_log_weight
from cervello.spec import Array

CARRY, ALIVE = "carry-forward", "alive-only"


def cwpdis(table: AnyTable, ragged: str = CARRY) -> Moments:
    """Σₜ γᵗ Σᵢ ρᵢₜ rᵢₜ / Σᵢ ρᵢₜ.

    Args:
      ragged: "carry-forward": an episode that has ended keeps its last weight, with reward 0. "alive-only": it is left out of both sums;
        here to reproduce other libraries: with π = b it estimates no mean return where lengths differ.
    Source: P. Thomas, "Safe reinforcement learning", dissertation, University of Massachusetts Amherst 2015, section 3.7.
    """
    if ragged not in (CARRY, ALIVE):
        raise ConfigurationError(f"evaluation, ragged: expected {CARRY!r} or {ALIVE!r}, got {ragged!r}")
    top = largest_log_weight(table)

    L, discount = table.n_steps, table.discount[:-1]

    def rows(block: Table) -> Array:
        weight = block.step_weight(top)
        found = np.empty((block.n, (3 if ragged == ALIVE else 2) * L))
        np.multiply(weight, block.reward, out=found[:, :L])
        if ragged == ALIVE:
            np.multiply(weight, block.alive, out=found[:, L:2 * L])
            found[:, 2 * L:] = block.alive
        else:
            found[:, L:] = weight
        return block.by_unit(found)

    columns = columns_of(table, rows)

    def combine(sums: Array) -> Array:
        steps = divided(sums[:, :L], sums[:, L:2 * L])
        if ragged == ALIVE:  # a step that no episode of the resample has
            steps = np.where(sums[:, 2 * L:] == 0, 0.0, steps)
        return np.asarray((discount * steps).sum(1))

    sums = sum_of(columns)
    paid, total = sums[:L], sums[L:2 * L]
    if (total <= 0).any():
        return Moments(columns, combine, None, no_weight(total))
    factor, mean = discount / (total / len(columns)), paid / total

    def moved(block: Array) -> Array:
        by = mean * block[:, L:2 * L]
        np.subtract(block[:, :L], by, out=by)
        by *= factor
        return np.asarray(by.sum(1))

    influence = np.concatenate([moved(block) for block in blocks_of(columns)])
    notes = ("alive-only: an estimate of mean return only where all episodes have one length",) if ragged == ALIVE else ()
    return Moments(columns, combine, influence, None, notes)


def no_weight(total: Array) -> str:
    """Why a step without weight leaves nothing to say.

    Args:
      total: [L] weight of each step.
    """
    last = int(np.argmax(total <= 0))
    return (f"no weight from step {last} on: the policy does nothing of what was logged; try horizon={last} (--horizon {last} on the "
            "command line), or log more"
            if last else "no weight at any step: the policy does nothing of what was logged; log its own actions")
