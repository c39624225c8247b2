"""The agents that one connection has begun in one policy."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from cervello.agents.membership.episodes import PastEpisodes
from cervello.bridge.codes import Code, Refusal, bad_request
from cervello.bridge.envelope import REPORTED, as_integer, as_list, kind_of

WINDOW = 64  # inferences to which a reward may belong


class AgentState:
    """One agent. Mutable.

    Attributes:
      key: its id in the policy, unique in the server.
      stream: its noise stream.
      ticks: ticks of its last inferences, newest last; None where the request had none.
      n_steps: inferences that were not skipped.
      episode: the handle of its recording; None when it is not recorded.
    """

    __slots__ = ("episode", "key", "n_steps", "stream", "ticks")

    def __init__(self, key: int, stream: int):
        self.key, self.stream = key, stream
        self.ticks: deque[int | None] = deque(maxlen=WINDOW)
        self.n_steps = 0
        self.episode: int | None = None

    def step_of(self, tick: int | None) -> int | None:
        """The step of a reward: the last one, or the latest with this tick among the last `WINDOW`."""
        if not self.ticks:
            return None
        if tick is None:
            return self.n_steps - 1
        for back, each in enumerate(reversed(self.ticks), 1):
            if each == tick:
                return self.n_steps - back
        return None


class ClientAgents:
    """Agents by their ids. Used by one thread at a time, the one that runs the policy.

    Attributes:
      by_id: agents that have begun. membership_version: grows whenever they change.
      past: number of begins of agents that have ended. Exact for the last 16,384 ids at least; older counts may be higher, so that no
        stream is used twice.
    """

    def __init__(self) -> None:
        self.by_id: dict[int, AgentState] = {}
        self.membership_version = 0
        self.past = PastEpisodes()
        self._begun: dict[int, int] = {}
        self._stepped: Sequence[AgentState] = ()  # agents with steps that `flush_steps` has not stored yet
        self._ticks: list[int | None] = []  # the ticks of these steps

    def earlier_begins(self, ids: Sequence[int]) -> list[int]:
        """The number of earlier begins of agents that have not begun."""
        found = self.past.next_episodes(ids)
        return [found] * len(ids) if isinstance(found, int) else found

    def add(self, ids: Sequence[int], agent_states: Sequence[AgentState], begun: Sequence[int]) -> None:
        """Begins agents."""
        self.membership_version += 1
        self.by_id.update(zip(ids, agent_states, strict=True))
        self._begun.update(zip(ids, begun, strict=True))

    def remove(self, ids: Sequence[int]) -> list[AgentState]:
        """Ends agents."""
        self.membership_version += 1
        self.past.record(ids, [self._begun.pop(agent) + 1 for agent in ids])
        return [self.by_id.pop(agent) for agent in ids]

    def forget(self, ids: Sequence[int]) -> list[AgentState]:
        """Undoes a begin."""
        self.membership_version += 1
        for agent in ids:
            del self._begun[agent]
        return [self.by_id.pop(agent) for agent in ids]

    def note_step(self, agent_states: Sequence[AgentState], tick: int | None) -> None:
        """Notes a step of agents. Repeated steps of the same agents are only counted."""
        if agent_states is not self._stepped:
            self.flush_steps()
            self._stepped = agent_states
        elif len(self._ticks) >= WINDOW:
            self.flush_steps()
        self._ticks.append(tick)

    def flush_steps(self) -> None:
        """Stores counted steps in the agents; must be called before `AgentState.step_of`."""
        ticks, self._ticks = self._ticks, []
        for agent_state in self._stepped:
            agent_state.ticks.extend(ticks)
            agent_state.n_steps += len(ticks)

    def find(self, ids: Sequence[int], remedy: str = "begin them") -> list[AgentState]:
        """Finds agents that have begun.

        Args:
          remedy: in the refusal.
        Raises:
          Refusal: an agent has not begun.
        """
        try:
            return [self.by_id[agent] for agent in ids]
        except KeyError:
            unknown = [agent for agent in ids if agent not in self.by_id]
            raise Refusal(Code.UNKNOWN_AGENT, f"agents: expected agents that have begun, got {len(unknown)} that have not, {unknown[0]} "
                          f"first; {remedy}", agents=unknown[:REPORTED]) from None

    def check_absent(self, ids: Sequence[int]) -> None:
        """Raises Refusal when an agent has begun."""
        there = [agent for agent in ids if agent in self.by_id]
        if there:
            raise Refusal(Code.AGENT_BEGUN, f"agents: expected agents that have not begun, got {len(there)} that have, {there[0]} first; "
                          "end them first", agents=there[:REPORTED])


def agent_list(params: dict[str, Any], optional: bool = False) -> list[int] | None:
    """Checks the distinct ids of `agents`; None when they are optional and left out.

    Raises:
      Refusal: something else.
    """
    given = params.get("agents")
    if given is None and optional:
        return None
    listed = as_list(given)
    if listed is None:
        raise bad_request("agents", f"expected a list of ids, got {kind_of(given)}")
    ids: list[Any] = listed if set(map(type, listed)) <= {int} else [as_integer(each) for each in listed]
    if ids and (None in ids or not 0 <= min(ids) <= max(ids) < 1 << 53):
        raise bad_request("agents", "expected ids 0 ≤ id < 2⁵³, got another value")
    if len(set(ids)) != len(ids):
        raise bad_request("agents", "expected distinct ids, got one twice; name each agent once")
    return ids
