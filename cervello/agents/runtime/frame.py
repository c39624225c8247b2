"""The results of one run of a runtime."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cervello.agents.policy.actions import Actions
from cervello.agents.runtime.policy_queue import PolicyQueue
from cervello.batcher.rows import by_agent
from cervello.errors import AgentError
from cervello.spec import AgentId, Array

Batch = tuple[tuple[AgentId, ...], Actions, Mapping[str, Any]]  # ids of the rows, columns, batch axes of outputs where not 0


class _PolicyResults:
    """Decisions of one policy in a frame, by batch; those repeated by `hold="last"` and errors by agent."""

    held: Mapping[AgentId, dict[str, Array]] = MappingProxyType({})
    failed: Mapping[AgentId, Exception] = MappingProxyType({})

    def __init__(self, version: int):
        self.version = version
        self.batches: list[Batch] = []


class FrameActions(Actions):
    """Decisions of one policy in a frame, by agent. Another agent is an AgentError, which is a KeyError."""

    def __missing__(self, agent: AgentId) -> Any:
        failed = self.errors.get(agent)
        why = "not pushed, or skipped" if failed is None else f"its policy failed: {failed}"
        raise AgentError(f"agent {agent!r}: expected an agent that decided, got no decision in this frame ({why})")


class Frame(Mapping[str, Actions]):
    """Decisions of all policies in one run: {policy: {agent: {output: row}}}. A policy without decisions is not among the keys, but
    `frame["npc"]` still returns empty results with its skipped agents. A name that no policy of the runtime has is an AgentError, which is
    a KeyError. Rows by agent are built when a policy is first accessed; they are views into the columns of `batches`.

    Attributes:
      number: of the frame; the first is 0.
      n_rows: decisions made.
      budget_s, elapsed_s: seconds requested and taken; no budget is None.
      skipped: by policy, the agents that were pushed and did not decide.
      errors: by policy, the error of its batch; its agents are in the policy's `Actions.errors`.
    """

    def __init__(self, number: int, budget_s: float | None = None, policies: Collection[str] = ()):
        self._policies = tuple(policies)
        self.number, self.budget_s = number, budget_s
        self.n_rows = 0
        self.elapsed_s = 0.0
        self.skipped: dict[str, tuple[AgentId, ...]] = {}
        self.errors: dict[str, Exception] = {}
        self._decided: dict[str, _PolicyResults] = {}
        self._by_agent: dict[str, Actions] = {}

    def __getitem__(self, name: str) -> Actions:
        made = self._by_agent.get(name)
        if made is None:
            self._check(name)
            made = FrameActions()
            made.skipped = self.skipped.get(name, ())
            decided = self._decided.get(name)
            if decided is not None:
                for ids, columns, non_leading_axes in decided.batches:
                    made.update(by_agent(ids, columns, non_leading_axes))
                made.update(decided.held)
                made.version = decided.version
                if decided.failed:
                    made.errors = decided.failed
                self._by_agent[name] = made
        return made

    def _check(self, name: str) -> None:
        if name not in self._decided and name not in self._policies:
            known = [*self._policies, *(other for other in self._decided if other not in self._policies)]
            raise AgentError(f"frame {self.number}: expected a policy among {known}, got {name!r}; Runtime.add gives policies their names")

    def get(self, name: str, default: Any = None) -> Any:
        """The decisions of a policy, or the default if it has none."""
        return self[name] if name in self._decided else default

    def __contains__(self, name: object) -> bool:
        return name in self._decided

    def __iter__(self) -> Iterator[str]:
        return iter(self._decided)

    def __len__(self) -> int:
        return len(self._decided)

    def __repr__(self) -> str:
        return f"Frame({self.number}, n_rows={self.n_rows}, policies={list(self._decided)})"

    def _repr_html_(self) -> str:
        from cervello.pictures import notebook  # imported on use, to keep start-up short
        from cervello.pictures.text import duration

        budget = "" if self.budget_s is None else f" of {duration(self.budget_s)}"
        rows = [(name, self[name].version if name in self else "-", len(self.get(name, ())), len(self.skipped.get(name, ())),
                 self.errors.get(name, "")) for name in dict.fromkeys([*self._policies, *self._decided])]
        took = f"{self.n_rows:,} decision{'s' * (self.n_rows != 1)} in {duration(self.elapsed_s)}{budget}"
        return notebook.heading(f"frame {self.number}", took) + notebook.table(("policy", "version", "decided", "skipped", "error"), rows)

    def batches(self, name: str) -> list[tuple[tuple[AgentId, ...], Actions]]:
        """A policy's batches in the order they ran: agent ids and columns by output, as `Policy.infer_batch` returns them. Decisions
        repeated by `hold="last"` are not included."""
        self._check(name)
        decided = self._decided.get(name)
        return [] if decided is None else [(ids, columns) for ids, columns, _ in decided.batches]

    def _of(self, queue: PolicyQueue, version: int) -> _PolicyResults:
        """Results of the policy `queue`; new ones are of the policy's `version`."""
        found = self._decided.get(queue.name)
        if found is None:
            found = self._decided[queue.name] = _PolicyResults(version)
        return found

    def add(self, queue: PolicyQueue, ids: tuple[AgentId, ...], columns: Actions) -> None:
        """Adds a batch of the policy `queue`: row i of each of `columns` belongs to ids[i]."""
        if ids:
            self.n_rows += len(ids)
            decided = self._of(queue, columns.version)
            decided.batches.append((ids, columns, queue.non_leading_axes))
            decided.version = columns.version

    def skip(self, queue: PolicyQueue) -> bool:
        """Records the skipped agents of the policy `queue`, and the held decisions of agents with `hold="last"`.

        Returns:
          whether the next frame must check again, even if no agent begins, ends or is pushed.
        """
        name = queue.name
        if queue.stale:
            stale, queue.stale = queue.stale, []
            self.fail(queue, stale, AgentError(f"policy {name!r}: expected agents that have not ended since their push, got {stale}; end "
                                              "them with the runtime, or push anew those that have begun again"))
        levels = queue.levels
        again = bool(levels.held or levels.not_due)
        skipped = queue.skipped()
        if not skipped:
            self.skipped.pop(name, None)
            return again
        self.skipped[name] = skipped
        if levels.held:
            held = levels.held
            repeated = {agent: {key: row.copy() for key, row in held[agent].items()} for agent in skipped if agent in held}
            if repeated:
                self._of(queue, queue.policy.version).held = repeated
        levels.not_due.clear()
        return again

    def fail(self, queue: PolicyQueue, agents: Sequence[Any], error: Exception) -> None:
        """Records an error of the policy `queue` for some agents."""
        decided = self._of(queue, queue.policy.version)
        decided.failed = {**decided.failed, **dict.fromkeys(agents, error)}
        self.errors[queue.name] = error
