"""Harness of the wrapper suite: a policy with the wrappers under test, and agents with synthetic observations."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cervello.inferers.config import InfererConfig
from cervello.inferers.named import choose
from cervello.inferers.testing import same_bits, sample_row, stack_rows, take_row
from cervello.native import Model
from cervello.spec import Array, Inferer, Specs, Wrapper
from cervello.wrappers.testing.fakes import FailingInferer

STEPS = 3
Rows = dict[Any, dict[str, Array]]


class Harness:
    """Creates the objects under test and runs them."""

    def make_model(self) -> Model:
        """A model that fits the wrappers."""
        raise NotImplementedError("make_model")

    def make_wrapper(self) -> Wrapper:
        """The wrapper under test."""
        raise NotImplementedError("make_wrapper")

    def make_wrappers(self) -> Sequence[Wrapper]:
        """The stack under test, outermost first."""
        return [self.make_wrapper()]

    def make_inferer(self, model: Model) -> str | InfererConfig | Inferer:
        """The inferer of the policy; any will do."""
        return "memoizing"

    def make_row(self, specs: Specs, agent: int, step: int) -> dict[str, Array]:
        """An agent's observation at a step; override it if synthetic numbers are not valid inputs."""
        return {name: sample_row(spec, agent, step) for name, spec in specs.items()}

    def _policy(self, wrappers: Sequence[Any] | None = None, inferer: Any = None, seed: int = 3) -> Any:
        model = self.make_model()
        # The agents layer is above wrappers, which must not import it; a test may.
        policy = importlib.import_module("cervello.agents").Policy
        return policy(model, wrappers=self.make_wrappers() if wrappers is None else wrappers,
                      inferer=self.make_inferer(model) if inferer is None else inferer, seed=seed)

    def _failing(self) -> tuple[Any, FailingInferer]:
        model = self.make_model()
        inferer = FailingInferer(choose(self.make_inferer(model), model))
        return self._policy(inferer=inferer), inferer

    def _columns(self, policy: Any, agents: Sequence[int], step: int) -> dict[str, Array]:
        rows = [self.make_row(policy.inputs, agent, step) for agent in agents]
        return {name: stack_rows(spec, [row[name] for row in rows]) for name, spec in policy.inputs.items()}

    def _tick(self, policy: Any, agents: Iterable[int], step: int, **options: Any) -> Rows:
        listed = [int(agent) for agent in agents]
        found = policy.infer_batch(listed, self._columns(policy, listed, step), **options)
        return {agent: {name: take_row(spec, found[name], i).copy() for name, spec in policy.outputs.items()}
                for i, agent in enumerate(listed)}

    def _play(self, policy: Any, agents: Iterable[int], steps: Iterable[int] = range(STEPS), **options: Any) -> list[Rows]:
        listed = list(agents)
        return [self._tick(policy, listed, step, **options) for step in steps]

    @staticmethod
    def _expect(found: Mapping[Any, Mapping[str, Array]], expected: Mapping[Any, Mapping[str, Array]], when: str) -> None:
        for agent, outputs in found.items():
            for name, array in outputs.items():
                assert same_bits(array, expected[agent][name]), f"{when}: agent {agent}, {name}: {array} instead of {expected[agent][name]}"
