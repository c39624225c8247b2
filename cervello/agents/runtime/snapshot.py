"""A runtime as bytes: the snapshots of its policies, and what waits between them and the frames.

    "CRVR"  u16 version  u16 0  u64 length of everything  u64 checksum of what follows  u32 0
    msgpack {frame, brains: [{name, policy, waiting, levels, phases, held}]}; arrays are [dtype, shape, bytes]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import msgpack
import numpy as np

from cervello.agents.membership.ids import check_kinds
from cervello.agents.policy import snapshot_format
from cervello.agents.runtime import level_of_detail
from cervello.agents.runtime.level_of_detail import LevelOfDetail
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.errors import CervelloError, ConfigurationError, SnapshotError
from cervello.spec import AgentId, Array

MAGIC, VERSION = b"CRVR", 2
_TRIES = 100


def save(frame: int, brains: Sequence[PolicyQueue], lock: AbstractContextManager[object]) -> bytes:
    """Everything that later frames depend on.

    Args:
      lock: of the queues; it is not held while policies are saved, which calls hooks.
    """
    for _ in range(_TRIES):
        changes = [brain.policy.changes for brain in brains]
        policies = [bytes(brain.policy.snapshot()) for brain in brains]
        with lock:
            if changes == [brain.policy.changes for brain in brains]:  # else another thread has let agents begin or end in between
                saved = [_saved(brain, policy) for brain, policy in zip(brains, policies, strict=True)]
                body: bytes = msgpack.packb({"frame": frame, "brains": saved}, unicode_errors="surrogatepass")
                return snapshot_format.sealed(MAGIC, VERSION, body)
    raise ConfigurationError(f"runtime, snapshot: expected a moment in which no agent begins or ends, got none in {_TRIES} tries; save "
                             "while other threads leave agents alone")


def _saved(brain: PolicyQueue, agents: bytes) -> dict[str, Any]:
    """Of agents that ended, or began anew, behind the runtime's back nothing is saved that the next frame would not find."""
    line, policy = brain.line, brain.policy
    queue, treated = line.queue, brain.levels
    births = queue.births
    stale = {agent for (agent, birth), now in zip(births.items(), policy.births(list(births)), strict=True) if birth != now}
    kept = [row for row, agent in enumerate(births) if agent not in stale]
    ids = [agent for agent in births if agent not in stale]
    rows = [array[kept] if stale else array for array in queue.rows(len(births)).values()]

    def there(agents: Iterable[AgentId]) -> list[AgentId]:
        return [agent for agent in agents if agent in policy and agent not in stale]

    return {
        "name": brain.name,
        "policy": agents,
        "waiting": {"ids": _plain(ids), "since": [line.since[agent] for agent in ids],
                    "deterministic": [agent in brain.deterministic for agent in ids],
                    "rows": [_packed(array) for array in rows]},
        "resting": _plain(there(treated.not_due)),
        "levels": [[*_plain([agent]), level.every, level.phase, level.priority, level.hold, level.next_frame]
                   for agent, level in ((agent, treated.of[agent]) for agent in there(treated.of))],
        "phases": list(treated.phases.items()),
        "held": [[*_plain([agent]), [[name, *_packed(row)] for name, row in treated.held[agent].items()]] for agent in there(treated.held)],
        "last_frame": brain.last_frame,
    }


def _plain(ids: Iterable[AgentId]) -> list[AgentId]:
    """Ids as Python's own ints and strings: numpy's are equal to them and cannot be packed."""
    return [str(agent) if isinstance(agent, str) else int(agent) for agent in ids]


def restore(given: Any, brains: Sequence[PolicyQueue], lock: AbstractContextManager[object]) -> int:
    """Puts everything back; returns the number of the next frame.

    Args:
      lock: as `save` takes it.
    Raises:
      SnapshotError: damaged bytes, or those of another runtime; nothing has changed then.
    """
    body = snapshot_format.unsealed(given, MAGIC, VERSION, "Runtime.snapshot()")
    try:
        saved = msgpack.unpackb(body, strict_map_key=True, unicode_errors="surrogatepass")
        entries = saved["brains"]
        frame: int = saved["frame"]
        names = [entry["name"] for entry in entries]
        if names != [brain.name for brain in brains]:
            raise SnapshotError(f"runtime, restore: expected a snapshot of the policies {[brain.name for brain in brains]}, got one of "
                                f"{names}; add the same ones in the same order")
        _check_frames([frame])
        ready = [_checked(brain, entry) for brain, entry in zip(brains, entries, strict=True)]
    except SnapshotError:
        raise
    except (CervelloError, AttributeError, LookupError, OverflowError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise SnapshotError(f"runtime, restore: expected what Runtime.snapshot() gave, got bytes that fail with {type(error).__name__}: "
                            f"{error}") from error
    _restore_policies(brains, [entry["policy"] for entry in entries], lock)
    with lock:
        for brain, entry, rows in zip(brains, entries, ready, strict=True):
            _put(brain, entry, rows)
    return frame


def _restore_policies(brains: Sequence[PolicyQueue], states: Sequence[Any], lock: AbstractContextManager[object]) -> None:
    """All of them or none, even when a hook of a user's own fails on the way."""
    policies = [brain.policy for brain in brains]
    undo = [policy.snapshot() for policy in policies]
    changes = [policy.changes for policy in policies]
    with lock:
        waited = [dict(brain.line.queue.births) for brain in brains]
    births = [policy.births(list(pushed)) for policy, pushed in zip(policies, waited, strict=True)]
    levels_of = [policy.births(list(brain.levels.of)) for policy, brain in zip(policies, brains, strict=True)]
    try:
        for policy, state in zip(policies, states, strict=True):
            policy.restore(state)
    except BaseException:
        for brain, state, before, pushed, then, level_births in zip(brains, undo, changes, waited, births, levels_of, strict=True):
            if brain.policy.changes != before:  # also one whose agents were there already when a hook failed at an end
                with suppress(Exception):  # the first error is the one to tell of
                    brain.policy.restore(state)
                # Whoever waits is as new as the agent is now. One that had ended, or begun anew, is still to be found by the next frame.
                now = brain.policy.births(list(pushed))
                fresh = {agent: (was, birth) for agent, was, birth in zip(pushed, then, now, strict=True) if birth is not None}
                with lock:
                    queue = brain.line.queue
                    queue.births = {agent: fresh[agent][1] if agent in fresh and fresh[agent][0] == birth else birth
                                    for agent, birth in queue.births.items()}
                treated = brain.levels.of
                for level, was, birth_now in zip(treated.values(), level_births, brain.policy.births(list(treated)), strict=True):
                    if level.birth == was:
                        level.birth = birth_now
        raise


def _checked(brain: PolicyQueue, entry: Any) -> dict[str, Array]:
    """The rows that waited, when everything in an entry fits the policy."""
    waiting = entry["waiting"]
    ids, specs = waiting["ids"], brain.policy.all_inputs
    rows = {name: _unpacked(*packed) for name, packed in zip(specs, waiting["rows"], strict=True)}
    for name, spec in specs.items():
        if rows[name].shape != (len(ids), *spec.shape) or rows[name].dtype != spec.kept_dtype(rows[name].dtype):
            raise ValueError(f"rows of {name!r}, {rows[name].shape} {rows[name].dtype}")
    for what in ("since", "deterministic"):
        if len(waiting[what]) != len(ids):
            raise ValueError(f"{what} of {len(waiting[what])} for {len(ids)} agents")
    if not all(type(flag) is bool for flag in waiting["deterministic"]):
        raise ValueError("deterministic that is neither true nor false")
    held = [agent for agent, _ in entry["held"]]
    treated = [level[0] for level in entry["levels"]]
    saved = brain.policy.checked_snapshot(entry["policy"])
    for agents in (ids, entry["resting"], treated, held):
        if type(agents) is not list or len(set(agents)) != len(agents):
            raise ValueError("agents that come twice")
        check_kinds(agents)
        if not saved.whole or not set(agents) <= set(saved.ids):
            raise ValueError("agents that have not begun")
    if not set(held) <= set(treated):
        raise ValueError("decisions held for agents that do not ask for it")
    for _, every, phase, priority, hold, next_frame in entry["levels"]:
        level_of_detail.checked("runtime, restore", every, priority, hold)
        _check_frames([phase, every - 1 - phase])
        if type(next_frame) is not int or abs(next_frame) >= 1 << 62:  # below 0 for one whose level has changed before it ever decided
            raise ValueError(f"a next frame of {next_frame!r}")
    for _, outputs in entry["held"]:
        if [name for name, *_ in outputs] != list(brain.policy.outputs):
            raise ValueError("decisions held of other outputs")
        for name, *packed in outputs:
            spec, row = brain.policy.outputs[name], _unpacked(*packed)
            if row.shape != spec.shape or row.dtype != spec.kept_dtype(row.dtype):
                raise ValueError(f"held {name!r} of {row.shape} {row.dtype}")
    _check_frames([*waiting["since"], entry["last_frame"] + 1])
    for every, phase in entry["phases"]:
        _check_frames([every, phase, every - 1 - phase])
    if len({every for every, _ in entry["phases"]}) != len(entry["phases"]):
        raise ValueError("two phases for one number of frames")
    return rows


def _check_frames(numbers: Sequence[Any]) -> None:
    """Raises ValueError unless all may be numbers of frames."""
    for number in numbers:
        if type(number) is not int or not 0 <= number < 1 << 62:
            raise ValueError(f"a number of frames of {number!r}")


def _put(brain: PolicyQueue, entry: Any, rows: dict[str, Array]) -> None:
    waiting = entry["waiting"]
    ids = waiting["ids"]
    brain.last_frame = entry["last_frame"]
    brain.fill(ids, waiting["since"], rows)
    brain.deterministic = {agent for agent, flag in zip(ids, waiting["deterministic"], strict=True) if flag}
    births = brain.policy.births([level[0] for level in entry["levels"]])
    treated = brain.levels
    treated.not_due = dict.fromkeys(entry["resting"])
    treated.of = {agent: LevelOfDetail(every, phase, float(priority), hold, next_frame, birth)
                  for (agent, every, phase, priority, hold, next_frame), birth in zip(entry["levels"], births, strict=True)}
    treated.phases = dict(entry["phases"])
    treated.held = {agent: {name: _unpacked(*packed) for name, *packed in rows} for agent, rows in entry["held"]}


def _packed(array: Any) -> list[Any]:
    plain = np.ascontiguousarray(array)
    return [plain.dtype.newbyteorder("<").str, list(np.shape(array)), plain.tobytes()]


def _unpacked(kind: Any, shape: Any, data: Any) -> Array:
    dtype = np.dtype(kind)
    if dtype.kind not in "fiub" or not isinstance(data, bytes):
        raise ValueError(f"an array of {kind!r}")
    return np.frombuffer(data, dtype).reshape(tuple(shape)).copy()
