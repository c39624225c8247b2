"""Random observations for commands that run a policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cervello.spec import AgentId, Specs, TensorSpec

_MOST_BATCHES = 16  # in rotation, so that no call finds its own input in the cache
_MOST_BYTES = 1 << 28


def batches(specs: Specs, n_rows: int, most: int, seed: int) -> list[dict[str, Any]]:
    """Batches of random columns, at least one and at most `most`; fewer where they would fill the memory."""
    import numpy as np

    random = np.random.default_rng(seed)
    one = _batch(random, specs.values(), n_rows)
    n_bytes = max(1, sum(column.nbytes for column in one.values()))
    count = max(1, min(most, _MOST_BATCHES, _MOST_BYTES // n_bytes))
    return [one] + [_batch(random, specs.values(), n_rows) for _ in range(count - 1)]


def by_agent(specs: Specs, batch: Mapping[str, Any], n_rows: int) -> dict[AgentId, dict[str, Any]]:
    """The rows of a batch, as observations by agent 0 … n_rows - 1; an input without rows is the same for all agents."""
    import numpy as np

    rows = {name: [batch[name]] * n_rows if spec.batch_axis is None else np.moveaxis(batch[name], spec.batch_axis, 0)
            for name, spec in specs.items()}
    return {agent: {name: column[agent] for name, column in rows.items()} for agent in range(n_rows)}


def _batch(random: Any, specs: Iterable[TensorSpec], n_rows: int) -> dict[str, Any]:
    return {spec.name: _column(random, spec, n_rows) for spec in specs}


def _column(random: Any, spec: TensorSpec, n_rows: int) -> Any:
    """Standard normal numbers; 0 or 1 for integers, which may be indices; all true for bools, which are mostly masks."""
    import numpy as np

    shape = spec.batched(n_rows)
    if spec.dtype.kind == "f":
        return random.standard_normal(shape, np.float32).astype(spec.dtype, copy=False)
    if spec.dtype.kind == "b":
        return np.ones(shape, spec.dtype)
    return random.integers(0, 2, shape).astype(spec.dtype)
