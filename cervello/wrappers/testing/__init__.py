"""A test suite for wrappers: subclass it, override how yours is created, and run pytest.

    from cervello.wrappers.testing import WrapperContract

    class TestClip(WrapperContract):
        def make_model(self):
            return cervello.Model.load("racer.onnx")
        def make_wrappers(self):
            return [Clip("obs", -1.0, 1.0)]

Every method whose name begins with `test_` states one property that agents rely on. A stack of several wrappers is tested as one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from cervello.errors import WrapperError
from cervello.inferers.named import choose
from cervello.inferers.testing import same_bits
from cervello.spec import PolicySpec, Specs
from cervello.wrappers.testing.agent_contract import AgentContract
from cervello.wrappers.testing.fakes import BreakdownError, FailingInferer, FailingWrapper, RecordingWrapper
from cervello.wrappers.testing.harness import STEPS, Rows


class WrapperContract(AgentContract):
    """The properties of every wrapper and stack that agents rely on. Override `make_model`, and `make_wrapper` or `make_wrappers`."""

    # All or nothing -----------------------------------------------------------------------------------------------------

    def test_a_failed_run_leaves_everything_as_it_was(self) -> None:
        for place, moment in (("inside", "inward"), ("inferer", "before"), ("inferer", "after"), ("outside", "outward")):
            model = self.make_model()
            parts: dict[str, Any] = {"inside": FailingWrapper(), "outside": FailingWrapper(),
                                     "inferer": FailingInferer(choose(self.make_inferer(model), model))}
            policy = self._policy([parts["outside"], *self.make_wrappers(), parts["inside"]], parts["inferer"])
            twin = self._policy()
            for each in (policy, twin):
                each.begin_agents([1, 2, 3])
                self._tick(each, [1, 2, 3], 0)
            parts[place].fail = moment
            for agents in ([1, 2, 3], [2]):
                self._breaks_down(policy, agents)
            parts[place].fail = ""
            for step in (1, 2):
                self._expect(self._tick(policy, [3, 1, 2], step), self._tick(twin, [3, 1, 2], step), f"after a failure {moment} ({place})")

    def _breaks_down(self, policy: Any, agents: Sequence[int]) -> None:
        try:
            self._tick(policy, agents, 9)
        except BreakdownError:
            return
        raise AssertionError("expected the inferer's error to reach the caller")

    def test_commit_is_called_once_per_success_and_never_for_a_failure(self) -> None:
        model = self.make_model()
        inferer = FailingInferer(choose(self.make_inferer(model), model))
        watched = [RecordingWrapper(wrapper) for wrapper in self.make_wrappers()]
        policy = self._policy(watched, inferer)
        policy.begin_agents([1, 2])
        inferer.fail = "after"
        self._breaks_down(policy, [1, 2])
        assert all(("commit", 2) not in each.calls for each in watched), "commit was called for a failed batch"
        inferer.fail = ""
        self._tick(policy, [1, 2], 0)
        for each in watched:
            assert each.calls.count(("commit", 2)) == 1, f"commit was called {each.calls.count(('commit', 2))} times"

    def test_the_model_runs_once_per_batch(self) -> None:
        policy, inferer = self._failing()
        policy.begin_agents([1, 2])
        self._play(policy, [1, 2])
        assert inferer.runs == STEPS, f"{inferer.runs} runs for {STEPS} batches"

    # Specs --------------------------------------------------------------------------------------------------------------

    def test_what_flows_is_what_the_specs_say(self) -> None:
        watched = [RecordingWrapper(wrapper) for wrapper in self.make_wrappers()]
        policy = self._policy(watched)
        policy.begin_agents(range(3))
        self._play(policy, range(3))
        for each in watched:
            sides = {"inputs after": each.seen["inner"].inputs, "inputs before": each.seen["outer"].inputs,
                     "outputs before": each.seen["inner"].outputs, "outputs after": each.seen["outer"].outputs}
            for side, specs in sides.items():
                flowing = each.seen[side]
                assert set(flowing) == set(specs), f"{each.wrapper!r}, {side}: {sorted(flowing)} flow, the specs say {sorted(specs)}"
                for name, spec in specs.items():
                    assert flowing[name].shape == spec.batched(3), f"{each.wrapper!r}, {side}, {name}: {flowing[name].shape}, not {spec}"
                    assert flowing[name].dtype == spec.dtype, f"{each.wrapper!r}, {side}, {name}: {flowing[name].dtype}, not {spec}"

    def test_the_callers_arrays_are_left_as_they_were(self) -> None:
        policy = self._policy()
        policy.begin_agents(range(4))
        for step in range(STEPS):
            columns = self._columns(policy, range(4), step)
            before = {name: column.copy() for name, column in columns.items()}
            policy.infer_batch(list(range(4)), columns)
            assert columns.keys() == before.keys(), "names were added to the caller's mapping"
            for name, column in before.items():
                assert same_bits(columns[name], column), f"{name}: the caller's array was written"

    def test_deciding_by_name_gives_the_same_rows_and_they_stay_as_they_are(self) -> None:
        named, reference = self._policy(), self._policy()
        for each in (named, reference):
            each.begin_agents(range(3))
        kept: list[tuple[Rows, Rows]] = []
        for step in range(STEPS):
            found = named.infer({agent: self.make_row(named.inputs, agent, step) for agent in range(3)})
            expected = self._tick(reference, range(3), step)
            self._expect(found, expected, f"step {step} by name")
            kept.append((found, expected))
        for step, (found, expected) in enumerate(kept):
            self._expect(found, expected, f"step {step}, after later decisions")

    def test_given_arrays_are_filled(self) -> None:
        policy, reference = self._policy(), self._policy()
        for each in (policy, reference):
            each.begin_agents(range(3))
        for step in range(STEPS):
            out = {name: np.zeros(spec.batched(3), spec.dtype) for name, spec in policy.outputs.items()}
            found = policy.infer_batch(list(range(3)), self._columns(policy, range(3), step), out=out)
            expected = reference.infer_batch(list(range(3)), self._columns(policy, range(3), step))
            for name, array in out.items():
                assert found[name] is array, f"{name}: another array than the one given"
                assert same_bits(array, expected[name]), f"{name}: other results with out="

    def test_it_refuses_what_it_does_not_fit_with_a_wrapper_error(self) -> None:
        nothing = PolicySpec(Specs([]), Specs([]), {})
        for wrapper in self.make_wrappers():
            with contextlib.suppress(WrapperError):  # any other error fails the test
                wrapper.attach(nothing)

    def test_one_description_serves_many_policies(self) -> None:
        wrappers = self.make_wrappers()
        policies = [self._policy(wrappers), self._policy(wrappers)]
        reference = self._policy()
        for each in (*policies, reference):
            each.begin_agents([1, 2])
        self._play(policies[0], [1, 2])
        for step in range(STEPS):
            self._expect(self._tick(policies[1], [1, 2], step), self._tick(reference, [1, 2], step), "beside another policy")

    # Snapshots and swaps ------------------------------------------------------------------------------------------------

    def test_a_restored_snapshot_decides_the_same_again(self) -> None:
        policy, fresh = self._policy(), self._policy()
        policy.begin_agents(range(4))
        self._tick(policy, range(4), 0)
        self._tick(policy, [2, 0], 1)
        try:
            state = policy.snapshot()
        except WrapperError:
            return  # it reports that its state cannot be saved
        expected = [self._tick(policy, range(4), step) for step in (2, 3)]
        policy.end_agents([0, 1])
        policy.begin_agents(range(10, 30))
        for target in (policy, fresh):
            target.restore(state)
            for step, rows in zip((2, 3), expected, strict=True):
                self._expect(self._tick(target, range(4), step), rows, f"step {step} after a restore")

    def test_a_swap_of_the_model_keeps_the_agents_state(self) -> None:
        policy, twin = self._policy(), self._policy()
        for each in (policy, twin):
            each.begin_agents(range(4))
            self._tick(each, range(4), 0)
        policy.replace(self.make_model(), inferer=self.make_inferer(policy.model))
        for step in (1, 2):
            self._expect(self._tick(policy, range(4), step), self._tick(twin, range(4), step), f"step {step} after a swap")
