"""`infer`: requests of all connections that have arrived run as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from cervello.bridge import agent_methods, noise_streams
from cervello.bridge.agent_methods import flag, flags, optional_int, rows_of, too_long
from cervello.bridge.client_agents import AgentState
from cervello.bridge.codes import bad_request
from cervello.bridge.envelope import answer, as_list
from cervello.bridge.job import Job
from cervello.bridge.request_layout import RequestLayout
from cervello.bridge.served_policy import ServedPolicy
from cervello.errors import ConfigurationError, ExecutionError, InputError, UnsupportedError, WrapperError
from cervello.spec import Array

_ID_BYTES = 9  # of an integer, at most
_FAILURES = (ExecutionError, InputError, ConfigurationError, UnsupportedError, WrapperError)


class Request:
    """A valid `infer` request, whose new agents have begun.

    Attributes:
      job: the message. ids, agent_states: its agents. fresh: the agents that began with it.
      columns: rows by input name. flags: [n] bool, deterministic rows; None when every row may use noise.
      outputs: requested names. tick: the tick of the game.
      is_short: the answer is within the limit for every id, tick and version.
      deadline_s: deadline, on `time.perf_counter`; None for none.
    """

    __slots__ = ("agent_states", "begins", "columns", "deadline_s", "flags", "fresh", "ids", "is_short", "job", "outputs", "tick")

    def __init__(self, served: ServedPolicy, job: Job):
        params, client, client_agents = job.params, job.client, job.client.agents_of(served.name)
        ids = self.ids = job.agents or []
        n_rows = len(ids)
        self.job = job
        begins = params.get("begin")
        if begins is not True:
            self.agent_states = client_agents.find(ids)
        self.begins = flag("begin", begins)
        self.columns = rows_of("inputs", served.signature.inputs, params.get("inputs"), n_rows, complete=True)
        found = flags("deterministic", params.get("deterministic"), n_rows)
        self.flags = found if found.any() else None
        deadline_us = optional_int("deadline_us", params.get("deadline_us"))
        self.deadline_s = job.received_s + deadline_us / 1e6 if deadline_us else None
        self.tick = optional_int("tick", params.get("tick"))
        self.outputs = self._requested_outputs(served, params.get("outputs"))
        self.is_short = self._check_length(served)
        self.fresh: list[int] = []
        if self.begins:
            self.fresh = [agent for agent in ids if agent not in client_agents.by_id]
            if self.fresh:
                begun = client_agents.earlier_begins(self.fresh)
                chosen = agent_methods.derived_streams(served, client, self.fresh, begun)
                agent_methods.begin_agents(served, client, self.fresh, chosen, begun)
            self.agent_states = client_agents.find(ids)

    agent_states: list[AgentState]

    @classmethod
    def of_layout(cls, served: ServedPolicy, job: Job) -> Request:
        """Makes a `Request` without the checks that a request of the same layout has passed."""
        layout = job.layout
        columns = layout.rows(job.params["inputs"]) if layout is not None and layout.is_current() else None
        if layout is None or columns is None:
            return cls(served, job)
        request = cls.__new__(cls)
        request.job, request.ids, request.agent_states, request.begins = job, layout.agents, layout.agent_states, layout.begins
        request.columns, request.flags, request.outputs, request.tick = columns, layout.flags, layout.outputs, job.params.get("tick")
        request.deadline_s = job.received_s + layout.deadline_us / 1e6 if layout.deadline_us else None
        request.fresh, request.is_short = [], True
        return request

    def _requested_outputs(self, served: ServedPolicy, given: Any) -> list[str]:
        if given is None:
            return list(served.signature.outputs)
        names = as_list(given)
        if names is None or any(type(name) is not str for name in names):
            raise bad_request("outputs", "expected a list of names, got something else")
        for name in names:
            if name not in served.signature.outputs:
                raise bad_request(f"outputs.{name}" if name.isprintable() and len(name) < 200 else "outputs",
                          f"expected one of {list(served.signature.outputs)}")
        return list(dict.fromkeys(names))

    def _check_length(self, served: ServedPolicy) -> bool:
        """Whether the reply is within the limit for every id, tick and version.

        Raises:
          Refusal: it would be too long with no agent skipped, from the version now or from the next one, which a swap before the run makes.
        """
        n_rows, most = len(self.ids), self.job.client.frame_bytes
        bins = {name: n_rows * served.signature.outputs[name].n_bytes for name in self.outputs}
        roughly = 128 + n_rows * (_ID_BYTES + 8) + sum(n + 8 + 4 * len(name) for name, n in bins.items())
        if roughly <= most:
            return True
        reply = self._result(dict.fromkeys(bins, b""), served.policy.version + 1, self.ids, [], bytes(8 * n_rows))
        total = sum(bins.values())
        exact = len(answer(self.job.id or 0, reply)) + total + sum(0 if n < 256 else 1 if n < 65536 else 3 for n in bins.values())
        if total > most or exact > most:
            raise too_long(most)
        return False

    def _result(self, outputs: dict[str, bytes], version: int, ids: Sequence[int], skipped: Sequence[int], streams_: bytes,
                ) -> dict[str, Any]:
        result: dict[str, Any] = {"agents": ids, "outputs": outputs, "skipped": skipped, "version": version}
        if self.tick is not None:
            result["tick"] = self.tick
        if self.begins:
            result["streams"] = streams_
        return result

    def reply(self, outputs: Mapping[str, Array] | None, version: int) -> bytes:
        """The answer.

        Args:
          outputs: rows by name, in the wire format; None when all agents are skipped.
        """
        layout = self.job.layout
        if layout is not None and outputs is not None and self.agent_states is layout.agent_states:
            return layout.reply(self.job.id or 0, {name: outputs[name].tobytes() for name in self.outputs}, version, self.tick)
        chosen = noise_streams.packed(np.array([agent_state.stream for agent_state in self.agent_states], np.int64)) if self.begins else b""
        ids, late = ([], self.ids) if outputs is None else (self.ids, [])
        data = {name: b"" if outputs is None else outputs[name].tobytes() for name in self.outputs}
        return answer(self.job.id or 0, self._result(data, version, ids, late, chosen))


def run(served: ServedPolicy, requests: Sequence[Request]) -> list[tuple[Request, bytes | Exception]]:
    """Runs requests as one batch; requests past their deadline are skipped."""
    now = perf_counter()
    counters = served.counters
    found: list[tuple[Request, bytes | Exception]] = []
    timely = []
    waited_s = []
    for request in requests:
        if request.deadline_s is not None and now > request.deadline_s:
            agent_methods.begin_episodes(served, request.job.client, request.fresh)
            counters.skipped += len(request.ids)
            found.append((request, request.reply(None, served.policy.version)))
        else:
            timely.append(request)
            waited_s.append(now - request.job.received_s)
    return found + (_run_batch(served, timely, tuple(waited_s)) if timely else [])


def _run_batch(served: ServedPolicy, requests: Sequence[Request], waited_s: tuple[float, ...]) -> list[tuple[Request, bytes | Exception]]:
    counters = served.counters
    began = perf_counter()
    try:
        columns, version = _decide(served, requests)
    except _FAILURES as error:
        if len(requests) > 1:  # one of them fails, which must not affect the others
            return [each for request, alone_s in zip(requests, waited_s, strict=True) for each in _run_batch(served, [request], (alone_s,))]
        request = requests[0]
        agent_methods.undo_begin(served, request.job.client, request.fresh)
        obeys = request.flags is None or isinstance(error, (ExecutionError, InputError))
        return [(request, bad_request("inputs" if obeys else "deterministic", str(error)))]
    except Exception as error:  # an internal one; of these requests only
        for request in requests:
            agent_methods.undo_begin(served, request.job.client, request.fresh)
        return [(request, error) for request in requests]
    counters.ran(sum(len(request.ids) for request in requests), perf_counter() - began, waited_s)
    found: list[tuple[Request, bytes | Exception]] = []
    at = 0
    for request in requests:
        end = at + len(request.ids)
        mine = columns if len(requests) == 1 else {name: rows[at:end] for name, rows in columns.items()}
        at = end
        _record_step(served, request, mine, version)
        found.append((request, request.reply(mine, version)))
    return found


def _decide(served: ServedPolicy, requests: Sequence[Request]) -> tuple[dict[str, Array], int]:
    """Runs the policy. Returns rows by output name, and the version that decided."""
    if len(requests) == 1:
        keys = [agent_state.key for agent_state in requests[0].agent_states]
        rows, flags_ = requests[0].columns, requests[0].flags
    else:
        keys = [agent_state.key for request in requests for agent_state in request.agent_states]
        rows = {name: np.concatenate([request.columns[name] for request in requests]) for name in requests[0].columns}
        flags_ = None
        if any(request.flags is not None for request in requests):
            flags_ = np.concatenate([np.zeros(len(request.ids), np.bool_) if request.flags is None else request.flags
                                     for request in requests])
    inputs, outputs = served.signature.inputs, served.signature.outputs
    actions = served.policy.infer_batch(keys, {name: column if inputs[name].is_plain else inputs[name].column(column)
                                               for name, column in rows.items()}, False if flags_ is None else flags_)
    return {name: column if outputs[name].is_plain else outputs[name].rows(column) for name, column in actions.items()}, actions.version


def _record_step(served: ServedPolicy, request: Request, outputs: dict[str, Array], version: int) -> None:
    """Stores the steps of agents for later rewards, and records them."""
    request.job.client.agents_of(served.name).note_step(request.agent_states, request.tick)
    if request.fresh:
        agent_methods.begin_episodes(served, request.job.client, request.fresh)
    if served.recorder is not None:
        served.recorder.decide(request.agent_states, request.columns, outputs, False if request.flags is None else request.flags, version,
                               request.tick)


def run_at_once(served: ServedPolicy, layout: RequestLayout, number: int, body: bytes, received_s: float,
                began_s: float) -> bytes | None:
    """Answers one request of known layout whose agents have begun: the shortest path from its bytes to those of the answer.

    Returns:
      the answer; None, without any effect, when the request is late, is refused or fails: the ordinary path finds the reason.
    """
    columns = layout.columns(body)
    if columns is None or (layout.deadline_us and began_s > received_s + layout.deadline_us / 1e6):
        return None
    try:
        actions = served.policy.infer_batch(layout.keys, columns, False if layout.flags is None else layout.flags)
    except Exception:
        return None
    now, counters, tick = perf_counter(), served.counters, layout.tick(body)
    counters.ran(len(layout.agents), now - began_s, (began_s - received_s,))
    counters.requests += 1
    counters.latencies_s.append(now - received_s)
    layout.client_agents.note_step(layout.agent_states, tick)
    rows = served.signature.outputs
    outputs = {name: actions[name].tobytes() if rows[name].is_plain else rows[name].data(actions[name]) for name in layout.outputs}
    return layout.reply(number, outputs, actions.version, tick)


def run_known(served: ServedPolicy, jobs: Sequence[Job]) -> bool:
    """Answers requests of known layouts, of policies with one input of plain numbers, as one batch.

    Returns:
      whether all have their replies. If not, there is no effect: a request is of another kind, shares its connection with another, is late,
      is refused or fails; the ordinary path finds the reason.
    """
    began_s = perf_counter()
    keys: list[int] = []
    parts: list[bytes] = []
    for job in jobs:
        layout = job.layout
        if (layout is None or job.body is None or layout.only is None or layout.flags is not None or not layout.is_current()
                or (layout.deadline_us and began_s > job.received_s + layout.deadline_us / 1e6)):
            return False
        name, start, stop, wire, shape = layout.only
        keys += layout.keys
        parts.append(job.body[start:stop])
    if len({job.client for job in jobs}) != len(jobs):
        return False
    try:
        actions = served.policy.infer_batch(keys, {name: np.frombuffer(b"".join(parts), wire).reshape(len(keys), *shape)})
    except Exception:
        return False
    now, counters = perf_counter(), served.counters
    counters.ran(len(keys), now - began_s, tuple([began_s - job.received_s for job in jobs]))
    version = actions.version
    outputs = {name: (row.data(actions[name]), row.n_bytes) for name, row in served.signature.outputs.items()}
    at = 0
    for job in jobs:
        layout = job.layout
        assert layout is not None
        assert job.body is not None
        assert job.id is not None
        end, tick = at + len(layout.agents), layout.tick(job.body)
        layout.client_agents.note_step(layout.agent_states, tick)
        mine = {}
        for name in layout.outputs:
            data, n_bytes = outputs[name]
            mine[name] = data[at * n_bytes:end * n_bytes]
        job.reply = layout.reply(job.id, mine, version, tick)
        counters.latencies_s.append(now - job.received_s)
        at = end
    counters.requests += len(jobs)
    return True
