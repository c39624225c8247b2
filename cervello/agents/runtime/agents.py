"""The agents of a runtime: they begin and end with its policies, and each has a level of detail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cervello.agents.membership import deferred
from cervello.agents.membership.deferred import defer
from cervello.agents.membership.ids import Ids, as_id_list, builtin_id, check_id_types, is_per_agent
from cervello.agents.policy.membership import Numbers
from cervello.agents.runtime import level_of_detail
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.agents.runtime.registry import PolicyRegistry
from cervello.spec import AgentId


class RuntimeAgents(PolicyRegistry):
    """Policies with agents. Mutable; thread-safe."""

    def __init__(self) -> None:
        super().__init__()
        self._deferred_ends: dict[tuple[PolicyQueue, AgentId], int | None] = {}  # agents whose end is deferred, with their generation

    def begin_agent(self, name: str, agent: AgentId, stream: int = 0, episode: int | None = None, *, every: int = 1,
                    priority: float = 1.0, hold: str = "none") -> None:
        """Begins an agent of a policy.

        Args:
          name: of the policy.
          stream, episode: as `Policy.begin_agent`.
          every, priority, hold: as `set_level`.
        """
        self.begin_agents(name, (agent,), stream, episode, every=every, priority=priority, hold=hold)

    def begin_agents(self, name: str, ids: Ids, stream: Numbers = 0, episode: Numbers | None = None, *, every: int = 1,
                     priority: float = 1.0, hold: str = "none") -> None:
        """Begins all the agents or none.

        Args:
          name: of the policy.
          ids, stream, episode: as in `Policy.begin_agents`.
          every, priority, hold: of all of them, as in `set_level`.
        """
        queue = self._queue_of(name)
        level_of_detail.check(f"policy {name!r}, begin", every, priority, hold)
        names = as_id_list(ids, ordered=is_per_agent(stream) or is_per_agent(episode))
        before = queue.policy.membership_version
        queue.policy.begin_agents(names, stream, episode)
        with self._locked("begin"):
            queue.note_own_change(before)
            if queue.levels.by_agent or (every, priority, hold) != (1, 1.0, "none"):
                for agent in names:
                    queue.set_level(agent, int(every), float(priority), hold)

    def end_agent(self, name: str, agent: AgentId) -> None:
        """Ends an agent of the policy `name`; its queued observation is dropped."""
        self.end_agents(name, (agent,))

    def end_agents(self, name: str, ids: Ids) -> None:
        """Ends the agents `ids` of the policy `name`, all or none. Deferred inside another call, as `Policy.end_agents`."""
        queue, names = self._queue_of(name), as_id_list(ids, ordered=False)
        if queue.policy.lock.must_defer():
            self._defer_end(queue, names)
            return
        with self._ending(queue, names):
            queue.policy.end_agents(names)

    def _defer_end(self, queue: PolicyQueue, names: Sequence[AgentId]) -> None:
        """Defers the end of the agents until this thread releases its locks; raises as `Membership.check_can_end`."""
        with queue.policy.error_context:
            generations = queue.policy.membership.check_can_end(names, lambda agent: (queue, agent) in self._deferred_ends)
        self._deferred_ends.update(((queue, agent), generation) for agent, generation in zip(names, generations, strict=True))
        defer(self._run_deferred_ends)

    def _run_deferred_ends(self) -> None:
        """Ends the agents whose end was deferred and that are still active."""
        while self._deferred_ends:
            (queue, agent), then = self._deferred_ends.popitem()
            now = queue.policy.generations((agent,))[0]
            if now is not None and then in (None, now):
                try:
                    with self._ending(queue, (agent,)):
                        queue.policy.end_agents((agent,))
                except Exception as error:  # raised by a hook; the remaining agents still end
                    deferred.log_error(error)

    def restart_agents(self, name: str, ids: Ids, stream: Numbers | None = None, episode: Numbers | None = None) -> None:
        """Ends and begins agents in one step. Levels stay; queued observations are dropped.

        Args:
          name: of the policy.
          ids, stream, episode: as in `Policy.restart_agents`.
        """
        queue, names = self._queue_of(name), as_id_list(ids, ordered=is_per_agent(stream) or is_per_agent(episode))
        with self._ending(queue, names, keep_levels=True):
            queue.policy.restart_agents(names, stream, episode)

    @contextmanager
    def _ending(self, queue: PolicyQueue, names: Sequence[AgentId], keep_levels: bool = False) -> Iterator[None]:
        """Agents end or restart inside this context. Their queued observations are dropped afterwards, also when a hook raises."""
        check_id_types(names)
        policy = queue.policy
        with self._lock:
            queue.ending.update(names)
        try:
            before, generations = policy.membership_version, policy.generations(names)
            try:
                yield
            finally:
                with self._lock:
                    for agent, was, now in zip(names, generations, policy.generations(names), strict=True):
                        if was != now:
                            self._forget_ended(queue, agent, keep_levels)
                    queue.note_own_change(before)
        finally:
            with self._lock:
                queue.ending -= set(names)

    def _forget_ended(self, queue: PolicyQueue, agent: AgentId, keep_level: bool) -> None:
        """Drops the runtime's state of an agent that has ended or restarted."""
        kept = queue.levels.by_agent.get(agent)
        queue.forget(agent)
        if keep_level and kept is not None:
            kept.next_frame = self.frame
            queue.levels.by_agent[agent] = kept

    def set_level(self, name: str, agent: AgentId, *, every: int = 1, priority: float = 1.0, hold: str = "none") -> None:
        """Sets how often and how urgently an agent decides: in each frame near the player, in every eighth far away.

        Args:
          name: of the policy.
          every: frames from one turn to the next; 1 is every frame. Phases are spread over agents. Observations pushed in between are not
            kept.
          priority: urgency grows by this much per frame of waiting.
          hold: "last" repeats the agent's last decision in frames in which it was pushed and did not decide; "none" leaves it out.
        """
        queue = self._queue_of(name)
        level_of_detail.check(f"policy {name!r}, agent {agent!r}", every, priority, hold)
        agent = builtin_id(agent)
        queue.policy.check_agents((agent,))
        with self._locked("set_level"):
            queue.set_level(agent, int(every), float(priority), hold)
