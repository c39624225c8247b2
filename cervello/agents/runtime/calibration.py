"""Measures what batches of a policy cost, with synthetic agents, before the first frame."""

from __future__ import annotations

import time

import numpy as np

from cervello.agents.policy.core import Measured, PolicyCore
from cervello.agents.policy.engine import Engine
from cervello.errors import CervelloError

_ROWS = 32
_MAX_S = 0.02  # a batch of many rows takes about this long at most
_GAME_BYTES = 16 << 20  # touched between two batches, to evict caches


def measure(policy: PolicyCore, engine: Engine | None = None) -> Measured | None:
    """Times batches of one row and of several on a clone, so that the policy's agents are unchanged. None if a custom part cannot be
    cloned, or if the policy rejects observations of zeros.

    Args:
      engine: the engine that decides for the policy next; None for the current one.
    """
    clone = policy.clone_without_agents(engine)
    if clone is None:
        return None
    try:
        small_s = _seconds(clone, 1)
        n_rows = max(2, min(_ROWS, int(_MAX_S / small_s)))
        return (1, small_s), (n_rows, _seconds(clone, n_rows))
    except CervelloError:  # the policy rejects observations of zeros
        return None


def _seconds(policy: PolicyCore, n_rows: int) -> float:
    """Seconds of one batch: the median of three, after one warm-up.

    Memory is touched before each batch, as a game does between two frames. Weights then come from a farther cache level than in a loop of
    batches.
    """
    ids = tuple(range(n_rows))
    policy.begin_agents([agent for agent in ids if agent not in policy])
    columns = {name: np.zeros(spec.batched(n_rows), spec.dtype) for name, spec in policy.all_inputs.items()
               if spec.default is None}  # a mask of zeros would allow no action
    game = np.zeros(_GAME_BYTES, np.uint8)
    seconds = []
    for _ in range(4):
        game += 1
        start = time.perf_counter()
        policy.infer_batch(ids, columns, True)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[1]
