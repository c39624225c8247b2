"""A runtime in plain Python: dicts, lists and one agent at a time. What the real one does must be what this one does.

It knows nothing of slots, slabs, batches or columns. An agent's decision is `Model.run` on one row (or numpy arithmetic), its noise comes
from a stream of one slot and is held against the definition, its turn from a list that is sorted.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import onnx
import small_models
from onnx import numpy_helper

from cervello import AgentError, EpisodeStart, Epsilon, ExecutionError, Fill, Model, PreviousAction, Recurrent
from cervello.noise import Streams, agent_key, agent_number, derive_keys, reference

FACTORS = (1.0, 0.5, -1.5)  # of the weights that policies are swapped between
_SITE = zlib.crc32(b"epsilon") | 0x80000000
_births = itertools.count(1)


class Failed(Exception):
    """A decision that cannot be made."""


@dataclass
class Life:
    """An agent in an episode."""

    stream: int
    episode: int
    state: dict[str, Any]
    step: int = 0
    birth: int = field(default_factory=lambda: next(_births))

    def again(self) -> Life:
        """The same, begun anew by a restore."""
        return Life(self.stream, self.episode, {name: row.copy() for name, row in self.state.items()}, self.step)


@dataclass
class Waiting:
    observation: Any
    birth: int
    since: int
    deterministic: bool


@dataclass
class Level:
    every: int = 1
    phase: int = 0
    priority: float = 1.0
    hold: str = "none"
    next_frame: int = 0


def noise(seed: int, agent: Any, life: Life, width: int) -> Any:
    """[width] float32: one agent's draw, from a stream of one slot."""
    keys, out, slot = np.zeros((1, 2), np.uint64), np.zeros((1, width), np.float32), np.zeros(1, np.int64)
    number = agent_number(agent)
    derive_keys(np.array([number], np.uint64), np.array([life.stream]), np.array([life.episode]), seed, slot, keys)
    Streams(keys, np.array([life.step], np.int64)).fill_normal(out, slot, _SITE)
    key = agent_key(seed, life.stream, number, life.episode)
    assert np.allclose(out[0], [reference.normal(*key, life.step, _SITE, i) for i in range(width)], rtol=1e-5, atol=1e-5)
    return out[0]


@lru_cache
def source(kind: str, factor: float) -> bytes:
    """A policy's file with its weights multiplied."""
    return small_models.scaled({"full": small_models.full, "lookup": small_models.remembered_lookup}[kind](), factor)


@lru_cache
def model(kind: str, factor: float) -> Model:
    return Model.load(source(kind, factor))


def weights(kind: str, factor: float) -> dict[str, Any]:
    """The file's float constants, by name."""
    stored = [(tensor.name, numpy_helper.to_array(tensor)) for tensor in onnx.load_from_string(source(kind, factor)).graph.initializer]
    return {name: array for name, array in stored if array.dtype == np.float32}


class Full:
    """`small_models.full`: state, noise, previous action, episode start."""

    memory: ClassVar = {"h_in": 8, "prev_action": 3}
    noise_width = 3
    outputs = ("action", "value")

    @staticmethod
    def wrappers() -> list[Any]:
        return [Recurrent(), Fill("mask", [True, True, False]), PreviousAction("prev_action", "action"), Epsilon(), EpisodeStart("start")]

    @staticmethod
    def observation(number: int) -> dict[str, Any]:
        return {"obs": np.random.default_rng(number % 1000).standard_normal(6).astype(np.float32)}

    @staticmethod
    def decide(factor: float, life: Life, observation: Any, epsilon: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Outputs and what is remembered."""
        given = {"obs": observation["obs"], "h_in": life.state["h_in"], "prev_action": life.state["prev_action"], "epsilon": epsilon,
                 "start": np.float32([life.step == 0]), "mask": np.array([True, True, False])}
        found = {name: row[0] for name, row in model("full", factor).run({name: row[None] for name, row in given.items()}).items()}
        return {name: found[name] for name in Full.outputs}, {"h_in": found["h_out"], "prev_action": found["action"]}


class Lookup:
    """`small_models.remembered_lookup`, by arithmetic; an index outside the table fails."""

    memory: ClassVar = {"h_in": 2, "prev": 2}
    noise_width = 2
    outputs = ("action",)

    @staticmethod
    def wrappers() -> list[Any]:
        return [Epsilon(), PreviousAction("prev", "action"), Recurrent()]

    @staticmethod
    def observation(number: int) -> dict[str, Any]:
        return {"index": np.int64(number % 10 if number % 100 else 99)}

    @staticmethod
    def decide(factor: float, life: Life, observation: Any, epsilon: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        index = int(observation["index"])
        if index >= 10:
            raise Failed
        f, h = np.float32(factor), life.state["h_in"]
        row = np.arange(20, dtype=np.float32).reshape(10, 2)[index] * f
        action = ((row + h * (np.float32(0.5) * f)) + epsilon) + life.state["prev"]
        return {"action": action}, {"h_in": h + f, "prev": action}


class PlainPolicy:
    """Agents of one policy, who waits, and how they are treated."""

    def __init__(self, kind: Any, seed: int):
        self.kind, self.seed = kind, seed
        self.factor, self.version = 1.0, 1
        self.agents: dict[Any, Life] = {}
        self.waiting: dict[Any, Waiting] = {}
        self.not_due: list[Any] = []
        self.levels: dict[Any, Level] = {}
        self.phases: dict[int, int] = {}
        self.held: dict[Any, Any] = {}
        self.last_frame = -1

    def __deepcopy__(self, memo: Any) -> PlainPolicy:
        other = copy(self)
        other.__dict__.update({name: deepcopy(value, memo) for name, value in self.__dict__.items() if name != "kind"})
        return other

    # Agents

    def fresh(self, stream: int, episode: int) -> Life:
        return Life(stream, episode, {name: np.zeros(width, np.float32) for name, width in self.kind.memory.items()})

    def forget(self, agent: Any) -> None:
        for kept in (self.waiting, self.levels, self.held):
            kept.pop(agent, None)
        if agent in self.not_due:
            self.not_due.remove(agent)

    def restart(self, ids: Sequence[Any], stream: int | None, episode: int | None, frame: int) -> None:
        lives = [self.agents.pop(agent) for agent in ids]
        for agent, was in zip(ids, lives, strict=True):
            self.agents[agent] = self.fresh(was.stream if stream is None else stream, was.episode + 1 if episode is None else episode)
            level = self.levels.get(agent)
            self.forget(agent)
            if level is not None:
                level.next_frame = frame
                self.levels[agent] = level

    def restore(self, saved: dict[Any, Life], whole: bool) -> None:
        for agent in list(self.agents) if whole else saved:
            self.agents.pop(agent, None)
        self.agents.update((agent, life.again()) for agent, life in saved.items())

    def set_level(self, agent: Any, every: int, priority: float, hold: str) -> None:
        was = self.levels.pop(agent, None)
        if hold == "none":
            self.held.pop(agent, None)
        if (every, priority, hold) == (1, 1.0, "none"):
            return
        level = Level(every, 0, priority, hold)
        if was is not None:
            level.phase, level.next_frame = was.phase, was.next_frame
        if was is None or was.every != every:
            level.phase = self.phases.get(every, 0)
            self.phases[every] = (level.phase + 1) % every
        if was is not None and was.every != every:
            level.next_frame = min(was.next_frame, was.next_frame - was.every + every)
        self.levels[agent] = level

    # Deciding

    def decide(self, ids: Sequence[Any], observations: Sequence[Any], flags: Sequence[bool]) -> dict[Any, dict[str, Any]]:
        """Everybody's outputs, or Failed and nothing has changed."""
        found = {}
        for agent, observation, flag in zip(ids, observations, flags, strict=True):
            life = self.agents[agent]
            epsilon = noise(self.seed, agent, life, self.kind.noise_width)
            found[agent] = self.kind.decide(self.factor, life, observation, np.zeros_like(epsilon) if flag else epsilon)
        for agent, (_, state) in found.items():
            self.agents[agent].state = {name: np.array(row) for name, row in state.items()}
            self.agents[agent].step += 1
        return {agent: outputs for agent, (outputs, _) in found.items()}

    def push(self, agent: Any, observation: Any, deterministic: bool, frame: int) -> None:
        level = self.levels.get(agent)
        waits = self.waiting.get(agent)
        if waits is None and level is not None and level.next_frame > frame:
            if agent not in self.not_due:
                self.not_due.append(agent)
        else:
            since = frame if waits is None else waits.since
            self.waiting[agent] = Waiting(observation, self.agents[agent].birth, since, deterministic)
            if agent in self.not_due:
                self.not_due.remove(agent)

    def urgency(self, agent: Any, frame: int) -> float:
        level = self.levels.get(agent)
        return (frame + 1 - self.waiting[agent].since) * (1.0 if level is None else level.priority)

    def stale(self) -> list[Any]:
        """Who has ended, or begun again, since the push that waits."""
        return [agent for agent, w in self.waiting.items() if agent not in self.agents or self.agents[agent].birth != w.birth]


@dataclass
class PlainFrame:
    """What each policy decided, repeated, left out and failed with."""

    decided: dict[str, dict[Any, Any]]
    skipped: dict[str, tuple[Any, ...]]
    errors: dict[str, dict[Any, type[Exception]]]
    n_rows: int


class PlainRuntime:
    def __init__(self, policies: dict[str, PlainPolicy]):
        self.policies, self.frame = policies, 0

    def run(self, rows: int | None) -> PlainFrame:
        frame, self.frame = self.frame, self.frame + 1
        found = PlainFrame({name: {} for name in self.policies}, {}, {name: {} for name in self.policies}, 0)
        for name, policy in self.policies.items():
            for agent in policy.stale():
                policy.forget(agent)
                found.errors[name][agent] = AgentError
        for name, ids in self._turns(frame, rows).items():
            policy = self.policies[name]
            policy.last_frame = frame
            taken = {agent: policy.waiting.pop(agent) for agent in ids}
            try:
                decided = policy.decide(ids, [w.observation for w in taken.values()], [w.deterministic for w in taken.values()])
            except Failed:
                for agent, w in taken.items():
                    policy.waiting[agent] = Waiting(w.observation, w.birth, frame + 1, w.deterministic)
                    found.errors[name][agent] = ExecutionError
                continue
            found.n_rows += len(decided)
            found.decided[name] = dict(decided)
            for agent, outputs in decided.items():
                level = policy.levels.get(agent)
                if level is not None:
                    level.next_frame = next(f for f in itertools.count(frame + 1) if f % level.every == level.phase)
                    if level.hold == "last":
                        policy.held[agent] = outputs
        for name, policy in self.policies.items():
            found.skipped[name] = (*policy.waiting, *policy.not_due)
            found.decided[name].update((agent, policy.held[agent]) for agent in found.skipped[name] if agent in policy.held)
            policy.not_due = []
        return found

    def _turns(self, frame: int, rows: int | None) -> dict[str, list[Any]]:
        """Who decides, by policy in the order in which they run: the most urgent so many."""
        order = []
        for name, policy in self.policies.items():
            if policy.waiting:
                urgencies = {agent: policy.urgency(agent, frame) for agent in policy.waiting}
                order.append((-max(urgencies.values()), policy.last_frame, name, urgencies))
        order.sort(key=lambda entry: entry[:2])
        everybody = [(-urgency, name, agent) for _, _, name, urgencies in order for agent, urgency in urgencies.items()]
        chosen = everybody if rows is None else sorted(everybody, key=lambda entry: entry[0])[:rows]
        turns = {}
        for _, _, name, urgencies in order:
            mine = [agent for _, owner, agent in chosen if owner == name]
            if mine and len(mine) < len(urgencies):  # who has no turn at all is not put in order either
                self.policies[name].waiting = self._arranged(self.policies[name], urgencies)
            if mine:
                turns[name] = list(itertools.islice(self.policies[name].waiting, len(mine)))
                assert set(turns[name]) == set(mine)
        return turns

    @staticmethod
    def _arranged(policy: PlainPolicy, urgencies: dict[Any, float]) -> dict[Any, Waiting]:
        return {agent: policy.waiting[agent] for agent in sorted(urgencies, key=lambda agent: -urgencies[agent])}

    def saved(self) -> PlainRuntime:
        """A copy that nothing changes; who waits with an observation from before its begin waits no longer."""
        other = PlainRuntime(deepcopy(self.policies))
        other.frame = self.frame
        for policy in other.policies.values():
            for agent in policy.stale():
                policy.forget(agent)
            policy.not_due = [agent for agent in policy.not_due if agent in policy.agents]
        return other

    def restore(self, saved: PlainRuntime) -> None:
        self.frame = saved.frame
        for name, then in deepcopy(saved.policies).items():
            policy = self.policies[name]
            policy.restore(then.agents, True)
            policy.waiting = {agent: Waiting(w.observation, policy.agents[agent].birth, w.since, w.deterministic)
                              for agent, w in then.waiting.items()}
            for kept in ("not_due", "levels", "phases", "held", "last_frame"):
                setattr(policy, kept, getattr(then, kept))


def chosen(ids: Iterable[Any], agents: Iterable[Any]) -> list[Any]:
    """Those of `ids` that are among the agents, in the order of `ids`."""
    there = set(agents)
    return [agent for agent in ids if agent in there]
