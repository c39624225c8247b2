"""The part of the wrapper suite about agents: isolation, hooks and noise."""

from __future__ import annotations

import warnings

import numpy as np

from cervello.inferers.testing import SIZES, take_row
from cervello.wrappers.testing.fakes import RecordingWrapper
from cervello.wrappers.testing.harness import STEPS, Harness, Rows

_MANY = 150  # agents; more than a policy's initial capacity


class AgentContract(Harness):
    """The properties of a stack that concern each agent: what it gets depends on itself alone, and its life and noise are its own."""

    # Isolation ----------------------------------------------------------------------------------------------------------

    def test_an_agent_decides_the_same_in_every_batch(self) -> None:
        alone: list[Rows] = [{} for _ in range(STEPS)]
        for agent in SIZES:
            policy = self._policy()
            policy.begin_agent(agent)
            for step, rows in enumerate(self._play(policy, [agent])):
                alone[step].update(rows)
        random = np.random.default_rng(1)
        for n_rows in SIZES:
            policy = self._policy()
            agents = random.permutation(SIZES)[:n_rows].tolist()
            policy.begin_agents(agents)
            for step in range(STEPS):
                self._expect(self._tick(policy, random.permutation(agents), step), alone[step], f"{n_rows} agents, step {step}")

    def test_agents_may_come_and_go_between_batches(self) -> None:
        policy, reference = self._policy(), self._policy()
        policy.begin_agents(range(8))
        reference.begin_agents(range(8))
        expected = self._play(reference, range(8))
        self._expect(self._tick(policy, [5, 0], 0), expected[0], "two of eight")
        self._expect(self._tick(policy, [1, 2, 7], 0), expected[0], "three others")
        self._expect(self._tick(policy, [2, 5, 1], 1), expected[1], "a mixture")
        policy.end_agents([1, 0])
        policy.begin_agents([20, 21, 22])
        self._tick(policy, [20, 22], 0)
        self._expect(self._tick(policy, [5, 2], 2), expected[2], "after others ended and began")

    def test_a_nan_of_one_agent_reaches_no_other_agent(self) -> None:
        policy, reference = self._policy(), self._policy()
        policy.begin_agents(range(5))
        reference.begin_agents(range(5))
        for step in range(STEPS):
            columns = self._columns(policy, range(5), step)
            for name, spec in policy.inputs.items():
                if spec.dtype.kind == "f" and spec.batch_axis is not None:
                    np.moveaxis(columns[name], spec.batch_axis, 0)[2] = np.nan
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a wrapper may warn
                found = policy.infer_batch(range(5), columns)
            expected = self._tick(reference, range(5), step)
            rows = {i: {name: take_row(spec, found[name], i) for name, spec in policy.outputs.items()} for i in (0, 1, 3, 4)}
            self._expect(rows, expected, f"step {step}, agent 2 observes NaN")

    def test_a_slot_used_again_remembers_nothing(self) -> None:
        policy, reference = self._policy(), self._policy()
        policy.begin_agents(range(4))
        self._play(policy, range(4))
        policy.end_agents(range(4))
        policy.begin_agents([10, 11, 12])
        reference.begin_agents([10, 11, 12])
        for step in range(STEPS):
            self._expect(self._tick(policy, [10, 11, 12], step), self._tick(reference, [10, 11, 12], step), "in used slots")

    def test_an_agent_that_begins_again_remembers_nothing(self) -> None:
        policy = self._policy()
        policy.begin_agent(1)
        first = self._play(policy, [1])
        policy.end_agent(1)
        policy.begin_agent(1, episode=0)
        for step, expected in enumerate(first):
            self._expect(self._tick(policy, [1], step), expected, f"step {step} of the second life")

    def test_restart_is_end_and_begin(self) -> None:
        restarted, ended = self._policy(), self._policy()
        for policy in (restarted, ended):
            policy.begin_agents([1, 2], stream=4)
            self._play(policy, [1, 2])
        restarted.restart_agents([2])
        ended.end_agents([2])
        ended.begin_agents([2], stream=4, episode=1)
        for step in range(STEPS):
            self._expect(self._tick(restarted, [1, 2], step), self._tick(ended, [1, 2], step), f"step {step} after the restart")

    def test_state_survives_when_room_is_made_for_more_agents(self) -> None:
        policy, reference = self._policy(), self._policy()
        for each in (policy, reference):
            each.begin_agents([1, 2])
            self._tick(each, [1, 2], 0)
        policy.begin_agents(range(10, 10 + _MANY))
        for step in (1, 2):
            found = self._tick(policy, [*range(10, 10 + _MANY), 1, 2], step)
            self._expect({agent: found[agent] for agent in (1, 2)}, self._tick(reference, [1, 2], step), f"among {_MANY}")

    # Hooks and noise ----------------------------------------------------------------------------------------------------

    def test_begin_and_end_reach_every_wrapper(self) -> None:
        watched = [RecordingWrapper(wrapper) for wrapper in self.make_wrappers()]
        policy = self._policy(watched)
        policy.begin_agents([1, 2, 3])
        policy.end_agent(2)
        policy.restart_agents([1, 3])
        for each in watched:
            assert each.calls == [("begin", 3), ("end", 1), ("begin", 2), ("end", 2)], f"{each.wrapper!r}: {each.calls}"

    def test_the_same_seed_stream_agent_and_episode_replay(self) -> None:
        first, second = self._policy(seed=5), self._policy(seed=5)
        first.begin_agents([7, 8], stream=2, episode=9)
        second.begin_agents([30, 31, 32])
        second.begin_agents([8, 7], stream=2, episode=9)
        for step in range(STEPS):
            expected, found = self._tick(first, [7, 8], step), self._tick(second, [31, 8, 32, 7], step)
            self._expect(expected, found, f"replay of step {step}")

    def test_deterministic_rows_do_not_depend_on_the_seed(self) -> None:
        first, second = self._policy(seed=1), self._policy(seed=2)
        for each in (first, second):
            each.begin_agents(range(4))
        for step in range(STEPS):
            self._expect(self._tick(first, range(4), step, deterministic=True), self._tick(second, range(4), step, deterministic=True),
                         f"deterministic step {step}")

    def test_deterministic_rows_leave_the_others_alone(self) -> None:
        mixed, free, fixed = self._policy(), self._policy(), self._policy()
        for each in (mixed, free, fixed):
            each.begin_agents(range(4))
        flags = np.array([True, False, False, True])
        for step in range(STEPS):
            found = self._tick(mixed, range(4), step, deterministic=flags)
            drawn, still = self._tick(free, range(4), step), self._tick(fixed, range(4), step, deterministic=True)
            self._expect({agent: found[agent] for agent in (1, 2)}, drawn, f"step {step}, rows that draw")
            self._expect({agent: found[agent] for agent in (0, 3)}, still, f"step {step}, rows that do not")
