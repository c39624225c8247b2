"""The match and its report, the random baseline, the interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from cervello.demo import SPECIES, RandomPolicy, Tick, mean_with_interval
from cervello.demo.baseline import t_quantile_95
from cervello.demo.play import play


class Witness(RandomPolicy):
    """A random policy that checks the order of calls."""

    living: set[int]

    def begin_agents(self, ids: Sequence[int], /) -> None:
        self.living = getattr(self, "living", set())
        assert self.living.isdisjoint(ids)
        self.living |= set(ids)

    def end_agents(self, ids: Sequence[int], /) -> None:
        assert self.living.issuperset(ids)
        self.living -= set(ids)

    def infer_batch(
        self, ids: npt.NDArray[np.int64], observations: Mapping[str, npt.NDArray[np.float32]], /
    ) -> dict[str, npt.NDArray[np.float32]]:
        assert ids.dtype == np.int64
        assert set(ids.tolist()) == self.living
        assert all(len(observation) == len(ids) for observation in observations.values())
        return super().infer_batch(ids, observations)


def test_every_agent_is_begun_before_and_ended_after_its_life() -> None:
    policies = {species.name: Witness(species) for species in SPECIES}
    report = play(policies, ticks=300, seed=1)
    for name, policy in policies.items():
        assert not policy.living
        assert report.species[name].births > len(set(report.species[name].batch_sizes))


def test_the_report_accounts_for_every_tick_birth_and_death() -> None:
    ticks: list[Tick] = []
    report = play({species.name: RandomPolicy(species) for species in SPECIES}, 300, 2, ticks.append)
    assert [tick.number for tick in ticks] == list(range(1, 301))
    for name, part in report.species.items():
        assert len(part.inference_s) == len(part.batch_sizes) == report.ticks
        alive = len(ticks[-1].arena.ids(name))
        assert part.births - sum(part.deaths.values()) == alive
        assert len(ticks[-1].ended_returns[name]) == sum(part.deaths.values())
        low, median, high = part.batch_range
        assert low <= median <= high
        assert part.agent_steps == sum(tick.rows[name] for tick in ticks)
    assert report.agent_steps == sum(part.agent_steps for part in report.species.values())
    assert 0 < report.agent_steps_per_second < report.agent_steps_per_inference_second


def test_the_same_seed_and_policies_give_the_same_returns() -> None:
    reports = [play({species.name: RandomPolicy(species, 4) for species in SPECIES}, 120, 4) for _ in range(2)]
    for name in reports[0].species:
        assert reports[0].species[name].returns == reports[1].species[name].returns


def test_a_short_match_counts_the_lives_it_began_with() -> None:
    report = play({species.name: RandomPolicy(species) for species in SPECIES}, ticks=50)
    assert {species.name: species.capacity for species in SPECIES} == {
        name: len(part.returns) for name, part in report.species.items()
    }


def test_a_match_of_no_ticks_reports_zeros() -> None:
    report = play({species.name: RandomPolicy(species) for species in SPECIES}, ticks=0)
    assert report.agent_steps == 0
    assert report.agent_steps_per_inference_second == 0.0
    assert report.species["scout"].batch_range == (0, 0, 0)


def test_a_species_without_policy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got none for \['hunter', 'scout'\]"):
        play({"grazer": RandomPolicy(SPECIES[0])})


def test_negative_ticks_are_refused() -> None:
    with pytest.raises(ValueError, match="ticks: expected 0 or more, got -1"):
        play({species.name: RandomPolicy(species) for species in SPECIES}, ticks=-1)


def test_the_interval_is_student_s() -> None:
    mean, low, high = mean_with_interval([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert high - mean == pytest.approx(3.1824 * np.std([1, 2, 3, 4], ddof=1) / 2)
    assert mean - low == pytest.approx(high - mean)


@pytest.mark.parametrize(("degrees", "quantile"), [(31, 2.03951), (60, 2.00030), (1000, 1.96234)])
def test_the_quantile_beyond_the_table_is_right(degrees: int, quantile: float) -> None:
    assert t_quantile_95(degrees) == pytest.approx(quantile, abs=1e-4)


def test_one_return_has_an_infinite_interval_and_none_is_refused() -> None:
    assert mean_with_interval([3.0]) == (3.0, -np.inf, np.inf)
    with pytest.raises(ValueError, match="expected at least one number, got none"):
        mean_with_interval([])
