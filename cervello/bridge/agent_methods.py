"""`begin`, `end`, `reward`, `snapshot` and `restore`: each request is checked completely before it takes effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cervello.agents.policy.snapshot_format import read
from cervello.bridge import client_snapshot, noise_streams
from cervello.bridge.client_agents import AgentState
from cervello.bridge.client_state import ClientState
from cervello.bridge.codes import Refusal, bad_request
from cervello.bridge.envelope import answer, as_integer, as_map
from cervello.bridge.job import Job
from cervello.bridge.served_policy import ServedPolicy
from cervello.bridge.wire import WireTensor, as_bytes
from cervello.errors import SnapshotError
from cervello.spec import Array

_OVERHEAD = 64  # bytes of a reply beside its bins


def begin(served: ServedPolicy, job: Job) -> dict[str, Any]:
    """Begins agents."""
    client_agents, ids = job.client.agents_of(served.name), job.agents or []
    client_agents.check_absent(ids)
    given = job.params.get("streams")
    begun = client_agents.earlier_begins(ids)
    chosen = derived_streams(served, job.client, ids, begun) if given is None else stream_numbers(given, len(ids))
    result: dict[str, Any] = {"begun": len(ids), "streams": noise_streams.packed(chosen)}
    if not _fits(job, 8 * len(ids), result):
        raise too_long(job.client.frame_bytes)
    begin_agents(served, job.client, ids, chosen, begun)
    begin_episodes(served, job.client, ids)
    return result


def derived_streams(served: ServedPolicy, client: ClientState, ids: Sequence[int], begun: Sequence[int]) -> Array:
    """[n] int64, the noise streams of agents whose client gives none."""
    return noise_streams.derive(client.name, client.n_earlier, served.name, ids, begun)


def begin_agents(served: ServedPolicy, client: ClientState, ids: Sequence[int], chosen: Array, begun: Sequence[int]) -> None:
    """Begins all agents, or none of them when there are too many."""
    client.reserve(len(ids))
    keys = served.new_keys(ids)
    try:
        served.policy.begin_agents(keys, stream=chosen, episode=0)
    except BaseException:
        served.forget_keys(keys)
        client.reserve(-len(ids))
        raise
    _add(served, client, ids, keys, chosen, begun)


def _add(served: ServedPolicy, client: ClientState, ids: Sequence[int], keys: Sequence[int], chosen: Array, begun: Sequence[int]) -> None:
    agent_states = [AgentState(key, stream) for key, stream in zip(keys, chosen.tolist(), strict=True)]
    client_agents = client.agents_of(served.name)
    client_agents.add(ids, agent_states, begun)
    served.count_agents(client_agents, len(ids))


def begin_episodes(served: ServedPolicy, client: ClientState, ids: Sequence[int]) -> None:
    """Starts recording the episodes of agents that have begun."""
    if served.recorder is not None and client.records and ids:
        served.recorder.begin(ids, client.agents_of(served.name).find(ids))


def undo_begin(served: ServedPolicy, client: ClientState, ids: Sequence[int]) -> None:
    """Undoes the begin of agents whose request is refused."""
    client_agents = client.agents_of(served.name)
    agent_states = client_agents.forget(ids)
    served.count_agents(client_agents, -len(ids))
    client.reserve(-len(ids))
    keys = [agent_state.key for agent_state in agent_states]
    try:
        served.policy.end_agents(keys)
    finally:
        served.forget_keys(keys)


def end_agents(served: ServedPolicy, client: ClientState, ids: Sequence[int], observations: Mapping[str, Array] | None = None,
          terminated: Array | bool = False, truncated: Array | bool = True) -> None:
    """Ends agents that have begun."""
    client_agents = client.agents_of(served.name)
    agent_states = client_agents.remove(ids)
    if served.recorder is not None:
        served.recorder.end(agent_states, observations, terminated, truncated)
    served.count_agents(client_agents, -len(ids))
    client.reserve(-len(ids))
    keys = [agent_state.key for agent_state in agent_states]
    try:
        served.policy.end_agents(keys)
    finally:
        served.forget_keys(keys)


def end(served: ServedPolicy, job: Job) -> dict[str, Any]:
    """Ends agents and records their final observations."""
    ids = job.agents or []
    job.client.agents_of(served.name).find(ids, "they have ended already, or never begun; leave them out")
    terminated, truncated = (flags(name, job.params.get(name), len(ids)) for name in ("terminated", "truncated"))
    given = job.params.get("inputs")
    final = None if given is None else rows_of("inputs", served.signature.inputs, given, len(ids), complete=True)
    end_agents(served, job.client, ids, final, terminated, truncated | ~terminated)
    return {"ended": len(ids)}


def reward(served: ServedPolicy, job: Job) -> dict[str, Any]:
    """Records rewards of steps that were inferred."""
    ids = job.agents or []
    client_agents = job.client.agents_of(served.name)
    agent_states = client_agents.find(ids)
    tick = optional_int("tick", job.params.get("tick"))
    data = as_bytes("reward", job.params.get("reward"))
    if len(data) != 4 * len(ids):
        raise bad_request("reward", f"expected {len(ids)} float32, got {len(data)} bytes")
    rewards = np.frombuffer(data, "<f4")
    if np.isnan(rewards).any():
        raise bad_request("reward", "expected numbers, got NaN")
    given = job.params.get("actions")
    actions = {} if given is None else rows_of("actions", served.signature.outputs, given, len(ids), complete=False)
    client_agents.flush_steps()
    steps = [agent_state.step_of(tick) for agent_state in agent_states]
    if None in steps:
        agent = ids[steps.index(None)]
        raise bad_request("agents" if tick is None else "tick",
                  f"expected agents that have inferred{'' if tick is None else f' at tick {tick} among their last 64'}, got {agent}")
    if served.recorder is not None and ids:
        served.recorder.outcome(agent_states, steps, rewards, actions)  # type: ignore[arg-type]
    return {}


def snapshot(served: ServedPolicy, job: Job) -> dict[str, Any]:
    """The snapshot of agents, as bytes."""
    client_agents = job.client.agents_of(served.name)
    ids = list(client_agents.by_id) if job.agents is None else job.agents
    keys = [agent_state.key for agent_state in client_agents.find(ids)]
    state = client_snapshot.pack(served.name, ids, bytes(served.policy.snapshot(keys)))
    result = {"state": state, "version": served.policy.version}
    if not _fits(job, len(state), result):
        raise bad_request("frame_bytes", f"expected a reply of at most {job.client.frame_bytes} bytes, got a state of {len(state)}; "
                  "name fewer agents")
    return result


def restore(served: ServedPolicy, job: Job) -> dict[str, Any]:
    """Begins the agents of a snapshot in its state. Other agents of this connection end; with `keep` they continue."""
    client, client_agents = job.client, job.client.agents_of(served.name)
    keep = flag("keep", job.params.get("keep"))
    try:
        ids, inner = client_snapshot.unpack(served.name, as_bytes("state", job.params.get("state")))
        saved = read(inner)
        if len(saved.ids) != len(ids):
            raise SnapshotError(f"snapshot: expected {len(ids)} agents, got {len(saved.ids)}")
    except SnapshotError as error:
        raise bad_request("state", str(error)) from None
    named = set(ids)
    ending = [agent for agent in client_agents.by_id if not keep or agent in named]
    client.reserve(len(ids), len(ending))
    keys = served.new_keys(ids)
    try:
        served.policy.restore(inner, keys)
    except BaseException as error:
        served.forget_keys(keys)
        client.reserve(-len(ids))
        if isinstance(error, SnapshotError):
            raise bad_request("state", str(error)) from None
        raise
    try:
        end_agents(served, client, ending)
    finally:  # a wrapper may fail at an end, but the others have begun
        _add(served, client, ids, keys, saved.streams, client_agents.earlier_begins(ids))
        begin_episodes(served, client, ids)
    return {"restored": len(ids)}


def end_all(served: ServedPolicy, client: ClientState) -> None:
    """Ends the agents of a closed connection as truncated."""
    if served.name in client.agents_by_policy:
        end_agents(served, client, list(client.agents_by_policy[served.name].by_id))
        del client.agents_by_policy[served.name]


def _fits(job: Job, n_bytes: int, result: Mapping[str, Any]) -> bool:
    """Whether a reply with so many bytes of bins is within the client's limit."""
    most = job.client.frame_bytes
    return n_bytes + _OVERHEAD <= most or (n_bytes <= most and len(answer(job.id or 0, result)) <= most)


# Parameters -------------------------------------------------------------------------------------------------------------


def too_long(most: int) -> Refusal:
    """The refusal of a reply that is longer than the client or the server accepts."""
    return bad_request("frame_bytes", f"expected a reply of at most {most} bytes, got a longer one; ask for less at a time")


def stream_numbers(value: Any, n: int) -> Array:
    """[n] int64, of 8 bytes each."""
    data = as_bytes("streams", value)
    if len(data) != 8 * n:
        raise bad_request("streams", f"expected {n} streams of 8 bytes, got {len(data)} bytes")
    found = np.frombuffer(data, "<i8").astype(np.int64)
    if (found < 0).any():
        raise bad_request("streams", "expected streams below 2⁶³, got a larger one")
    return found


def optional_int(name: str, value: Any) -> int | None:
    """An optional integer."""
    if value is None:
        return None
    found = as_integer(value)
    if found is None:
        raise bad_request(name, "expected an integer from 0 to 2⁵³ − 1")
    return found


def flag(name: str, value: Any) -> bool:
    """An optional bool."""
    if value is None:
        return False
    if type(value) is not bool:
        raise bad_request(name, "expected a bool")
    return value


def flags(name: str, value: Any, n_rows: int) -> Array:
    """[n] bool, from one bool or a byte each; False where it is left out."""
    if value is None or type(value) is bool:
        return np.full(n_rows, bool(value))
    data = as_bytes(name, value)
    if len(data) != n_rows:
        raise bad_request(name, f"expected a bool or {n_rows} bytes, got {len(data)}")
    if data.translate(None, b"\0\1"):
        raise bad_request(name, "expected bytes of 0 or 1, got another")
    return np.frombuffer(data, np.bool_)


def rows_of(field: str, specs: Mapping[str, WireTensor], given: Any, n_rows: int, complete: bool) -> dict[str, Array]:
    """Rows by name.

    Args:
      complete: every tensor without a default is required; the others get their default when they are left out.
    """
    by_name = as_map(given)
    if by_name is None:
        raise bad_request(field, "expected a map of bins by name")
    for name in by_name:
        if name not in specs:
            raise bad_request(f"{field}.{name}", f"expected one of {list(specs)}")
    found = {}
    for name, row in specs.items():
        value = by_name.get(name)
        if value is not None:
            found[name] = row.read(f"{field}.{name}", value, n_rows)
        elif complete:
            if row.default is None:
                raise bad_request(f"{field}.{name}", "expected it to be given, got nothing")
            found[name] = np.repeat(row.default[None], n_rows, axis=0)
    return found
