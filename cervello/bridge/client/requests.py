"""The parameters of each method, for both clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.bridge.client.columns import Columns, Flags, Ids, flags_of, ids_of, streams_of
from cervello.errors import InputError
from cervello.spec import Array


def begin(columns: Columns, agents: Ids, streams: Sequence[int] | Array | None) -> dict[str, Any]:
    ids = ids_of(agents)
    found: dict[str, Any] = {"policy": columns.name, "agents": ids}
    if streams is not None:
        found["streams"] = streams_of(streams, len(ids))
    return found


def infer(columns: Columns, agents: Ids, inputs: Mapping[str, Any], begin: bool, deterministic: Flags, deadline_us: int,
          outputs: Sequence[str] | None, tick: int | None) -> dict[str, Any]:
    ids = ids_of(agents)
    found: dict[str, Any] = {"policy": columns.name, "agents": ids, "inputs": columns.packed("input", columns.inputs, inputs, len(ids))}
    missing = [name for name, port in columns.inputs.items() if name not in found["inputs"] and not port.optional]
    if missing:
        raise InputError(f"policy {columns.name!r}, inputs: expected {list(columns.inputs)}, got none for {missing}")
    if begin:
        found["begin"] = True
    if deterministic is not False:
        found["deterministic"] = flags_of("deterministic", deterministic, len(ids))
    if deadline_us:
        found["deadline_us"] = int(deadline_us)
    if outputs is not None:
        found["outputs"] = list(outputs)
    if tick is not None:
        found["tick"] = int(tick)
    return found


def reward(columns: Columns, agents: Ids, rewards: Any, actions: Mapping[str, Any] | None, tick: int | None) -> dict[str, Any]:
    ids = ids_of(agents)
    values = np.asarray(rewards)
    if values.shape != (len(ids),) or values.dtype.kind not in "fiub":
        raise InputError(f"policy {columns.name!r}, reward: expected {len(ids)} numbers, got {values.dtype} {values.shape}")
    found: dict[str, Any] = {"policy": columns.name, "agents": ids, "reward": values.astype("<f4").tobytes()}
    if actions is not None:
        found["actions"] = columns.packed("action", columns.outputs, actions, len(ids))
    if tick is not None:
        found["tick"] = int(tick)
    return found


def end(columns: Columns, agents: Ids, terminated: Flags, truncated: Flags, inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    ids = ids_of(agents)
    found: dict[str, Any] = {"policy": columns.name, "agents": ids}
    for name, given in (("terminated", terminated), ("truncated", truncated)):
        if given is not False:
            found[name] = flags_of(name, given, len(ids))
    if inputs is not None:
        found["inputs"] = columns.packed("input", columns.inputs, inputs, len(ids))
    return found
