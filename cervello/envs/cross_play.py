"""Games of several policies: each pair plays in all ways to share the seats, on the same seeds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.agents.policy.core import core_of
from cervello.envs.cross_play_result import CrossPlay, Game
from cervello.envs.decision import draws_actions
from cervello.envs.multiagent.assignment import PolicyAssignment, PolicyCache
from cervello.envs.multiagent.inference import Coroutine, InferenceRequest, InferenceResponse, infer_requests
from cervello.envs.multiagent.making import Match, make_match
from cervello.envs.multiagent.parallel_match import LearnerView
from cervello.envs.play_result import Returns
from cervello.envs.seeding import episode_seed
from cervello.errors import ConfigurationError
from cervello.recording.finite import is_finite

Progress = Callable[[int, int, str], None]
Lineup = dict[str, str]
"""The name of the policy in each seat."""

MOST_SEATS = 6  # 2⁶ - 2 games for each pair and episode


def cross_play(env: Any, policies: Mapping[str, Any], seats: Sequence[str] | None, episodes: int, seed: int, deterministic: bool,
               max_steps: int | None, progress: Progress | None) -> tuple[dict[str, Returns], CrossPlay]:
    """Plays episodes of each pair of policies in each way to share the seats.

    Args:
      env: of PettingZoo; it stays open.
      policies: by name, a policy or path for all seats, or one for each seat; seats left out are never taken.
      seats: patterns of agents' names; None makes each possible agent one.
      episodes, seed, deterministic, max_steps, progress: as in `play`.
    Raises:
      ConfigurationError: seats that no agent has, policies that do not fit, or no two policies that can meet.
    """
    chosen = _checked_seats(env, seats)
    entrants = {name: _by_seat(name, given, chosen) for name, given in policies.items()}
    lineups = _lineups(entrants, chosen)
    library = PolicyCache(seed)
    _load_all(env, entrants, chosen, library, seed)
    matchups = [_Matchup(env, lineup, entrants, seed, deterministic, library, max_steps) for lineup in lineups]
    total = episodes * len(matchups)
    games: list[Game] = []
    tallies = {name: _Tally() for name in policies}
    for k in range(episodes):
        for matchup in matchups:
            games.append(matchup.play(k, episode_seed(seed, k), tallies))
            if progress is not None:
                progress(len(games), total, " and ".join(dict.fromkeys(matchup.lineup.values())))
    return {name: _returns(name, games, episodes, tallies[name]) for name in policies}, CrossPlay(tuple(chosen), tuple(games))


def _checked_seats(env: Any, seats: Sequence[str] | None) -> list[str]:
    if seats is None:
        possible = getattr(env, "possible_agents", None)
        if not possible:
            raise ConfigurationError("play, seats: expected patterns of agents' names, since the environment has no possible_agents, got "
                                     "none; for example seats=['red_*', 'blue_*']")
        found = list(possible)
    elif isinstance(seats, str) or not isinstance(seats, Sequence) or not all(isinstance(seat, str) for seat in seats):
        raise ConfigurationError(f"play, seats: expected a list of patterns of agents' names, got {seats!r}")
    else:
        found = list(seats)
    if not 2 <= len(found) <= MOST_SEATS or len(set(found)) != len(found):
        raise ConfigurationError(f"play, seats: expected 2 to {MOST_SEATS} different ones, got {found[:16]}; one pattern may stand for "
                                 "several agents, as in seats=['red_*', 'blue_*']")
    return found


def _by_seat(name: str, given: Any, seats: Sequence[str]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return dict.fromkeys(seats, given)
    unknown = [seat for seat in given if seat not in seats]
    if unknown or not given:
        raise ConfigurationError(f"play, policy {name!r}: expected policies for seats among {list(seats)}, got "
                                 f"{unknown[0] if unknown else dict(given)!r}")
    return dict(given)


def _lineups(entrants: Mapping[str, Mapping[str, Any]], seats: Sequence[str]) -> list[Lineup]:
    """For each pair, all assignments of the seats that both take part in."""
    found = []
    for a, b in itertools.combinations(entrants, 2):
        for names in itertools.product((a, b), repeat=len(seats)):
            lineup = dict(zip(seats, names, strict=True))
            if len(set(names)) == 2 and all(seat in entrants[name] for seat, name in lineup.items()):
                found.append(lineup)
    met = {name for lineup in found for name in lineup.values()}
    lonely = next((name for name in entrants if name not in met), None)
    if lonely is not None:
        raise ConfigurationError(f"play, policies: expected for each another that it can share the seats {list(seats)} with, got none for "
                                 f"{lonely!r} with {list(entrants[lonely])}; envs.Crowd plays one policy in all seats")
    return found


def seat_spaces(env: Any, seats: Sequence[str] | None, seed: int) -> dict[str, list[tuple[str, tuple[Any, Any]]]]:
    """By seat, its agents that are known and their (observation space, action space).

    They are the possible agents, or where the environment does not list them those of the first episode of a seed.

    Raises:
      ConfigurationError: seats that no agent has, or an agent that has no seat or two.
    """
    chosen = _checked_seats(env, seats)
    agents = list(getattr(env, "possible_agents", None) or ())
    if not agents:
        env.reset(seed=episode_seed(seed, 0))
        agents = list(env.agents)
    assignment = PolicyAssignment(dict.fromkeys(chosen, "unused"), PolicyCache(seed), "episode", "play, seats")
    assignment.check(agents)
    found: dict[str, list[tuple[str, tuple[Any, Any]]]] = {seat: [] for seat in chosen}
    for agent in agents:
        found[assignment.pattern(agent)].append((agent, (env.observation_space(agent), env.action_space(agent))))
    return found


def _load_all(env: Any, entrants: Mapping[str, Mapping[str, Any]], seats: Sequence[str], library: PolicyCache, seed: int) -> None:
    """Loads policies for the agents that are known, so that what does not fit is refused before anything is played."""
    known_agents = seat_spaces(env, seats, seed)
    for name, by_seat in entrants.items():
        for seat, agent, spaces in ((seat, *each) for seat, found in known_agents.items() if seat in by_seat for each in found):
            policy = PolicyAssignment({seat: by_seat[seat]}, library, "episode", f"play, policy {name!r}").policy(agent, spaces)
            known = core_of(policy).binding.spaces.action_space
            if known != spaces[1]:
                raise ConfigurationError(f"play, policy {name!r}, seat {seat!r}: expected a policy loaded with spaces whose actions are "
                                         f"{spaces[1]}, got {policy.name!r} for {known}; give one for each seat, "
                                         f"{{{name!r}: {{{seat!r}: policy, …}}}}")


@dataclass(slots=True)
class _Tally:
    """Seconds, empty masks, draws and observations that are not finite, of one policy's games. Mutable."""

    environment_s: float = 0.0
    policy_s: float = 0.0
    empty_masks: int = 0
    drawn: bool = False
    not_finite: int = 0


class _Matchup:
    """One lineup at the environment that all share. Mutable."""

    def __init__(self, env: Any, lineup: Lineup, entrants: Mapping[str, Mapping[str, Any]], seed: int, deterministic: bool,
                 library: PolicyCache, max_steps: int | None):
        self.lineup = lineup
        cast = {seat: entrants[name][seat] for seat, name in lineup.items()}
        self._match: Match
        self._match, self._assignment = make_match(env, (), cast, seed, deterministic, "episode", "play", library)
        self._max_steps = max_steps

    def play(self, episode: int, seed: int, tallies: Mapping[str, _Tally]) -> Game:
        """One game. Its agents end with it, also when it fails."""
        match = self._match
        own = [tallies[name] for name in dict.fromkeys(self.lineup.values())]
        seat_returns = dict.fromkeys(self.lineup, 0.0)
        seats: dict[str, str] = {}
        length, truncated = 0, False
        try:
            self._run(match.reset(seed, None), own, tallies)
            while match.agents:
                length += self._run(match.step({}), own, tallies)
                rewards, ended, cut = match.outcome
                for agent, reward in rewards.items():
                    if agent not in seats:
                        seats[agent] = self._assignment.pattern(agent)
                    seat_returns[seats[agent]] += float(reward)
                truncated |= any(cut.values())
                if length == self._max_steps and any(not ended.get(agent) and not cut.get(agent) for agent in match.agents):
                    truncated = True
                    break
        finally:
            match.roster.end_all()
        means = {name: float(np.mean([seat_returns[seat] for seat, whose in self.lineup.items() if whose == name]))
                 for name in dict.fromkeys(self.lineup.values())}
        return Game(episode, seed, dict(self.lineup), means, seat_returns, length, not truncated)

    def _run(self, coroutine: Coroutine[LearnerView], own: Sequence[_Tally], tallies: Mapping[str, _Tally]) -> int:
        """Runs a reset or step; returns 1 if an agent decided, else 0."""
        decided = 0
        before = time.perf_counter()
        try:
            requests = next(coroutine)
            while True:
                _spend(own, time.perf_counter() - before)
                decided = 1
                responses = self._responses(requests, tallies)
                before = time.perf_counter()
                requests = coroutine.send(responses)
        except StopIteration:
            _spend(own, time.perf_counter() - before)
        return decided

    def _responses(self, requests: list[InferenceRequest], tallies: Mapping[str, _Tally]) -> list[InferenceResponse]:
        """Responses, policy by policy; the time of a policy that several names stand for is shared among them."""
        responses: list[InferenceResponse | None] = [None] * len(requests)
        for key in dict.fromkeys(id(request.policy) for request in requests):
            places = [i for i, request in enumerate(requests) if id(request.policy) == key]
            before = time.perf_counter()
            found = infer_requests([requests[i] for i in places])
            spent = time.perf_counter() - before
            owners = self._owners(requests[places[0]].policy)
            for name in owners:
                tallies[name].policy_s += spent / len(owners)
            tallies[owners[0]].empty_masks += sum(response.empty_masks for response in found)
            tallies[owners[0]].not_finite += sum(not is_finite(each) for i in places for each in requests[i].observations)
            for name in owners:
                tallies[name].drawn |= not requests[places[0]].deterministic and draws_actions(requests[places[0]].policy)
            for i, response in zip(places, found, strict=True):
                responses[i] = response
        return responses  # type: ignore[return-value]

    def _owners(self, policy: Policy) -> list[str]:
        """The names that a policy plays for in this lineup."""
        found = {self.lineup[self._assignment.pattern(agent)] for other, agents, _ in self._match.roster.groups if other is policy
                 for agent in agents}
        return sorted(found)


def _spend(tallies: Sequence[_Tally], seconds: float) -> None:
    for tally in tallies:
        tally.environment_s += seconds


def _returns(name: str, games: Sequence[Game], episodes: int, tally: _Tally) -> Returns:
    """A policy's means over its games of each episode."""
    by_episode: list[list[Game]] = [[] for _ in range(episodes)]
    for game in games:
        if name in game.returns:
            by_episode[game.episode].append(game)
    return Returns(name, np.array([np.mean([game.returns[name] for game in each]) for each in by_episode]),
                   np.array([np.mean([game.length for game in each]) for each in by_episode]),
                   np.array([all(game.terminated for game in each) for each in by_episode]), tally.environment_s, tally.policy_s,
                   tally.empty_masks, tally.drawn, tally.not_finite)
