"""Random lives of two policies in one runtime, against a runtime in plain Python that decides for one agent at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from plain_runtime import FACTORS, Failed, Full, Lookup, PlainPolicy, PlainRuntime, chosen, model, source, weights

from cervello import AgentError, CervelloError, ExecutionError, Policy, Runtime, SnapshotError
from cervello.agents.policy import snapshot_format
from cervello.inferers.testing import same_bits

KINDS = {"full": Full, "lookup": Lookup}
SEED = 9
AGENTS = (0, 1, 2, 3, 2**62, "x", "y")
names = st.sampled_from(list(KINDS))
agents = st.sampled_from(AGENTS)
crowds = st.lists(agents, unique=True, min_size=1, max_size=len(AGENTS))
numbers = st.integers(0, 10_000)
seldom = st.integers(0, 9).map(lambda n: n == 9)
levels = st.fixed_dictionaries({"every": st.integers(1, 4), "priority": st.sampled_from([1.0, 0.3, 4.0]),
                                "hold": st.sampled_from(["none", "last"])})
maybe_levels = st.one_of(st.just({"every": 1, "priority": 1.0, "hold": "none"}), levels)


class Unchanged:
    """A block that must raise a certain error and leave a runtime as it was."""

    def __init__(self, runtime: Runtime, error: type[Exception]):
        self.runtime, self.raises = runtime, pytest.raises(error)

    def __enter__(self) -> None:
        self.before = self.state()
        self.raises.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        found = self.raises.__exit__(kind, error, trace)
        assert self.state() == self.before
        return found

    def state(self) -> Any:
        return self.runtime.snapshot(), [(policy.version, policy.agents) for policy in self.runtime.policies.values()]


class Life(RuleBasedStateMachine):
    """Mutable: the real runtime beside the plain one, and snapshots of both."""

    def __init__(self) -> None:
        super().__init__()
        self.real = Runtime()
        self.plain = PlainRuntime({name: PlainPolicy(kind, SEED) for name, kind in KINDS.items()})
        for name, kind in KINDS.items():
            self.real.add(name, Policy(model(name, 1.0), wrappers=kind.wrappers(), seed=SEED), measure=False)
        self.states: list[tuple[bytes, Any]] = []
        self.snapshots: list[tuple[str, bytes, Any, bool]] = []

    # Agents come and go

    @rule(name=names, ids=crowds, stream=st.integers(0, 2), episode=st.integers(0, 2), level=maybe_levels)
    def begin(self, name: str, ids: list[Any], stream: int, episode: int, level: Any) -> None:
        plain = self.plain.policies[name]
        if not plain.agents.keys().isdisjoint(ids):
            with self.expected_version(AgentError):
                self.real.begin_agents(name, ids, stream, episode, **level)
            ids = [agent for agent in ids if agent not in plain.agents]
        self.real.begin_agents(name, ids, stream, episode, **level)
        for agent in ids:
            plain.agents[agent] = plain.fresh(stream, episode)
            plain.set_level(agent, **level)

    @rule(name=names, ids=crowds)
    def end(self, name: str, ids: list[Any]) -> None:
        there = self.those(name, ids)
        if there != ids:
            with self.expected_version(AgentError):
                self.real.end_agents(name, ids)
        self.real.end_agents(name, there)
        for agent in there:
            del self.plain.policies[name].agents[agent]
            self.plain.policies[name].forget(agent)

    @rule(name=names, ids=crowds, stream=st.sampled_from([None, 0, 3]), episode=st.sampled_from([None, 0, 7]))
    def restart(self, name: str, ids: list[Any], stream: int | None, episode: int | None) -> None:
        there = self.those(name, ids)
        self.real.restart_agents(name, there, stream, episode)
        self.plain.policies[name].restart(there, stream, episode, self.plain.frame)

    @rule(name=names, agent=agents, level=maybe_levels)
    def set_level(self, name: str, agent: Any, level: Any) -> None:
        plain = self.plain.policies[name]
        if agent not in plain.agents:
            with self.expected_version(AgentError):
                self.real.set_level(name, agent, **level)
        else:
            self.real.set_level(name, agent, **level)
            plain.set_level(agent, **level)

    # Decisions

    @rule(name=names, agent=agents, number=numbers, deterministic=seldom)
    def push(self, name: str, agent: Any, number: int, deterministic: bool) -> None:
        observation = KINDS[name].observation(number)
        if agent not in self.plain.policies[name].agents:
            with self.expected_version(AgentError):
                self.real.push(name, agent, observation)
            return
        self.real.push(name, agent, observation, deterministic)
        self.plain.policies[name].push(agent, observation, deterministic, self.plain.frame)

    @rule(name=names, ids=st.permutations(AGENTS), count=st.integers(1, 7), number=numbers, deterministic=seldom)
    def push_batch(self, name: str, ids: list[Any], count: int, number: int, deterministic: bool) -> None:
        there = self.those(name, ids)[:count]
        observations = [KINDS[name].observation(number + row) for row in range(len(there))]
        self.real.push_batch(name, there, self.columns(name, observations), deterministic)
        for agent, observation in zip(there, observations, strict=True):
            self.plain.policies[name].push(agent, observation, deterministic, self.plain.frame)

    @rule(rows=st.one_of(st.none(), st.integers(1, 4)))
    def run(self, rows: int | None) -> None:
        frame, expected = self.real.run(rows=rows), self.plain.run(rows)
        assert frame.number == self.plain.frame - 1
        assert frame.n_rows == expected.n_rows
        for name in KINDS:
            self.compare(frame[name], expected.decided[name])
            assert frame[name].skipped == expected.skipped[name]
            assert {agent: type(error) for agent, error in frame[name].errors.items()} == expected.errors[name]

    @rule(name=names, ids=st.permutations(AGENTS), count=st.integers(1, 7), number=numbers, flags=st.lists(seldom, min_size=7, max_size=7),
          way=st.sampled_from(["batch", "out", "array", "infer", "single"]))
    def decide_at_once(self, name: str, ids: list[Any], count: int, number: int, flags: list[bool], way: str) -> None:
        there = self.those(name, ids)[:1 if way == "single" else count]
        observations = [KINDS[name].observation(number + row) for row in range(len(there))]
        flags = flags[:len(there)]
        try:
            expected = self.plain.policies[name].decide(there, observations, flags)
        except Failed:
            with self.expected_version(ExecutionError):
                self.decided(name, there, observations, flags, way)
        else:
            found = self.decided(name, there, observations, flags, way)
            self.compare(found, expected)

    def decided(self, name: str, ids: Sequence[Any], observations: list[Any], flags: list[bool], way: str) -> dict[Any, Any]:
        """Outputs by agent, asked for in one of the ways there are."""
        policy = self.real.policies[name]
        if way == "single":
            return {agent: self.real.infer_single(name, agent, observations[0], flags[0]) for agent in ids}
        if way == "infer":
            return policy.infer(dict(zip(ids, observations, strict=True)), dict(zip(ids, flags, strict=True)))
        deterministic = np.array(flags) if any(flags) else False
        out = {key: np.zeros(spec.batched(len(ids)), spec.dtype) for key, spec in policy.outputs.items()} if way == "out" else None
        whom = np.array(ids) if way == "array" and all(isinstance(agent, int) for agent in ids) else ids
        found = policy.infer_batch(whom, self.columns(name, observations), deterministic, out)
        assert found.version == self.plain.policies[name].version
        return {agent: {key: column[row] for key, column in found.items()} for row, agent in enumerate(ids)}

    # Swaps

    @rule(name=names, factor=st.sampled_from(FACTORS), way=st.sampled_from(["model", "bytes", "weights"]))
    def swap(self, name: str, factor: float, way: str) -> None:
        policy, plain = self.real.policies[name], self.plain.policies[name]
        if way == "weights":
            policy.update_weights(weights(name, factor))
        else:
            policy.replace(model(name, factor) if way == "model" else source(name, factor))
        plain.factor = factor
        plain.version += 1
        assert policy.version == plain.version

    # Snapshots

    @rule()
    def save_everything(self) -> None:
        self.states.append((self.real.snapshot(), self.plain.saved()))

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def restore_everything(self, data: st.DataObject) -> None:
        state, then = data.draw(st.sampled_from(self.states), label="state")
        self.real.restore(state)
        self.plain.restore(then)

    @rule(name=names, ids=st.one_of(st.none(), crowds))
    def save_agents(self, name: str, ids: list[Any] | None) -> None:
        plain, policy = self.plain.policies[name], self.real.policies[name]
        there = list(plain.agents) if ids is None else self.those(name, ids)
        state = policy.snapshot(ids if ids is None else there)
        room = bytearray(len(state) + 8)
        assert policy.snapshot(ids if ids is None else there, out=room) == state
        self.snapshots.append((name, bytes(state), {agent: plain.agents[agent].again() for agent in there}, ids is None))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def restore_agents(self, data: st.DataObject) -> None:
        name, state, then, whole = data.draw(st.sampled_from(self.snapshots), label="snapshot")
        plain = self.plain.policies[name]
        self.real.policies[name].restore(state)
        plain.restore(then, whole)

    # What is refused

    @rule(data=st.data(), name=names)
    def bad_input(self, data: st.DataObject, name: str) -> None:
        policy, plain, real = self.real.policies[name], self.plain.policies[name], self.real
        there = list(plain.agents)
        spec = next(iter(policy.inputs.values()))
        x = {spec.name: np.zeros(spec.batched(len(there)), spec.dtype)}
        wide = {spec.name: np.zeros((len(there), *spec.shape, 2), spec.dtype)}
        calls = [lambda: policy.infer_batch([*there, "nobody"], {spec.name: np.zeros(spec.batched(len(there) + 1), spec.dtype)}),
                 lambda: policy.infer_batch(there, {**x, "more": x[spec.name]}), lambda: policy.infer_batch(there, {}),
                 lambda: policy.infer_batch(there, wide), lambda: real.push_batch(name, there, wide),
                 lambda: real.push(name, 17, KINDS[name].observation(1)), lambda: real.begin_agents(name, ["new", 3.5]),
                 lambda: real.begin_agents(name, [50, 51, 50]), lambda: real.begin_agent(name, -1),
                 lambda: real.begin_agents(name, [50, 51], stream=[1]), lambda: real.run(rows=0), lambda: real.end_agents(name, ["nobody"]),
                 lambda: policy.update_weights({"nothing": 1.0}), lambda: policy.replace(source(self.other(name), 1)),
                 lambda: policy.snapshot(["nobody"]), lambda: policy.restore(real.snapshot()), lambda: real.restore(policy.snapshot())]
        if there:
            calls += [lambda: policy.infer_batch([there[0], there[0]], {spec.name: np.zeros(spec.batched(2), spec.dtype)}),
                      lambda: real.push(name, there[0], {spec.name: np.zeros((9, 9))}), lambda: real.push(name, there[0], {}),
                      lambda: real.begin_agents(name, ["new", there[-1]]), lambda: real.end_agents(name, [there[0], there[0]]),
                      lambda: real.restart_agents(name, [there[0], "nobody"]), lambda: real.set_level(name, there[0], every=0),
                      lambda: policy.infer_batch(there, x, out={"action": np.zeros((len(there), 99), np.float32)}),
                      lambda: policy.infer_batch(there, x, deterministic=np.zeros(len(there) + 1, bool))]
        with self.expected_version(CervelloError):
            data.draw(st.sampled_from(calls), label="call")()

    @precondition(lambda self: self.states or self.snapshots)
    @rule(data=st.data(), at=st.integers(0, 1 << 16), bit=st.integers(0, 7), cut=seldom)
    def damaged_snapshot(self, data: st.DataObject, at: int, bit: int, cut: bool) -> None:
        restores = [(self.real.restore, state) for state, _ in self.states]
        restores += [(self.real.policies[name].restore, state) for name, state, _, _ in self.snapshots]
        restore, state = data.draw(st.sampled_from(restores), label="state")
        spoilt = bytearray(state)
        spoilt[at % len(spoilt)] ^= 1 << bit
        with self.expected_version(SnapshotError):
            restore(spoilt[:at % len(spoilt)] if cut else spoilt)

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def snapshot_of_the_other_policy(self, data: st.DataObject) -> None:
        name, state, _, _ = data.draw(st.sampled_from(self.snapshots), label="snapshot")
        with self.expected_version(SnapshotError):
            self.real.policies[self.other(name)].restore(state)

    # Both are alike

    @staticmethod
    def other(name: str) -> str:
        return "full" if name == "lookup" else "lookup"

    def those(self, name: str, ids: Sequence[Any]) -> list[Any]:
        return chosen(ids, self.plain.policies[name].agents)

    def columns(self, name: str, observations: list[Any]) -> dict[str, Any]:
        return {key: np.array([row[key] for row in observations], spec.dtype).reshape(spec.batched(len(observations)))
                for key, spec in self.real.policies[name].inputs.items()}

    @staticmethod
    def compare(found: Any, expected: Any) -> None:
        assert found.keys() == expected.keys()
        for agent, outputs in expected.items():
            assert found[agent].keys() == outputs.keys()
            for key, row in outputs.items():
                assert same_bits(np.asarray(found[agent][key]), np.asarray(row)), (agent, key, found[agent][key], row)

    def expected_version(self, error: type[Exception]) -> Unchanged:
        return Unchanged(self.real, error)

    @invariant()
    def everything_is_where_it_should_be(self) -> None:
        assert self.real.frame == self.plain.frame
        for name, plain in self.plain.policies.items():
            policy = self.real.policies[name]
            urgencies = [-plain.urgency(agent, self.plain.frame) for agent in plain.waiting]
            turns = sorted(zip(urgencies, plain.waiting, strict=True), key=lambda pair: pair[0])
            assert self.real.waiting(name) == tuple(agent for _, agent in turns)
            assert policy.agents == tuple(plain.agents)
            saved = snapshot_format.read(policy.snapshot())
            assert list(saved.ids) == list(plain.agents)
            state = {key.partition(" ")[2]: rows for key, rows in saved.state.items()}
            assert state.keys() == plain.kind.memory.keys()
            for row, life in enumerate(plain.agents.values()):
                assert (saved.streams[row], saved.episodes[row], saved.steps[row]) == (life.stream, life.episode, life.step)
                assert all(same_bits(state[key][row], life.state[key]) for key in state)

    def teardown(self) -> None:
        self.real.close()


def test_a_runtime_does_what_plain_python_does() -> None:
    """CERVELLO_MACHINE=2000 looks for new ways, that many."""
    more = os.environ.get("CERVELLO_MACHINE")
    run_state_machine_as_test(Life, settings=settings(
        max_examples=int(more or 60), stateful_step_count=40, deadline=None, derandomize=more is None, print_blob=more is not None,
        database=None, suppress_health_check=list(HealthCheck)))
