"""Default episode numbers of agents that begin again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cervello.errors import AgentError
from cervello.spec import AgentId

REMEMBERED = 1 << 14  # agents per generation
HIGHEST = 1 << 62  # maximum of the floor, so that one agent's far episode leaves numbers for the others
Generations = tuple[dict[AgentId, int], dict[AgentId, int]]


class PastEpisodes:
    """Next episodes of agents that have ended, in bounded memory. Mutable.

    Exact counts for an unlimited number of ids would need unlimited memory, so there are two rules:

    1. The agents that ended last, at least `REMEMBERED` and at most twice as many, are remembered by id: their next episode is the one
       after their last.
    2. All others get the floor: the highest next episode of a forgotten agent, 0 before any agent is forgotten. It never falls, so an
       agent that is forgotten and begins again repeats none of its episodes.

    An agent's episodes are therefore 0, 1, 2, … while no more than `REMEMBERED` others end in between; beyond that they may skip numbers.
    They depend only on the begins and ends of this policy and their order. Pass `episode=` where they must not depend on other
    agents. The floor rises by about one whenever `REMEMBERED` new agents begin and end. A next
    episode above 2⁶², which only `episode=` can cause, does not raise the floor.

    Attributes:
      floor: see above.
      generations: older and newer agents by id with their next episodes; the older ones are forgotten when the newer ones are complete.
    """

    __slots__ = ("floor", "generations")

    def __init__(self, floor: int = 0, generations: Generations | None = None):
        if not isinstance(floor, int) or not 0 <= floor <= HIGHEST or (generations is not None and not _is_valid(generations)):
            raise AgentError(f"episodes: expected a floor from 0 to 2⁶² and two tables of at most {REMEMBERED} next episodes, got others")
        self.floor = floor
        self.generations: Generations = ({}, {}) if generations is None else generations

    def record(self, ids: Sequence[AgentId], next_episodes: Sequence[int]) -> None:
        """Records agents that end.

        Args:
          next_episodes: their next episodes.
        """
        done = 0
        while done < len(ids):
            older, newer = self.generations
            if len(newer) >= REMEMBERED:
                self.floor = max(self.floor, max((episode for episode in older.values() if episode <= HIGHEST), default=0))
                older, newer = self.generations = newer, {}
            end = done + REMEMBERED - len(newer)
            newer.update(zip(ids[done:end], next_episodes[done:end], strict=True))
            done = end

    def next_episodes(self, ids: Sequence[AgentId]) -> int | list[int]:
        """The next episodes of agents that begin; one number if it is the same for all."""
        (older, newer), floor = self.generations, self.floor
        if not newer:  # then there are no older ones either
            return floor
        return [older.get(agent, floor) if (episode := newer.get(agent)) is None else episode for agent in ids]


def _is_valid(generations: Iterable[dict[AgentId, int]]) -> bool:
    return all(len(table) <= REMEMBERED and all(type(episode) is int and 0 < episode <= 1 << 63 for episode in table.values())
               for table in generations)
