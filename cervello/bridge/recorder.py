"""Writes the steps of agents to a log of `cervello.recording`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cervello.agents import Policy
from cervello.bridge.client_agents import AgentState
from cervello.bridge.recorded_spaces import recorded_spaces
from cervello.bridge.wire import Signature
from cervello.errors import CervelloError
from cervello.recording import Writer
from cervello.spec import Array
from cervello.wrappers import Sample

_log = logging.getLogger("cervello.bridge")
Columns = Mapping[str, Array]
Flags = Array | bool
_APART = ("log_prob", "entropy", "deterministic")  # outputs of `Sample` besides actions


class Recorder:
    """The log of one policy. Used by the policy's thread. A failing disk is logged once and ends the recording, not the game.

    Attributes:
      failed: the recording has ended because of an error.
    """

    def __init__(self, path: Path, name: str, policy: Policy, signature: Signature, server_id: int):
        self.path, self.failed = path, False
        self._log_prob: str | None = None
        self._pre_tanh: dict[str, str] = {}
        self._others: set[str] = set()
        for wrapper in policy.wrappers:
            if isinstance(wrapper, Sample):
                self._log_prob = wrapper.names.get("log_prob", self._log_prob)
                self._others |= {name for what, name in wrapper.names.items() if what in _APART or what.startswith("pre_")}
                if "pre_tanh" in wrapper.names and "action" in wrapper.names:
                    self._pre_tanh[wrapper.names["action"]] = wrapper.names["pre_tanh"]
        about = {"policy": name, "seed": str(policy.seed), "server_id": server_id, "source": "cervello.bridge"}
        observations, actions = recorded_spaces(policy, signature.inputs, {key: tensor for key, tensor in signature.outputs.items()
                                                                           if key not in self._others})
        self._writer = Writer(path, observation_space=observations, action_space=actions, metadata=about, policy=policy)

    def begin(self, ids: Sequence[int], agents: Sequence[AgentState]) -> None:
        """Begins episodes; they may end without a step."""
        handles = self._try(lambda: self._writer.begin(len(ids), agent=list(ids)))
        if handles is not None:
            for agent, handle in zip(agents, handles.tolist(), strict=True):
                agent.episode = handle

    def decide(self, agents: Sequence[AgentState], inputs: Columns, outputs: Columns, deterministic: Flags, version: int,
               tick: int | None) -> None:
        """Records a step of each agent."""
        recorded, rows = self._recorded(agents)
        if not recorded:
            return
        actions = {name: column[rows] for name, column in outputs.items() if name not in self._others}
        pre_tanh = {name: outputs[pre][rows] for name, pre in self._pre_tanh.items() if pre in outputs}
        log_prob = None if self._log_prob is None else outputs.get(self._log_prob)
        self._try(lambda: self._writer.decide(
            [agent.episode for agent in recorded], {name: column[rows] for name, column in inputs.items()}, actions,
            log_prob=None if log_prob is None else log_prob[rows], pre_tanh=pre_tanh or None,
            deterministic=deterministic if isinstance(deterministic, bool) else deterministic[rows], source="policy",
            version=version, stream=np.array([agent.stream for agent in recorded], np.uint64), tick=-1 if tick is None else tick))

    def outcome(self, agents: Sequence[AgentState], steps: Sequence[int], rewards: Array, actions: Columns) -> None:
        """Records rewards, and the executed actions."""
        recorded, rows = self._recorded(agents)
        if recorded:
            self._try(lambda: self._writer.outcome(
                [agent.episode for agent in recorded], reward=rewards[rows].astype(np.float64),
                action={name: column[rows] for name, column in actions.items()} or None, step=np.array(steps, np.int64)[rows]))

    def end(self, agents: Sequence[AgentState], observations: Columns | None, terminated: Flags, truncated: Flags) -> None:
        """Ends episodes."""
        recorded, rows = self._recorded(agents)
        if not recorded:
            return
        flags = [flag if isinstance(flag, bool) else flag[rows] for flag in (terminated, truncated)]
        handles = [agent.episode for agent in recorded]
        for agent in recorded:
            agent.episode = None
        final = None if observations is None else {name: column[rows] for name, column in observations.items()}
        self._try(lambda: self._writer.end(handles, final, terminated=flags[0], truncated=flags[1]))

    def close(self) -> None:
        """Completes the log."""
        self._writer.close()

    def _recorded(self, agents: Sequence[AgentState]) -> tuple[list[AgentState], Any]:
        """Agents whose episodes are recorded, and their rows."""
        rows = [i for i, agent in enumerate(agents) if agent.episode is not None]
        if self.failed or not rows:
            return [], rows
        return [agents[i] for i in rows], slice(None) if len(rows) == len(agents) else rows

    def _try(self, write: Callable[[], Any]) -> Any:
        if self.failed:
            return None
        try:
            return write()
        except (CervelloError, OSError) as error:
            self.failed = True
            _log.error("recording %s: it ends here, the game goes on: %s", self.path, error)
            return None
