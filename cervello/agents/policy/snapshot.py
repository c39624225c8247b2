"""Saves a policy's agents to a snapshot and restores them."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

from cervello.agents.membership.ids import first_duplicate
from cervello.agents.membership.table import AgentTable
from cervello.agents.policy.engine import Engine
from cervello.agents.policy.snapshot_format import Saved, SnapshotWriter
from cervello.errors import AgentError, InputError, SnapshotError
from cervello.spec import AgentId, Array

Buffer = Any  # bytearray, memoryview, numpy array, shared memory: any writable buffer


def save(table: AgentTable, engine: Engine, ids: Sequence[AgentId] | None, out: Buffer | None) -> bytes | memoryview:
    """A snapshot of agents; of all if ids is None. The table does not change meanwhile.

    Returns:
      bytes, or a view of the written part of `out`.
    """
    if ids is None:
        names: Sequence[AgentId] = tuple(table.slots)
        slots = np.fromiter(table.slots.values(), np.int64, len(names))
    else:
        slots = table.slots_of(ids)
        names = [agent if isinstance(agent, str) else int(agent) for agent in ids]
    streams, episodes = table.streams_and_episodes(slots)
    saved = Saved(engine.name, engine.model.structure, engine.stack.kinds, table.seed, ids is None, names, streams, episodes,
                  table.steps[slots], {}, table.past if ids is None else None)
    slabs, others = engine.stack.slabs(), engine.stack.custom_state(slots)
    writer = SnapshotWriter(saved, {**{name: ((len(names), *slab.spec.shape), slab.spec.dtype) for name, slab in slabs.items()},
                              **{name: (array.shape, array.dtype) for name, array in others.items()}})

    def write(target: Array) -> Array:
        for name, window in writer.begin(target).items():
            if name in slabs:
                slabs[name].take(slots, window)
            else:
                window[...] = others[name]
        writer.finish(target)
        return target

    if out is not None:
        return memoryview(write(_target(out, writer.n_bytes)))  # type: ignore[arg-type]
    fresh = BytesIO(bytes(writer.n_bytes))  # returns what was written in place, without another copy
    write(np.frombuffer(fresh.getbuffer(), np.uint8))
    return fresh.getvalue()


def _target(out: Buffer, n_bytes: int) -> Array:
    try:
        view = memoryview(out).cast("B")
    except (TypeError, ValueError) as error:
        raise InputError(f"snapshot, out: expected a contiguous buffer of bytes, got {type(out).__name__}") from error
    if view.readonly or len(view) < n_bytes:
        raise InputError(f"snapshot, out: expected a writeable buffer of at least {n_bytes} bytes, got "
                         f"{'a read-only one' if view.readonly else len(view)}; snapshot() without out says how many it takes now")
    return np.frombuffer(view, np.uint8)[:n_bytes]


def check(saved: Saved, table: AgentTable, engine: Engine) -> Array:
    """[n] uint64, the noise numbers of a snapshot's agents.

    Raises:
      SnapshotError: it is neither of this policy, nor of one that differs in its weights only.
    """
    where = f"policy {engine.name!r}, restore"
    if saved.model != engine.model.structure:
        raise SnapshotError(f"{where}: expected a snapshot of a model with the same graph, inputs and outputs, got one of policy "
                            f"{saved.policy!r} with others; restore it to that policy")
    if saved.seed != table.seed:
        raise SnapshotError(f"{where}: expected a snapshot of seed {table.seed}, got one of seed {saved.seed}, whose noise "
                            f"differs; load the policy with seed={saved.seed}")
    try:
        numbers = table.numbering(saved.ids)
        n = len(set(saved.ids))
    except (AgentError, TypeError) as error:
        raise SnapshotError(f"{where}: expected valid ids of agents, got others: {error}") from error
    if n != len(saved.ids):
        raise SnapshotError(f"{where}: expected distinct agents, got {first_duplicate(saved.ids)!r} twice")
    others = engine.stack.custom_state(np.zeros(0, np.int64))
    expected = {**{name: ((n, *slab.spec.shape), slab.spec.dtype) for name, slab in engine.stack.slabs().items()},
                **{name: ((n, *array.shape[1:]), array.dtype) for name, array in others.items()}}
    found = {name: (array.shape, array.dtype) for name, array in saved.state.items()}
    unknown = [name for name in found if name not in expected]
    for name in [*expected, *unknown]:
        if found.get(name) != expected.get(name):
            raise SnapshotError(f"{where}, state {name!r}: expected {_described(expected.get(name))}, got {_described(found.get(name))}; "
                                "the wrappers differ from those of the policy that was saved")
    if list(saved.wrappers) != engine.stack.kinds:
        raise SnapshotError(f"{where}: expected a snapshot of a policy with the wrappers {engine.stack.kinds}, got one with "
                            f"{list(saved.wrappers)}; load the policy with those")
    return numbers


def _described(what: tuple[tuple[int, ...], np.dtype[Any]] | None) -> str:
    return "none" if what is None else f"{what[0]} {what[1]}"
