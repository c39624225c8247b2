"""The rules of the arena and the layouts of the observations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cervello.demo.arena import CAUGHT_REWARD, TOUCHED_ENERGY, TOUCHED_REWARD, Arena
from cervello.demo.herd import Life
from cervello.demo.senses import REST_TICKS, perceive_as_grazer, perceive_as_hunter, perceive_as_scout
from cervello.demo.species import (
    ALARM,
    FLASH_PERIOD,
    GRAZER,
    HEIGHT,
    HUNTER,
    IMAGE_SIDE,
    LONGEST_LIFE,
    SCOUT,
    SCOUT_DIRECTIONS,
    SHORTEST_LIFE,
    SIGHT,
    SPECIES,
    WIDTH,
    Species,
)

Actions = dict[str, npt.NDArray[np.generic]]


def stand_still(arena: Arena) -> Actions:
    return {
        GRAZER.name: np.zeros((len(arena.ids(GRAZER.name)), 2), np.float32),
        HUNTER.name: np.zeros((len(arena.ids(HUNTER.name)), 2), np.float32),
        SCOUT.name: np.zeros(len(arena.ids(SCOUT.name)), np.int64),
    }


def wander(arena: Arena, random: np.random.Generator) -> Actions:
    return {
        GRAZER.name: random.uniform(-1, 1, (len(arena.ids(GRAZER.name)), 2)).astype(np.float32),
        HUNTER.name: random.uniform(-1, 1, (len(arena.ids(HUNTER.name)), 2)).astype(np.float32),
        SCOUT.name: random.integers(8, size=len(arena.ids(SCOUT.name))),
    }


def quiet_arena() -> Arena:
    """An arena without rocks and food where one grazer, one hunter and one scout live far from one another."""
    arena = Arena(0)
    arena.terrain.blocked[:] = False
    arena.terrain.grass[:] = (95.0, 63.0)
    arena.terrain.berry[:] = (95, 63)
    for name, position in ((GRAZER.name, (20.0, 20.0)), (HUNTER.name, (50.0, 20.0)), (SCOUT.name, (70.0, 40.0))):
        herd = arena.herds[name]
        herd.alive[1:] = False
        herd.position[0] = position
    return arena


def test_the_same_seed_and_actions_give_the_same_match() -> None:
    arenas = [Arena(3), Arena(3)]
    streams = [np.random.default_rng(1), np.random.default_rng(1)]
    for _ in range(120):
        for arena, random in zip(arenas, streams, strict=True):
            arena.step(wander(arena, random))
    first, second = (arena.observe() for arena in arenas)
    for species in SPECIES:
        name, key = species.name, species.observation_name
        assert np.array_equal(arenas[0].ids(name), arenas[1].ids(name))
        assert np.array_equal(first[name][key], second[name][key])


def test_different_seeds_give_different_arenas() -> None:
    assert not np.array_equal(Arena(0).terrain.grass, Arena(1).terrain.grass)


@pytest.mark.parametrize("species", SPECIES, ids=lambda species: species.name)
def test_observations_have_the_announced_shape_type_and_range(species: Species) -> None:
    arena, random = Arena(5), np.random.default_rng(0)
    for _ in range(60):
        arena.step(wander(arena, random))
        observation = arena.observe()[species.name][species.observation_name]
        assert observation.shape == (len(arena.ids(species.name)), *species.observation_shape)
        assert observation.dtype == np.float32
        assert np.abs(observation).max() <= 1.0 + 1e-6
    assert len(species.observation_layout) == species.observation_shape[0]


def test_ids_are_never_used_twice_and_only_grow() -> None:
    arena, random = Arena(1), np.random.default_rng(1)
    highest = max(int(arena.ids(species.name).max()) for species in SPECIES)
    alive = {int(agent) for species in SPECIES for agent in arena.ids(species.name)}
    assert alive == set(range(sum(species.capacity for species in SPECIES)))
    for _ in range(300):
        outcome = arena.step(wander(arena, random))
        born = [int(agent) for species in SPECIES for agent in outcome.born[species.name]]
        assert all(agent > highest for agent in born)
        highest = max([highest, *born])
        alive -= {life.agent_id for species in SPECIES for life in outcome.ended[species.name]}
        alive |= set(born)
        assert alive == {int(agent) for species in SPECIES for agent in arena.ids(species.name)}


def test_nobody_ever_stands_in_a_rock_or_outside() -> None:
    arena, random = Arena(2), np.random.default_rng(2)
    drift = random.uniform(-1, 1, 2)
    for tick in range(200):
        if tick % 20 == 0:
            drift = random.uniform(-1, 1, 2)
        actions = wander(arena, random)
        for name in (GRAZER.name, HUNTER.name):
            actions[name] = np.broadcast_to(drift, actions[name].shape)
        arena.step(actions)
        for herd in arena.herds.values():
            x, y = herd.position[herd.living()].T
            assert 0 < x.min() <= x.max() < WIDTH
            assert 0 < y.min() <= y.max() < HEIGHT
            assert not arena.terrain.blocked[y.astype(int), x.astype(int)].any()


def test_food_never_grows_in_a_rock() -> None:
    arena, random = Arena(4), np.random.default_rng(4)
    for _ in range(100):
        arena.step(wander(arena, random))
    terrain = arena.terrain
    assert not terrain.blocked[terrain.berry[:, 1], terrain.berry[:, 0]].any()
    assert not terrain.blocked[terrain.grass[:, 1].astype(int), terrain.grass[:, 0].astype(int)].any()


def test_a_blocked_body_slides_along_the_rock() -> None:
    arena = quiet_arena()
    arena.terrain.blocked[:, 21] = True
    herd = arena.herds[GRAZER.name]
    herd.position[0] = (20.9, 20.0)
    arena.step(stand_still(arena) | {GRAZER.name: np.array([[1.0, 1.0]], np.float32)})
    assert herd.position[0, 0] == np.float32(20.9)
    assert herd.velocity[0, 0] == 0.0
    assert herd.position[0, 1] > 20.0


def test_a_wish_longer_than_one_is_no_faster() -> None:
    positions = []
    for wish in (1.0, 50.0):
        arena = quiet_arena()
        arena.step(stand_still(arena) | {HUNTER.name: np.array([[wish, 0.0]], np.float32)})
        positions.append(arena.herds[HUNTER.name].position[0].tolist())
    assert positions[0] == positions[1]


def test_a_grazer_at_grass_eats_it_and_it_grows_elsewhere() -> None:
    arena = quiet_arena()
    arena.terrain.grass[7] = (20.1, 20.0)
    herd = arena.herds[GRAZER.name]
    energy = float(herd.energy[0])
    arena.step(stand_still(arena))
    assert herd.total_reward[0] == 1.0
    assert herd.energy[0] == pytest.approx(energy - GRAZER.burn + GRAZER.meal)
    assert tuple(arena.terrain.grass[7]) != (np.float32(20.1), 20.0)


def test_two_grazers_at_one_tuft_of_grass_only_the_closer_eats() -> None:
    arena = quiet_arena()
    herd = arena.herds[GRAZER.name]
    herd.alive[1] = True
    herd.position[1] = (20.5, 20.0)
    arena.terrain.grass[7] = (20.4, 20.0)
    arena.step(stand_still(arena))
    assert herd.reward[:2].tolist() == [0.0, 1.0]


def test_a_hunter_at_a_grazer_catches_it_and_rests() -> None:
    arena = quiet_arena()
    grazers, hunters = arena.herds[GRAZER.name], arena.herds[HUNTER.name]
    hunters.position[0] = grazers.position[0] + np.float32(0.2)
    outcome = arena.step(stand_still(arena))
    (life,) = outcome.ended[GRAZER.name]
    assert (life.agent_id, life.cause, life.total_reward, life.ticks) == (0, "caught", CAUGHT_REWARD, 1)
    assert hunters.total_reward[0] == 1.0
    assert hunters.rest[0] == REST_TICKS


def test_a_resting_hunter_catches_nothing() -> None:
    arena = quiet_arena()
    arena.herds[HUNTER.name].position[0] = arena.herds[GRAZER.name].position[0]
    arena.herds[HUNTER.name].rest[0] = 3
    assert not arena.step(stand_still(arena)).ended[GRAZER.name]


def test_a_scout_in_a_berry_s_cell_eats_one_berry_per_tick() -> None:
    arena = quiet_arena()
    herd = arena.herds[SCOUT.name]
    herd.position[0] = (70.1, 40.5)
    arena.terrain.berry[[3, 4]] = (70, 40)
    arena.step(stand_still(arena))
    assert herd.total_reward[0] == 1.0


def test_a_hunter_s_touch_costs_a_scout_reward_and_energy() -> None:
    arena = quiet_arena()
    herd = arena.herds[SCOUT.name]
    arena.herds[HUNTER.name].position[0] = herd.position[0]
    energy = float(herd.energy[0])
    arena.step(stand_still(arena))
    assert herd.total_reward[0] == pytest.approx(TOUCHED_REWARD)
    assert herd.energy[0] == pytest.approx(energy - SCOUT.burn - TOUCHED_ENERGY)


def test_an_agent_without_energy_starves() -> None:
    arena = quiet_arena()
    arena.herds[SCOUT.name].energy[0] = 0.001
    (life,) = arena.step(stand_still(arena)).ended[SCOUT.name]
    assert life.cause == "starved"


def test_well_fed_lives_end_by_age_within_the_announced_limits() -> None:
    arena = quiet_arena()
    arena.herds[HUNTER.name].alive[:] = True
    lives: list[Life] = []
    for _ in range(LONGEST_LIFE):
        arena.herds[HUNTER.name].energy[:] = 1.0
        arena.herds[GRAZER.name].alive[:] = False
        lives += arena.step(stand_still(arena)).ended[HUNTER.name]
    assert {life.cause for life in lives} == {"aged"}
    assert all(SHORTEST_LIFE <= life.ticks <= LONGEST_LIFE for life in lives)
    assert not set(range(GRAZER.capacity, GRAZER.capacity + HUNTER.capacity)) - {life.agent_id for life in lives}


def test_the_step_works_when_a_species_has_died_out() -> None:
    arena = quiet_arena()
    for herd in arena.herds.values():
        herd.alive[:] = False
    observations = arena.observe()
    assert all(observations[species.name][species.observation_name].shape[0] == 0 for species in SPECIES)
    assert all(len(arena.step(stand_still(arena)).born[species.name]) >= 0 for species in SPECIES)


def test_actions_of_the_wrong_shape_are_refused() -> None:
    arena = Arena(0)
    actions = stand_still(arena) | {HUNTER.name: np.zeros((3, 2), np.float32)}
    with pytest.raises(ValueError, match=r"actions of 'hunter': expected shape \(100, 2\), got \(3, 2\)"):
        arena.step(actions)


def test_a_grazer_sees_grass_hunters_and_walls_where_its_layout_says() -> None:
    arena = quiet_arena()
    grazers, hunters = arena.herds[GRAZER.name], arena.herds[HUNTER.name]
    grazers.position[0], grazers.velocity[0] = (1.0, 20.0), (0.0, GRAZER.max_speed)
    arena.terrain.grass[7] = (4.0, 24.0)
    hunters.alive[:3] = True
    hunters.position[:3] = [(1.0, 17.0), (2.5, 20.0), (60.0, 20.0)]
    hunters.velocity[1] = (-HUNTER.max_speed, 0.0)
    (obs,) = perceive_as_grazer(grazers, hunters, arena.terrain)
    near, second = 1 - 1.5 / ALARM, 1 - 3.0 / ALARM
    expected = [0.6, 0.8, 5.0 / SIGHT, near, 0, near, 0, -second, second, -1, 0, 0, 1, grazers.energy[0], 0.8, 0]
    np.testing.assert_allclose(obs, expected, atol=1e-6)


def test_a_grazer_does_not_notice_a_hunter_beyond_its_alarm_distance() -> None:
    arena = quiet_arena()
    hunters = arena.herds[HUNTER.name]
    hunters.velocity[0] = (0.3, 0.3)
    (obs,) = perceive_as_grazer(arena.herds[GRAZER.name], hunters, arena.terrain)
    assert not obs[3:11].any()


def test_a_hunter_perceives_its_prey_on_one_tick_in_a_period_only() -> None:
    arena = quiet_arena()
    grazers, hunters = arena.herds[GRAZER.name], arena.herds[HUNTER.name]
    hunters.position[0] = grazers.position[0] + np.array([4.0, 3.0], np.float32)
    grazers.velocity[0] = (0.0, -GRAZER.max_speed)
    flashes = 0
    for tick in range(3 * FLASH_PERIOD):
        (obs,) = perceive_as_hunter(hunters, grazers, tick)
        if obs[0]:
            flashes += 1
            np.testing.assert_allclose(obs[1:5], [-4 / SIGHT, -3 / SIGHT, 0, -1], atol=1e-6)
        else:
            assert not obs[1:5].any()
    assert flashes == 3


def test_a_hunter_s_flash_points_to_far_prey_with_length_one() -> None:
    arena = quiet_arena()
    grazers, hunters = arena.herds[GRAZER.name], arena.herds[HUNTER.name]
    tick = -int(hunters.ids[0]) % FLASH_PERIOD
    (obs,) = perceive_as_hunter(hunters, grazers, tick)
    np.testing.assert_allclose(obs[1:3], [-1, 0], atol=1e-6)


def test_a_hunter_s_observation_does_not_betray_its_velocity() -> None:
    arena = quiet_arena()
    hunters, grazers = arena.herds[HUNTER.name], arena.herds[GRAZER.name]
    before = perceive_as_hunter(hunters, grazers, 1)
    hunters.velocity[0] = (0.5, -0.2)
    assert np.array_equal(before, perceive_as_hunter(hunters, grazers, 1))


def test_a_scout_s_picture_shows_berries_hunters_and_walls_around_it() -> None:
    arena = quiet_arena()
    scouts, hunters = arena.herds[SCOUT.name], arena.herds[HUNTER.name]
    scouts.position[0] = (2.5, 30.5)
    arena.terrain.berry[3] = (4, 30)
    hunters.position[0] = (2.5, 33.9)
    arena.terrain.blocked[29, 2] = True
    (image,) = perceive_as_scout(scouts, hunters, arena.terrain)
    middle = IMAGE_SIDE // 2
    assert np.argwhere(image[0]).tolist() == [[middle, middle + 2]]
    assert np.argwhere(image[1]).tolist() == [[middle + 3, middle]]
    outside = np.zeros((IMAGE_SIDE, IMAGE_SIDE))
    outside[:, :3] = 1  # the scout stands in column 2, so three columns of its view lie beyond the wall
    outside[middle - 1, middle] = 1
    assert np.array_equal(image[2], outside)


@pytest.mark.parametrize("direction", range(8))
def test_a_scout_walks_in_the_direction_of_its_action(direction: int) -> None:
    arena = quiet_arena()
    herd = arena.herds[SCOUT.name]
    start = herd.position[0].copy()
    arena.step(stand_still(arena) | {SCOUT.name: np.array([direction])})
    moved = herd.position[0] - start
    np.testing.assert_allclose(moved / np.hypot(*moved), SCOUT_DIRECTIONS[direction], atol=1e-4)
