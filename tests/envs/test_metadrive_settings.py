"""What of the MetaDrive environments needs no MetaDrive: settings, pedals, the choice of lanes."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from vlsafe_envs import SceneRenderer, known_ids
from vlsafe_envs.drivers.metadrive import passing_speed
from vlsafe_envs.metadrive import MAPS, MetaDriveTraffic
from vlsafe_envs.metadrive import missing as missing_module
from vlsafe_envs.metadrive.pedals import Car, acceleration_of, steering_of, throttle_of, wheel_of
from vlsafe_envs.metadrive.routes import CHANGE_LENGTH, CHANGE_SHARE, choose_lanes
from vlsafe_envs.options import scenario_of

IDS = ("VLSafe-Navigation-v0", "VLSafe-MetaDrive-v0")
CAR = Car(mass=1100.0, engine_force=760.0, brake_force=90.0, lock=0.7, wheelbase=2.5)


@pytest.mark.parametrize("env_id", IDS)
def test_where_metadrive_is_missing_making_says_what_to_install(
    env_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing_module, "metadrive_installed", lambda: False)
    with pytest.raises(ImportError, match=r"pip install 'vlsafe\[metadrive\]'"):
        gym.make(env_id, scorer=None)
    monkeypatch.setattr(missing_module.sys, "version_info", (3, 13, 0, "final", 0))
    with pytest.raises(ImportError, match=r"Python < 3.12 and this is 3.13"):
        gym.make(env_id, scorer=None)


def test_the_ids_are_known_without_metadrive() -> None:
    assert set(IDS) <= set(known_ids())
    for env_id in IDS:
        scenario = scenario_of(env_id)
        assert (scenario.decisions, scenario.traffic.policy_frequency) == (1000, 10)
        with pytest.raises(ValueError, match="every map of MetaDrive has another road"):
            SceneRenderer(env_id)


def test_train_and_test_maps_are_apart() -> None:
    ranges = [set(range(first, first + count)) for first, count in MAPS.values()]
    assert not ranges[0] & ranges[1]
    traffic = MetaDriveTraffic(maps="test")
    assert (traffic.first_map, traffic.map_count) == MAPS["test"]
    traffic = MetaDriveTraffic(start_map=5, num_maps=3)
    assert (traffic.config()["start_seed"], traffic.config()["num_scenarios"]) == (5, 3)


def test_density_and_accidents_are_metadrives_times_ours() -> None:
    config = MetaDriveTraffic(density=1.5).config()
    assert config["traffic_density"] == pytest.approx(0.15)
    assert config["accident_prob"] == 0.0
    config = MetaDriveTraffic("metadrive", density=2.0).config()
    assert config["traffic_density"] == pytest.approx(0.1)
    assert config["accident_prob"] == 0.8
    assert MetaDriveTraffic("metadrive", accident_prob=0.2).config()["accident_prob"] == 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"density": -1}, "density=-1: give a number between 0 and 5"),
        ({"maps": "all"}, "maps='all': choose one of 'train', 'test'"),
        ({"start_map": -3}, "start_map=-3"),
        ({"num_maps": 0}, "num_maps=0"),
        ({"start_map": 2**31 - 5, "num_maps": 6}, "the last map is 2147483647"),
        ({"blocks": 0}, "blocks=0"),
        ({"accident_prob": 2.0}, "accident_prob=2.0"),
        ({"action": "meta"}, "action='meta'.*'grid' or 'continuous'"),
        ({"policy_frequency": 5}, "policy_frequency=5"),
        ({"initial_speed": 99.0}, "initial_speed=99.0"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MetaDriveTraffic(**settings)


def test_throttle_is_the_inverse_of_acceleration() -> None:
    for wanted in (-12.0, -5.0, -0.5, 0.5, 2.0):
        assert acceleration_of(throttle_of(wanted, CAR), CAR) == pytest.approx(wanted)
    assert throttle_of(5.0, CAR) == 1.0  # more than the engine has
    assert throttle_of(-99.0, CAR) == -1.0
    assert 0.0 < throttle_of(0.0, CAR) < 0.01  # an idle car would brake by itself


def test_the_wheel_makes_both_cars_drive_the_same_curve() -> None:
    for wheel in np.linspace(-0.7, 0.7, 15):
        ours = math.sin(math.atan(math.tan(wheel) / 2)) / 2.5  # curvature, highway-env's bicycle
        theirs = math.tan(steering_of(wheel, CAR) * CAR.lock) / CAR.wheelbase
        assert theirs == pytest.approx(-ours)  # their left is positive
        assert wheel_of(steering_of(wheel, CAR), CAR) == pytest.approx(wheel)


@dataclass(eq=False)
class Lane:
    """A lane from one point to another, as far as the choice of lanes looks at it."""

    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def length(self) -> float:
        return math.dist(self.start, self.end)

    def is_previous_lane_of(self, other: Lane) -> bool:
        return math.dist(self.end, other.start) < 0.1


def roads(rng: np.random.Generator) -> list[list[Lane]]:
    """Parallel lanes on consecutive roads, whose number and place change from road to road."""
    made, x = [], 0.0
    for _ in range(4):
        length, first, count = rng.uniform(20, 120), int(rng.integers(3)), int(rng.integers(1, 4))
        rows = [3.5 * (first + k) for k in range(count)]
        made.append([Lane((x, y), (x + length, y)) for y in rows])
        x += length
    return made


def price(made: list[list[Lane]], plan: list[tuple[int, int]], blocked: list[Lane]) -> float:
    """What a plan pays, by the rules that the module states; ``inf``: it is no plan."""
    total = 0.0
    for k, (entry, leave) in enumerate(plan):
        here, changes = made[k], abs(leave - entry)
        cramped = changes * CHANGE_LENGTH > CHANGE_SHARE * here[leave].length
        total += changes * (10.0 if cramped else 1.0) + 100.0 * (here[leave] in blocked)
        if k + 1 < len(made):
            there = made[k + 1]
            met = [j for j, lane in enumerate(there) if here[leave].is_previous_lane_of(lane)]
            gaps = [math.dist(here[leave].end, lane.start) for lane in there]
            if plan[k + 1][0] not in (met or [int(np.argmin(gaps))]):
                return math.inf
            total += 0.0 if met else 1000.0 + min(gaps)
    return total


@pytest.mark.parametrize("seed", range(30))
def test_the_chosen_lanes_are_the_cheapest_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = roads(rng)
    first = int(rng.integers(len(made[0])))
    blocked = [road[int(rng.integers(len(road)))] for road in made if rng.uniform() < 0.5]
    pairs = [list(itertools.product(range(len(road)), repeat=2)) for road in made]
    plans = [plan for plan in itertools.product(*pairs) if plan[0][0] == first]
    best = min(price(made, list(plan), blocked) for plan in plans)
    assert price(made, choose_lanes(made, first, blocked), blocked) == pytest.approx(best)


def test_nobody_is_passed_much_faster_than_he_drives() -> None:
    def columns(ahead: float, right: float, heading: float, speed: float) -> np.ndarray:
        ego, other = [0.0, 0, 0, 8, 4.5, 1.9], [ahead, right, heading, speed, 4.5, 1.9]
        return np.array([ego, other]).T

    assert passing_speed(columns(4.0, 3.5, 0.0, 3.0)) == pytest.approx(5.5)
    assert passing_speed(columns(25.0, 3.5, 0.0, 3.0)) > 8.0  # there is time to brake
    assert passing_speed(columns(-6.0, 3.5, 0.0, 3.0)) == math.inf  # passed already
    assert passing_speed(columns(4.0, 3.5, math.pi, 3.0)) == math.inf  # oncoming
