"""`begin`, `end`, `reward`, `snapshot` and `restore`: each request is checked completely before it takes effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.agents.policy.snapshot_format import read
from cervello.bridge import crowd_state, streams
from cervello.bridge.codes import Refusal, bad
from cervello.bridge.crowd import Member
from cervello.bridge.envelope import answer, as_map, whole
from cervello.bridge.hosted import Hosted
from cervello.bridge.job import Job
from cervello.bridge.link import Link
from cervello.bridge.wire import Row, as_bytes
from cervello.errors import SnapshotError
from cervello.spec import Array

_OVERHEAD = 64  # bytes of a reply beside its bins


def begin(hosted: Hosted, job: Job) -> dict[str, Any]:
    """Begins agents."""
    crowd, ids = job.link.crowd(hosted.name), job.agents or []
    crowd.check_absent(ids)
    given = job.params.get("streams")
    begun = crowd.begun(ids)
    chosen = derived(hosted, job.link, ids, begun) if given is None else stream_numbers(given, len(ids))
    result: dict[str, Any] = {"begun": len(ids), "streams": streams.packed(chosen)}
    if not _fits(job, 8 * len(ids), result):
        raise too_long(job.link.frame_bytes)
    start(hosted, job.link, ids, chosen, begun)
    note_episodes(hosted, job.link, ids)
    return result


def derived(hosted: Hosted, link: Link, ids: Sequence[int], begun: Sequence[int]) -> Array:
    """[n] int64, the noise streams of agents whose client gives none."""
    return streams.derive(link.client, link.before, hosted.name, ids, begun)


def start(hosted: Hosted, link: Link, ids: Sequence[int], chosen: Array, begun: Sequence[int]) -> None:
    """Begins all agents, or none of them when there are too many."""
    link.reserve(len(ids))
    keys = hosted.new_keys(ids)
    try:
        hosted.policy.begin_agents(keys, stream=chosen, episode=0)
    except BaseException:
        hosted.forget_keys(keys)
        link.reserve(-len(ids))
        raise
    _enter(hosted, link, ids, keys, chosen, begun)


def _enter(hosted: Hosted, link: Link, ids: Sequence[int], keys: Sequence[int], chosen: Array, begun: Sequence[int]) -> None:
    members = [Member(key, stream) for key, stream in zip(keys, chosen.tolist(), strict=True)]
    crowd = link.crowd(hosted.name)
    crowd.add(ids, members, begun)
    hosted.count(crowd, len(ids))


def note_episodes(hosted: Hosted, link: Link, ids: Sequence[int]) -> None:
    """Starts recording the episodes of agents that have begun."""
    if hosted.recorder is not None and link.records and ids:
        hosted.recorder.begin(ids, link.crowd(hosted.name).find(ids))


def undo(hosted: Hosted, link: Link, ids: Sequence[int]) -> None:
    """Undoes the begin of agents whose request is refused."""
    crowd = link.crowd(hosted.name)
    members = crowd.forget(ids)
    hosted.count(crowd, -len(ids))
    link.reserve(-len(ids))
    keys = [member.key for member in members]
    try:
        hosted.policy.end_agents(keys)
    finally:
        hosted.forget_keys(keys)


def leave(hosted: Hosted, link: Link, ids: Sequence[int], observations: Mapping[str, Array] | None = None,
          terminated: Array | bool = False, truncated: Array | bool = True) -> None:
    """Ends agents that have begun."""
    crowd = link.crowd(hosted.name)
    members = crowd.remove(ids)
    if hosted.recorder is not None:
        hosted.recorder.end(members, observations, terminated, truncated)
    hosted.count(crowd, -len(ids))
    link.reserve(-len(ids))
    keys = [member.key for member in members]
    try:
        hosted.policy.end_agents(keys)
    finally:
        hosted.forget_keys(keys)


def end(hosted: Hosted, job: Job) -> dict[str, Any]:
    """Ends agents and records their final observations."""
    ids = job.agents or []
    job.link.crowd(hosted.name).find(ids, "they have ended already, or never begun; leave them out")
    terminated, truncated = (flags(name, job.params.get(name), len(ids)) for name in ("terminated", "truncated"))
    given = job.params.get("inputs")
    final = None if given is None else rows_of("inputs", hosted.ports.inputs, given, len(ids), complete=True)
    leave(hosted, job.link, ids, final, terminated, truncated | ~terminated)
    return {"ended": len(ids)}


def reward(hosted: Hosted, job: Job) -> dict[str, Any]:
    """Records rewards of steps that were inferred."""
    ids = job.agents or []
    crowd = job.link.crowd(hosted.name)
    members = crowd.find(ids)
    tick = optional_int("tick", job.params.get("tick"))
    data = as_bytes("reward", job.params.get("reward"))
    if len(data) != 4 * len(ids):
        raise bad("reward", f"expected {len(ids)} float32, got {len(data)} bytes")
    rewards = np.frombuffer(data, "<f4")
    if np.isnan(rewards).any():
        raise bad("reward", "expected numbers, got NaN")
    given = job.params.get("actions")
    actions = {} if given is None else rows_of("actions", hosted.ports.outputs, given, len(ids), complete=False)
    crowd.flush()
    steps = [member.step_of(tick) for member in members]
    if None in steps:
        agent = ids[steps.index(None)]
        raise bad("agents" if tick is None else "tick",
                  f"expected agents that have inferred{'' if tick is None else f' at tick {tick} among their last 64'}, got {agent}")
    if hosted.recorder is not None and ids:
        hosted.recorder.outcome(members, steps, rewards, actions)  # type: ignore[arg-type]
    return {}


def snapshot(hosted: Hosted, job: Job) -> dict[str, Any]:
    """The snapshot of agents, as bytes."""
    crowd = job.link.crowd(hosted.name)
    ids = list(crowd.members) if job.agents is None else job.agents
    keys = [member.key for member in crowd.find(ids)]
    state = crowd_state.pack(hosted.name, ids, bytes(hosted.policy.snapshot(keys)))
    result = {"state": state, "version": hosted.policy.version}
    if not _fits(job, len(state), result):
        raise bad("frame_bytes", f"expected a reply of at most {job.link.frame_bytes} bytes, got a state of {len(state)}; "
                  "name fewer agents")
    return result


def restore(hosted: Hosted, job: Job) -> dict[str, Any]:
    """Begins the agents of a snapshot in its state. Other agents of this connection end; with `keep` they continue."""
    link, crowd = job.link, job.link.crowd(hosted.name)
    keep = flag("keep", job.params.get("keep"))
    try:
        ids, inner = crowd_state.unpack(hosted.name, as_bytes("state", job.params.get("state")))
        saved = read(inner)
        if len(saved.ids) != len(ids):
            raise SnapshotError(f"snapshot: expected {len(ids)} agents, got {len(saved.ids)}")
    except SnapshotError as error:
        raise bad("state", str(error)) from None
    named = set(ids)
    ending = [agent for agent in crowd.members if not keep or agent in named]
    link.reserve(len(ids), len(ending))
    keys = hosted.new_keys(ids)
    try:
        hosted.policy.restore(inner, keys)
    except BaseException as error:
        hosted.forget_keys(keys)
        link.reserve(-len(ids))
        if isinstance(error, SnapshotError):
            raise bad("state", str(error)) from None
        raise
    leave(hosted, link, ending)
    _enter(hosted, link, ids, keys, saved.streams, crowd.begun(ids))
    note_episodes(hosted, link, ids)
    return {"restored": len(ids)}


def close(hosted: Hosted, link: Link) -> None:
    """Ends the agents of a closed connection as truncated."""
    if hosted.name in link.crowds:
        leave(hosted, link, list(link.crowds[hosted.name].members))
        del link.crowds[hosted.name]


def _fits(job: Job, n_bytes: int, result: Mapping[str, Any]) -> bool:
    """Whether a reply with so many bytes of bins is within the client's limit."""
    most = job.link.frame_bytes
    return n_bytes + _OVERHEAD <= most or (n_bytes <= most and len(answer(job.id or 0, result)) <= most)


# Parameters -------------------------------------------------------------------------------------------------------------


def too_long(most: int) -> Refusal:
    """The refusal of a reply that is longer than the client or the server accepts."""
    return bad("frame_bytes", f"expected a reply of at most {most} bytes, got a longer one; ask for less at a time")


def stream_numbers(value: Any, n: int) -> Array:
    """[n] int64, of 8 bytes each."""
    data = as_bytes("streams", value)
    if len(data) != 8 * n:
        raise bad("streams", f"expected {n} streams of 8 bytes, got {len(data)} bytes")
    found = np.frombuffer(data, "<i8").astype(np.int64)
    if (found < 0).any():
        raise bad("streams", "expected streams below 2⁶³, got a larger one")
    return found


def optional_int(name: str, value: Any) -> int | None:
    """An optional integer."""
    if value is None:
        return None
    found = whole(value)
    if found is None:
        raise bad(name, "expected an integer from 0 to 2⁵³ − 1")
    return found


def flag(name: str, value: Any) -> bool:
    """An optional bool."""
    if value is None:
        return False
    if type(value) is not bool:
        raise bad(name, "expected a bool")
    return value


def flags(name: str, value: Any, n_rows: int) -> Array:
    """[n] bool, from one bool or a byte each; False where it is left out."""
    if value is None or type(value) is bool:
        return np.full(n_rows, bool(value))
    data = as_bytes(name, value)
    if len(data) != n_rows:
        raise bad(name, f"expected a bool or {n_rows} bytes, got {len(data)}")
    if data.translate(None, b"\0\1"):
        raise bad(name, "expected bytes of 0 or 1, got another")
    return np.frombuffer(data, np.bool_)


def rows_of(field: str, specs: Mapping[str, Row], given: Any, n_rows: int, complete: bool) -> dict[str, Array]:
    """Rows by name.

    Args:
      complete: every tensor without a default is required; the others get their default when they are left out.
    """
    by_name = as_map(given)
    if by_name is None:
        raise bad(field, "expected a map of bins by name")
    for name in by_name:
        if name not in specs:
            raise bad(f"{field}.{name}", f"expected one of {list(specs)}")
    found = {}
    for name, row in specs.items():
        value = by_name.get(name)
        if value is not None:
            found[name] = row.read(f"{field}.{name}", value, n_rows)
        elif complete:
            if row.default is None:
                raise bad(f"{field}.{name}", "expected it to be given, got nothing")
            found[name] = np.repeat(row.default[None], n_rows, axis=0)
    return found
