"""The agents that one connection has begun in one policy."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from cervello.agents.membership.episodes import PastEpisodes
from cervello.bridge.codes import Code, Refusal, bad
from cervello.bridge.envelope import REPORTED, as_list, whole

WINDOW = 64  # inferences to which a reward may belong


class Member:
    """One agent. Mutable.

    Attributes:
      key: its id in the policy, which no other agent of the server has.
      stream: of its noise.
      ticks: of its last inferences, newest last; None where none was given.
      n_steps: inferences that were not skipped.
      episode: the recording's handle; None when nothing is recorded.
    """

    __slots__ = ("episode", "key", "n_steps", "stream", "ticks")

    def __init__(self, key: int, stream: int):
        self.key, self.stream = key, stream
        self.ticks: deque[int | None] = deque(maxlen=WINDOW)
        self.n_steps = 0
        self.episode: int | None = None

    def step_of(self, tick: int | None) -> int | None:
        """The step that a reward belongs to: the last one, or the latest with this tick among the last `WINDOW`."""
        if not self.ticks:
            return None
        if tick is None:
            return self.n_steps - 1
        for back, each in enumerate(reversed(self.ticks), 1):
            if each == tick:
                return self.n_steps - back
        return None


class Crowd:
    """Agents by their ids. Used by one thread at a time, that which runs the policy.

    Attributes:
      members: those that have begun. membership_version: grows whenever they change.
      past: how often others began. Exact for the last 16,384 ids at least; beyond, a count may be higher, so that no stream comes twice.
    """

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self.membership_version = 0
        self.past = PastEpisodes()
        self._begun: dict[int, int] = {}
        self._stepped: Sequence[Member] = ()  # agents whose last steps they do not know yet, and the ticks of these
        self._ticks: list[int | None] = []

    def begun(self, ids: Sequence[int]) -> list[int]:
        """How often agents that have not begun were begun before."""
        found = self.past.following(ids)
        return [found] * len(ids) if isinstance(found, int) else found

    def add(self, ids: Sequence[int], members: Sequence[Member], begun: Sequence[int]) -> None:
        """Agents begin."""
        self.membership_version += 1
        self.members.update(zip(ids, members, strict=True))
        self._begun.update(zip(ids, begun, strict=True))

    def remove(self, ids: Sequence[int]) -> list[Member]:
        """Agents end."""
        self.membership_version += 1
        self.past.note(ids, [self._begun.pop(agent) + 1 for agent in ids])
        return [self.members.pop(agent) for agent in ids]

    def forget(self, ids: Sequence[int]) -> list[Member]:
        """Agents have not begun after all."""
        self.membership_version += 1
        for agent in ids:
            del self._begun[agent]
        return [self.members.pop(agent) for agent in ids]

    def step(self, members: Sequence[Member], tick: int | None) -> None:
        """Agents have inferred. A crowd that comes again is only counted."""
        if members is not self._stepped:
            self.settle()
            self._stepped = members
        elif len(self._ticks) >= WINDOW:
            self.settle()
        self._ticks.append(tick)

    def settle(self) -> None:
        """Tells agents of steps that were only counted; to be called before `Member.step_of`."""
        ticks, self._ticks = self._ticks, []
        for member in self._stepped:
            member.ticks.extend(ticks)
            member.n_steps += len(ticks)

    def find(self, ids: Sequence[int]) -> list[Member]:
        """Agents that have begun.

        Raises:
          Refusal: some have not.
        """
        try:
            return [self.members[agent] for agent in ids]
        except KeyError:
            unknown = [agent for agent in ids if agent not in self.members]
            raise Refusal(Code.UNKNOWN_AGENT, f"agents: expected agents that have begun, got {len(unknown)} that have not, {unknown[0]} "
                          "first; begin them", agents=unknown[:REPORTED]) from None

    def check_absent(self, ids: Sequence[int]) -> None:
        """Raises Refusal when an agent has begun."""
        there = [agent for agent in ids if agent in self.members]
        if there:
            raise Refusal(Code.AGENT_BEGUN, f"agents: expected agents that have not begun, got {len(there)} that have, {there[0]} first; "
                          "end them first", agents=there[:REPORTED])


def agent_list(params: dict[str, Any], optional: bool = False) -> list[int] | None:
    """The distinct ids of `agents`; None when they are left out and may be.

    Raises:
      Refusal: something else.
    """
    given = params.get("agents")
    if given is None and optional:
        return None
    listed = as_list(given)
    if listed is None:
        raise bad("agents", "expected a list of ids")
    ids: list[Any] = listed if set(map(type, listed)) <= {int} else [whole(each) for each in listed]
    if ids and (None in ids or not 0 <= min(ids) <= max(ids) < 1 << 53):
        raise bad("agents", "expected ids 0 ≤ id < 2⁵³")
    if len(set(ids)) != len(ids):
        raise bad("agents", "expected distinct ids, got one twice")
    return ids
