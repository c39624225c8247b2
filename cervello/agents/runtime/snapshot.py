"""Serialized runtime: the snapshots of its policies, queued observations and levels of detail.

    "CRVR"  u16 version  u16 0  u64 total length  u64 checksum of the rest  u32 0
    msgpack {frame, brains: [{name, policy, waiting, resting, levels, phases, held, last_frame}]}; arrays are [dtype, shape, bytes],
    and [null, rows] of an input whose size may differ between agents
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import msgpack
import numpy as np

from cervello.agents.membership.ids import check_id_types
from cervello.agents.policy import snapshot_format
from cervello.agents.policy.core import PolicyCore
from cervello.agents.runtime import level_of_detail
from cervello.agents.runtime.level_of_detail import LevelOfDetail
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.batcher.open_pad import is_ragged, ragged
from cervello.errors import CervelloError, ConfigurationError, SnapshotError
from cervello.spec import AgentId, Array

MAGIC, VERSION = b"CRVR", 2
_TRIES = 100


def save(frame: int, policy_queues: Sequence[PolicyQueue], lock: AbstractContextManager[object]) -> bytes:
    """Serializes all state that later frames depend on.

    Args:
      lock: of the queues; released while policies are saved, which calls hooks.
    """
    for _ in range(_TRIES):
        membership_versions = [policy_queue.policy.membership_version for policy_queue in policy_queues]
        policies = [bytes(policy_queue.policy.snapshot()) for policy_queue in policy_queues]
        with lock:
            # Otherwise another thread has begun or ended agents in between.
            if membership_versions == [policy_queue.policy.membership_version for policy_queue in policy_queues]:
                saved = [_saved(policy_queue, policy) for policy_queue, policy in zip(policy_queues, policies, strict=True)]
                body: bytes = msgpack.packb({"frame": frame, "brains": saved}, unicode_errors="surrogatepass")
                return snapshot_format.sealed(MAGIC, VERSION, body)
    raise ConfigurationError(f"runtime, snapshot: expected no agent to begin or end meanwhile, got changes by other threads in {_TRIES} "
                             "tries; call it while no other thread begins or ends agents")


def _saved(policy_queue: PolicyQueue, agents: bytes) -> dict[str, Any]:
    """Leaves out agents that ended or restarted without the runtime's knowledge, as the next frame would."""
    wait_queue, policy = policy_queue.wait_queue, policy_queue.policy
    queue, levels = wait_queue.queue, policy_queue.levels
    generations = queue.generations
    stale = {agent for (agent, generation), now in zip(generations.items(), policy.generations(list(generations)),
                                                       strict=True) if generation != now}
    kept = [row for row, agent in enumerate(generations) if agent not in stale]
    ids = [agent for agent in generations if agent not in stale]
    rows = [array[kept] if stale else array for array in queue.rows(len(generations)).values()]

    def active(agents: Iterable[AgentId]) -> list[AgentId]:
        return [agent for agent in agents if agent in policy and agent not in stale]

    return {
        "name": policy_queue.name,
        "policy": agents,
        "waiting": {"ids": _plain(ids), "since": [wait_queue.enqueued_frame[agent] for agent in ids],
                    "deterministic": [agent in policy_queue.deterministic for agent in ids],
                    "rows": [[None, [_packed(row) for row in array]] if is_ragged(array) else _packed(array) for array in rows]},
        "resting": _plain(active(levels.not_due)),
        "levels": [[*_plain([agent]), level.interval_frames, level.phase, level.priority, level.hold, level.next_frame]
                   for agent, level in ((agent, levels.by_agent[agent]) for agent in active(levels.by_agent))],
        "phases": list(levels.phases.items()),
        "held": [[*_plain([agent]), [[name, *_packed(row)] for name, row in levels.held[agent].items()]] for agent in active(levels.held)],
        "last_frame": policy_queue.last_frame,
    }


def _plain(ids: Iterable[AgentId]) -> list[AgentId]:
    """Ids as Python ints and strings: numpy's compare equal but cannot be packed."""
    return [str(agent) if isinstance(agent, str) else int(agent) for agent in ids]


def restore(given: Any, policy_queues: Sequence[PolicyQueue], lock: AbstractContextManager[object]) -> int:
    """Restores a snapshot; returns the number of the next frame.

    Args:
      lock: as in `save`.
    Raises:
      SnapshotError: damaged bytes, or those of another runtime; nothing has changed then.
    """
    body = snapshot_format.unsealed(given, MAGIC, VERSION, "Runtime.snapshot()")
    try:
        saved = msgpack.unpackb(body, strict_map_key=True, unicode_errors="surrogatepass")
        entries = saved["brains"]
        frame: int = saved["frame"]
        names = [entry["name"] for entry in entries]
        if names != [policy_queue.name for policy_queue in policy_queues]:
            known = [policy_queue.name for policy_queue in policy_queues]
            raise SnapshotError(f"runtime, restore: expected a snapshot of the policies {known}, got one of {names}; "
                                "add the same ones in the same order")
        _check_frames([frame])
        ready = [_checked(policy_queue, entry) for policy_queue, entry in zip(policy_queues, entries, strict=True)]
    except SnapshotError:
        raise
    except (CervelloError, AttributeError, LookupError, OverflowError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise SnapshotError(f"runtime, restore: expected what Runtime.snapshot() returned, got bytes that fail with "
                            f"{type(error).__name__}: {error}") from error
    _restore_policies(policy_queues, [entry["policy"] for entry in entries], lock)
    with lock:
        for policy_queue, entry, rows in zip(policy_queues, entries, ready, strict=True):
            _put(policy_queue, entry, rows)
    return frame


def _restore_policies(policy_queues: Sequence[PolicyQueue], states: Sequence[Any], lock: AbstractContextManager[object]) -> None:
    """Restores all policies or none, also when a user's hook fails."""
    policies = [policy_queue.policy for policy_queue in policy_queues]
    undo = [policy.snapshot() for policy in policies]
    membership_versions = [policy.membership_version for policy in policies]
    with lock:
        waited = [dict(policy_queue.wait_queue.queue.generations) for policy_queue in policy_queues]
    generations = [policy.generations(list(pushed)) for policy, pushed in zip(policies, waited, strict=True)]
    levels_of = [policy.generations(list(policy_queue.levels.by_agent))
                 for policy, policy_queue in zip(policies, policy_queues, strict=True)]
    try:
        for policy, state in zip(policies, states, strict=True):
            policy.restore(state)
    except BaseException:
        for policy_queue, state, before, pushed, then, level_generations in zip(policy_queues, undo, membership_versions, waited,
                                                                                generations, levels_of, strict=True):
            if policy_queue.policy.membership_version != before:  # also a policy whose agents were restored when a hook failed at an end
                with suppress(Exception):  # the first error is raised
                    policy_queue.policy.restore(state)
                # A waiting agent gets its current generation. The next frame still has to find one that had ended or restarted.
                now = policy_queue.policy.generations(list(pushed))
                fresh = {agent: (was, generation) for agent, was, generation in zip(pushed, then, now,
                                                                                    strict=True) if generation is not None}
                with lock:
                    queue = policy_queue.wait_queue.queue
                    queue.shut()  # compiled pushes write to the present `generations` dict, which is replaced below
                    queue.generations = {agent: fresh[agent][1] if agent in fresh and fresh[agent][0] == generation else generation
                                         for agent, generation in queue.generations.items()}
                levels = policy_queue.levels.by_agent
                for level, was, current in zip(levels.values(), level_generations, policy_queue.policy.generations(list(levels)),
                                               strict=True):
                    if level.generation == was:
                        level.generation = current
        raise


def _checked(policy_queue: PolicyQueue, entry: Any) -> dict[str, Array]:
    """The queued rows, if everything in an entry fits the policy."""
    waiting = entry["waiting"]
    ids, specs = waiting["ids"], policy_queue.policy.all_inputs
    rows = {name: _unpacked(*packed) if packed[0] is not None else ragged([_unpacked(*row) for row in packed[1]])
            for name, packed in zip(specs, waiting["rows"], strict=True)}
    for name, spec in specs.items():
        plain = rows[name].shape == (len(ids), *spec.shape) and rows[name].dtype == spec.kept_dtype(rows[name].dtype)
        if not plain and not (spec.open_axes and is_ragged(rows[name]) and len(rows[name]) == len(ids)):
            raise ValueError(f"rows of {name!r}, {rows[name].shape} {rows[name].dtype}")
    _check_ragged(policy_queue.policy, ids, rows)
    for what in ("since", "deterministic"):
        if len(waiting[what]) != len(ids):
            raise ValueError(f"{what} of {len(waiting[what])} for {len(ids)} agents")
    if not all(type(flag) is bool for flag in waiting["deterministic"]):
        raise ValueError("deterministic flags that are not bools")
    held = [agent for agent, _ in entry["held"]]
    with_level = [level[0] for level in entry["levels"]]
    saved = policy_queue.policy.membership.checked(entry["policy"])
    for agents in (ids, entry["resting"], with_level, held):
        if type(agents) is not list or len(set(agents)) != len(agents):
            raise ValueError("duplicate agents")
        check_id_types(agents)
        if not saved.whole or not set(agents) <= set(saved.ids):
            raise ValueError("agents that have not begun")
    if not set(held) <= set(with_level):
        raise ValueError("held decisions of agents without a level")
    _check_levels(policy_queue.policy, entry)
    _check_frames([*waiting["since"], entry["last_frame"] + 1])
    return rows


def _check_levels(policy: PolicyCore, entry: Any) -> None:
    """Raises ValueError, or ConfigurationError, unless the levels of an entry are valid and its held decisions fit the policy."""
    for _, every, phase, priority, hold, next_frame in entry["levels"]:
        level_of_detail.check("runtime, restore", every, priority, hold)
        _check_frames([phase, every - 1 - phase])
        if type(next_frame) is not int or abs(next_frame) >= 1 << 62:  # negative if the level has changed before the agent's first decision
            raise ValueError(f"a next frame of {next_frame!r}")
    for _, outputs in entry["held"]:
        if [name for name, *_ in outputs] != list(policy.outputs):
            raise ValueError("held decisions with other outputs")
        for name, *packed in outputs:
            spec, row = policy.outputs[name], _unpacked(*packed)
            if not spec.admits(row.shape) or row.dtype != spec.kept_dtype(row.dtype):
                raise ValueError(f"held {name!r} of {row.shape} {row.dtype}")
    for every, phase in entry["phases"]:
        _check_frames([every, phase, every - 1 - phase])
    if len({every for every, _ in entry["phases"]}) != len(entry["phases"]):
        raise ValueError("two phases for one interval")


def _check_ragged(policy: PolicyCore, ids: Sequence[AgentId], rows: Mapping[str, Array]) -> None:
    """Raises ValueError, or InputError, unless rows that may differ in size have sizes that the policy accepts."""
    names = [name for name, column in rows.items() if is_ragged(column)]
    for row, agent in enumerate(ids if names else ()):
        observation = {name: column[row] for name, column in rows.items()}
        specs = policy.inputs_for(agent, observation)
        for name in names:
            found = observation[name]
            if found.shape != specs[name].shape or found.dtype != specs[name].kept_dtype(found.dtype):
                raise ValueError(f"a row of {name!r}, {found.shape} {found.dtype}")


def _check_frames(numbers: Sequence[Any]) -> None:
    """Raises ValueError unless all are valid frame numbers."""
    for number in numbers:
        if type(number) is not int or not 0 <= number < 1 << 62:
            raise ValueError(f"an invalid frame number {number!r}")


def _put(policy_queue: PolicyQueue, entry: Any, rows: dict[str, Array]) -> None:
    """Replaces the runtime's state of a policy by that of a checked entry."""
    waiting = entry["waiting"]
    ids = waiting["ids"]
    policy_queue.last_frame = entry["last_frame"]
    policy_queue.fill(ids, waiting["since"], rows)
    policy_queue.deterministic = {agent for agent, flag in zip(ids, waiting["deterministic"], strict=True) if flag}
    generations = policy_queue.policy.generations([level[0] for level in entry["levels"]])
    levels = policy_queue.levels
    levels.not_due = dict.fromkeys(entry["resting"])
    levels.by_agent = {agent: LevelOfDetail(every, phase, float(priority), hold, next_frame, generation)
                       for (agent, every, phase, priority, hold, next_frame), generation in zip(entry["levels"], generations, strict=True)}
    levels.phases = dict(entry["phases"])
    levels.held = {agent: {name: _unpacked(*packed) for name, *packed in rows} for agent, rows in entry["held"]}


def _packed(array: Any) -> list[Any]:
    plain = np.ascontiguousarray(array)
    return [plain.dtype.newbyteorder("<").str, list(np.shape(array)), plain.tobytes()]


def _unpacked(kind: Any, shape: Any, data: Any) -> Array:
    dtype = np.dtype(kind)
    if dtype.kind not in "fiub" or not isinstance(data, bytes):
        raise ValueError(f"an array of {kind!r}")
    return np.frombuffer(data, dtype).reshape(tuple(shape)).copy()
