"""A stand-in for cervello.Policy, made of onnxruntime: fills the noise and keeps the recurrent state by agent id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest


class OnnxruntimePolicy:
    """Follows the protocol of `cervello.demo.play.PolicyLike`.

    Args:
      path: the ONNX file; an input `epsilon` is filled with standard normal noise, `h_in` with the last `h_out`.
      seed: of the noise.
      forgetful: hands the model a zero state on every tick.
    """

    def __init__(self, path: Path, seed: int = 0, *, forgetful: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._widths = {each.name: each.shape[-1] for each in self._session.get_inputs()}
        self._outputs = [each.name for each in self._session.get_outputs()]
        self._random = np.random.default_rng(seed)
        self._forgetful = forgetful
        self._states: dict[int, npt.NDArray[np.float32]] = {}

    @property
    def living(self) -> set[int]:
        """Ids begun and not ended."""
        return set(self._states)

    def begin_agents(self, ids: Sequence[int], /) -> None:
        for agent_id in ids:
            if agent_id in self._states:
                raise KeyError(f"agent {agent_id} was begun twice")
            self._states[agent_id] = np.zeros(self._widths.get("h_in", 0), np.float32)

    def end_agents(self, ids: Sequence[int], /) -> None:
        for agent_id in ids:
            del self._states[agent_id]

    def infer_batch(
        self, ids: npt.NDArray[np.int64], observations: Mapping[str, npt.NDArray[np.float32]], /
    ) -> dict[str, npt.NDArray[Any]]:
        feeds = dict(observations)
        if "epsilon" in self._widths:
            feeds["epsilon"] = self._random.standard_normal((len(ids), self._widths["epsilon"])).astype(np.float32)
        if "h_in" in self._widths:
            states = np.stack([self._states[agent_id] for agent_id in ids.tolist()])
            feeds["h_in"] = np.zeros_like(states) if self._forgetful else states
        outputs = dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))
        for agent_id, state in zip(ids.tolist(), outputs.get("h_out", ()), strict=False):
            self._states[agent_id] = state
        return outputs


@pytest.fixture(name="OnnxruntimePolicy")
def onnxruntime_policy_class() -> type[OnnxruntimePolicy]:
    """The class by way of a fixture: tests do not import one another."""
    return OnnxruntimePolicy
