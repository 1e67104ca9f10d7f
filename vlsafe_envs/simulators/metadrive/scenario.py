"""Settings of MetaDrive's maps and traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vlsafe_envs.actions import check_route_action
from vlsafe_envs.checks import check_choice, check_integer, check_number
from vlsafe_envs.registry import METADRIVE_IDS, MetaDriveRoad, row_named

TRAIN_MAPS = (0, 1000)  # first map and number of maps
TEST_MAPS = (100_000, 200)
MAPS = {"train": TRAIN_MAPS, "test": TEST_MAPS}
DECISION_FREQUENCY = 10  # [Hz], five physics steps of 0.02 s, MetaDrive's own
LARGEST_MAP = 2**31 - 1  # MetaDrive seeds numpy with the map's index


@dataclass(frozen=True)
class MetaDriveTraffic:
    """Which maps, and what is on them.

    A map is what MetaDrive calls a scenario: its index seeds the roads and the route.  ``maps``
    names a range; ``start_map`` and ``num_maps`` give one.  ``"train"`` is 0 to 999 and ``"test"``
    100,000 to 100,199, so an agent is tested on roads that it has not seen.

    Raises:
        ValueError: for values that MetaDrive cannot build.
    """

    scenario: str = next(iter(METADRIVE_IDS.values()))
    density: float = 1.0  # times MetaDrive's own, see the registry
    maps: str = "train"
    start_map: int | None = None  # instead of the range that ``maps`` names
    num_maps: int | None = None
    blocks: int = 3  # road pieces of a map, MetaDrive's default; each is 40 to 150 m long
    accident_prob: float | None = None  # instead of MetaDrive's own, see the registry
    action: str = "grid"
    policy_frequency: int = DECISION_FREQUENCY  # [Hz], fixed
    initial_speed: float = 0.0  # [m/s], of the ego vehicle

    def __post_init__(self) -> None:
        row_named(self.scenario, MetaDriveRoad.simulator)
        check_number("density", self.density, 0.0, 5.0)
        check_choice("maps", self.maps, tuple(MAPS))
        if self.start_map is not None:
            check_integer("start_map", self.start_map, 0, LARGEST_MAP)
        if self.num_maps is not None:
            check_integer("num_maps", self.num_maps, 1, 1_000_000)
        check_integer("blocks", self.blocks, 1, 10)
        if self.accident_prob is not None:
            check_number("accident_prob", self.accident_prob, 0.0, 1.0)
        check_route_action(self.action)
        check_integer("policy_frequency", self.policy_frequency, 10, 10)
        check_number("initial_speed", self.initial_speed, 0.0, 20.0, "m/s")
        if self.first_map + self.map_count - 1 > LARGEST_MAP:
            raise ValueError(
                f"start_map={self.first_map} and num_maps={self.map_count}: "
                f"the last map is {LARGEST_MAP}"
            )

    @property
    def first_map(self) -> int:
        """Index of the first map."""
        return MAPS[self.maps][0] if self.start_map is None else self.start_map

    @property
    def map_count(self) -> int:
        """How many maps there are, from the first one on."""
        return MAPS[self.maps][1] if self.num_maps is None else self.num_maps

    def config(self) -> dict[str, Any]:
        """MetaDrive's settings for these roads and this traffic."""
        road = row_named(self.scenario).road
        assert isinstance(road, MetaDriveRoad)
        accidents = road.accident_prob if self.accident_prob is None else self.accident_prob
        return {
            "start_seed": self.first_map,
            "num_scenarios": self.map_count,
            "map": self.blocks,
            "traffic_density": self.traffic_density(self.density),
            "accident_prob": accidents,
        }

    def traffic_density(self, density: float) -> float:
        """MetaDrive's own density at one of ours."""
        road = row_named(self.scenario).road
        assert isinstance(road, MetaDriveRoad)
        return road.traffic_density * density
