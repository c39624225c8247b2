"""`Policy`: a model with agents, wrappers and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cervello.agents.membership.ids import Ids
from cervello.agents.policy.actions import Actions
from cervello.agents.policy.by_name import ByName, Observation
from cervello.agents.policy.core import PolicyCore
from cervello.agents.policy.membership import Numbers
from cervello.agents.policy.predictor import PredictState
from cervello.agents.policy.properties import PolicyProperties
from cervello.agents.policy.replacement import replace_model, update_weights
from cervello.inferers import InfererConfig
from cervello.native import Model
from cervello.native.frontend.importer import Source
from cervello.spec import AgentId, Array, Inferer, Wrapper


class Policy(PolicyProperties):
    """One policy for many agents. Several threads may infer different agents at the same time.

    Args:
      model: many policies may share one.
      inferer: "basic", "fixed", "dynamic", "memoizing", one of `cervello.inferers`, or an object of `cervello.Inferer`.
      wrappers: outermost first; "auto" uses those that `cervello api` suggests.
      seed: of all noise; an agent's noise depends only on seed, stream, agent, episode and its step.
      threads: large batches are split over this many.
      spaces: an environment's spaces, as `cervello.spaces.Spaces` or anything that it accepts: they define how observations become inputs
        and outputs become actions, for `predict` and environments. With wrappers="auto" the head of its action space draws the actions.
    Raises:
      ConfigurationError, WrapperError: the options are invalid, or do not fit this model.
      UnsupportedError: an output whose shape depends on data.
    """

    def __init__(self, model: Model, *, inferer: str | InfererConfig | Inferer = "memoizing", wrappers: Sequence[Wrapper] | str = (),
                 seed: int = 0, threads: int = 1, spaces: Any = None):
        self._core = PolicyCore(model, inferer=inferer, wrappers=wrappers, seed=seed, threads=threads, spaces=spaces)
        self._by_name = ByName(self._core)

    def __reduce__(self) -> tuple[Any, ...]:
        core = self._core
        engine = core.engine
        return _again, (engine.model, engine.inferer_choice, engine.wrappers, core.seed, engine.threads, engine.version, core.name,
                        self.snapshot(), core.environment.picklable())

    # Begin and end ------------------------------------------------------------------------------------------------------

    def begin_agent(self, agent: AgentId, stream: int = 0, episode: int | None = None) -> None:
        """Begins an agent's episode: initial state, noise of (seed, stream, agent, episode) from step 0.

        Args:
          stream, episode: as in `begin_agents`.

        Raises:
          AgentError: it is already active, or the id is no int (0 ≤ id < 2⁶³) or string.
        """
        self._core.begin_agents((agent,), stream, episode)

    def begin_agents(self, ids: Ids, stream: Numbers = 0, episode: Numbers | None = None) -> None:
        """Begins many agents, or none if one cannot begin or a wrapper's hook fails.

        Args:
          ids: [n] of the agents, distinct: a list or an array of integers, or a list of strings.
          stream, episode: one number for all or one per agent. An episode of None is 0 for an agent that begins for the first time and
            the next one for an agent that has ended, whatever its stream. Of agents that ended long ago only a floor is remembered, see
            `agents.membership.episodes.PastEpisodes`: their episodes may skip numbers and never repeat one.
        """
        self._core.begin_agents(ids, stream, episode)

    def end_agent(self, agent: AgentId) -> None:
        """Ends an agent's episode and discards its state.

        Raises:
          AgentError: it is not active.
        """
        self._core.end_agents((agent,))

    def end_agents(self, ids: Ids) -> None:
        """Ends the agents `ids`, or none if one is not active. Every wrapper's hook is called, even if the hook of another one fails.

        A finalizer, a signal handler or a hook may call it inside a decision or a change of the same policy. The end is then deferred
        until that operation is over, before it returns.
        """
        self._core.end_agents(ids)

    def restart_agents(self, ids: Ids, stream: Numbers | None = None, episode: Numbers | None = None) -> None:
        """Ends and begins agents in one step: the next episode of the same agents. If it cannot begin, the last one continues.

        Args:
          ids: [n] of the agents, distinct.
          stream, episode: as in `begin_agents`; None keeps an agent's stream and takes its next episode.
        """
        self._core.restart_agents(ids, stream, episode)

    # Deciding -----------------------------------------------------------------------------------------------------------

    def infer(self, observations: Mapping[AgentId, Observation | Any], deterministic: bool | Mapping[AgentId, bool] = False) -> Actions:
        """Decides for agents given by name.

        Args:
          observations: {agent: {input: row}}, or {agent: row} if there is one required input. Rows may differ in sizes
            that the file leaves open (`TensorSpec.open_axes`); agents of one size run together then.
          deterministic: no noise, for all or by agent.
        Returns:
          Actions {agent: {output: row}}.
        Raises:
          AgentError, InputError: nothing has changed then.
        """
        return self._by_name.infer(observations, deterministic)

    def infer_single(self, agent: AgentId, observation: Observation | Any, deterministic: bool = False) -> dict[str, Array]:
        """Decides for one agent: {output: row}. The observation and `deterministic` are as in `infer`."""
        return self._by_name.infer_single(agent, observation, deterministic)

    def infer_batch(self, ids: Ids, inputs: Mapping[str, Any], deterministic: bool | Array = False,
                    out: Mapping[str, Array] | None = None) -> Actions:
        """Decides for rows.

        Args:
          ids: distinct active agents.
          inputs: a column [N, ...] per input; row i belongs to ids[i]. Open sizes are those of the column. An input with open sizes may
            also be an [N] array of type object, of rows whose sizes differ: rows of one size run together.
          deterministic: no noise, for all or [N] bool by row.
          out: arrays to write to, by output name; others are allocated.
        Returns:
          Actions: columns by output name. For rows whose sizes differ, outputs of open size, and those whose batch axis is not 0, are
          [N] rows of type object.
        Raises:
          AgentError, InputError: nothing has changed then.
        """
        return self._core.infer_batch(ids, inputs, deterministic, out)

    def predict(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False,
                action_masks: Any = None) -> tuple[Array, PredictState | None]:
        """Decides for rows without agents, as Stable-Baselines3's `predict`; its `evaluate_policy` accepts a policy unchanged.

        Rows without a state begin an episode of their own. Their noise depends on the policy's seed, the number of such calls before,
        the row and its step, so that no two episodes repeat noise.

        Args:
          observation: one of the observation space, or a batch of them [N, …].
          state: returned by the last call; None begins new episodes.
          episode_start: [N] bool, rows whose episode begins with this observation: they get initial state.
          deterministic: no noise.
          action_masks: nonzero for allowed actions, [N, …]; an action must be allowed by this mask and by that of the observation.
        Returns:
          actions of the action space, [N, …] or a single one; the new state, None for policies without state and noise.
        Raises:
          ConfigurationError: the policy was loaded without `spaces`. InputError: an observation, state or mask that does not fit.
        """
        core = self._core
        actions, after, _, _ = core.environment.predict(False, core.name, core.engine, core.seed, observation, state, episode_start,
                                                        deterministic, action_masks)
        return actions, after

    # Swaps and snapshots ------------------------------------------------------------------------------------------------

    def replace(self, new: Model | Source, *, wrappers: Sequence[Wrapper] | None = None,
                inferer: str | InfererConfig | Inferer | None = None) -> None:
        """Replaces the model from the next batch on. Agents, their state and their noise stay. Other threads continue to decide meanwhile.

        Args:
          new: a model, or a file to load with the same options.
          wrappers: with other parameters (statistics of `Normalize`, say), swapped together with the model. Those with state stay the same
            in kind and order; others may be added or removed.
          inferer: another inferer than the one chosen at first.
        Raises:
          ModelError: the file cannot be used. ConfigurationError: the model's inputs or outputs differ from those of the old one.
          WrapperError: wrappers with state differ in kind or order. The old policy stays active in each case.
        """
        replace_model(self._core, new, wrappers, inferer)

    def update_weights(self, weights: Mapping[str, Any]) -> None:
        """Replaces weights in the same plan, from the next batch on. Agents, their state and their noise stay.

        Args:
          weights: arrays by the names of the file's constants, all or some.
        Raises:
          ConfigurationError: a name, shape or type that the file does not have; nothing has changed then.
        """
        update_weights(self._core, weights)

    def snapshot(self, ids: Ids | None = None, out: Any = None) -> bytes | memoryview:
        """Serializes agents: ids, noise counters, and wrapper state. See `agents.policy.snapshot_format`.

        Args:
          ids: agents to save; None for all, and then all others end when it is restored.
          out: a buffer to write to, at least as large as the snapshot.
        Returns:
          bytes, or a view of the written part of `out`.
        Raises:
          AgentError: an unknown agent. WrapperError: a wrapper that does not expose its state. InputError: `out` does not fit.
        """
        return self._core.snapshot(ids, out)

    def restore(self, state: Any, ids: Ids | None = None) -> None:
        """Restores agents from a snapshot: their later decisions are bitwise those that followed it.

        A snapshot of all agents restores exactly those. A snapshot of some agents restores or begins these and leaves others unchanged.

        Args:
          state: bytes that `snapshot` returned.
          ids: other ids for the snapshot's agents, one for each in its order; others are left unchanged then. Their noise continues as that
            of the agents with these ids.
        Raises:
          SnapshotError: damaged bytes, or a snapshot of another policy, seed or other wrappers; nothing has changed then.
        """
        self._core.restore(state, ids)


def _again(model: Model, inferer: Any, wrappers: tuple[Wrapper, ...], seed: int, threads: int, version: int, name: str,
           state: bytes, spaces: Any = None) -> Policy:
    """Unpickles a policy: the file is loaded, the agents are restored."""
    policy = Policy(model, inferer=inferer, wrappers=wrappers, seed=seed, threads=threads, spaces=spaces)
    core = policy._core
    core.name = name
    core.use(core.engine.as_version(version, name))
    policy.restore(state)
    return policy
