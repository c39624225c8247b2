"""`cwpdis`: consistent weighted per-decision importance sampling."""

from __future__ import annotations

import numpy as np

from cervello.errors import ConfigurationError
from cervello.evaluation.moments import Moments, divided, step_weights
from cervello.evaluation.table import Table
from cervello.spec import Array

CARRY, ALIVE = "carry-forward", "alive-only"


def cwpdis(table: Table, ragged: str = CARRY, log_weight: Array | None = None) -> Moments:
    """Σₜ γᵗ Σᵢ ρᵢₜ rᵢₜ / Σᵢ ρᵢₜ.

    Args:
      ragged: "carry-forward": an episode that has ended keeps its last weight, with reward 0. "alive-only": it is left out of both sums;
        here to reproduce other libraries: with π = b it estimates no mean return where lengths differ.
      log_weight: [n, L] in place of the table's products.
    Source: P. Thomas, "Safe reinforcement learning", dissertation, University of Massachusetts Amherst 2015, section 3.7.
    """
    if ragged not in (CARRY, ALIVE):
        raise ConfigurationError(f"evaluation, ragged: expected {CARRY!r} or {ALIVE!r}, got {ragged!r}")
    weight = step_weights(table.log_weight if log_weight is None else log_weight)
    alive = table.by_unit(table.alive.astype(np.float64)) if ragged == ALIVE else None
    counted = weight * table.alive if ragged == ALIVE else weight
    up, down = table.by_unit(weight * table.reward), table.by_unit(counted)
    L, discount = table.n_steps, table.discount[:-1]
    columns = np.concatenate([up, down] if alive is None else [up, down, alive], 1)

    def combine(sums: Array) -> Array:
        steps = divided(sums[:, :L], sums[:, L:2 * L])
        if alive is not None:  # a step that no episode of the resample has
            steps = np.where(sums[:, 2 * L:] == 0, 0.0, steps)
        return np.asarray((discount * steps).sum(1))

    total = down.sum(0)
    if (total <= 0).any():
        return Moments(columns, combine, None, no_weight(total))
    influence = (discount * (up - up.sum(0) / total * down) / (total / len(up))).sum(1)
    notes = ("alive-only: an estimate of mean return only where all episodes have one length",) if ragged == ALIVE else ()
    return Moments(columns, combine, influence, None, notes)


def no_weight(total: Array) -> str:
    """Why a step without weight leaves nothing to say.

    Args:
      total: [L] weight of each step.
    """
    last = int(np.argmax(total <= 0))
    return (f"no weight from step {last} on: the policy does nothing of what was logged; try horizon={last}, or log more"
            if last else "no weight at any step: the policy does nothing of what was logged; log its own actions")
