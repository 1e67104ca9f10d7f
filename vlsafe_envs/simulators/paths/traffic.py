"""Settings of the traffic on this package's own roads."""

from __future__ import annotations

from dataclasses import dataclass

from vlsafe_envs.actions import check_route_action
from vlsafe_envs.checks import check_choice, check_integer, check_number
from vlsafe_envs.registry import OwnRoad, row_named

SIMULATION_FREQUENCY = 20  # [Hz]
GAPS = {"none": None, "medium": (8.0, 16.0), "hard": (6.0, 8.0)}  # [m], CarDreamer's
VEHICLES = 50  # on the four-lane road at density 1, as in CarDreamer
TRAFFIC = tuple(GAPS)


@dataclass(frozen=True)
class PathTraffic:
    """A road of ours and its traffic.  What ``density`` means: ``registry.Row.density``.

    Raises:
        ValueError: for values that no road can be built from.
    """

    scenario: str
    density: float = 1.0
    vehicles: int = VEHICLES  # at density 1, where the road has this option
    traffic: str = "medium"  # of a flow: "none", "medium" or "hard"
    action: str = "grid"
    policy_frequency: int = 10  # [Hz]
    initial_speed: float = 0.0  # [m/s], of the ego vehicle

    def __post_init__(self) -> None:
        most = self.road.most_vehicles
        check_number("density", self.density, 0.1, 5.0)
        check_integer("vehicles", self.vehicles, 0, most or VEHICLES)
        check_choice("traffic", self.traffic, TRAFFIC)
        check_route_action(self.action)
        check_integer("policy_frequency", self.policy_frequency, 1, SIMULATION_FREQUENCY)
        if SIMULATION_FREQUENCY % self.policy_frequency:
            raise ValueError(
                f"policy_frequency={self.policy_frequency}: it must divide {SIMULATION_FREQUENCY}"
            )
        check_number("initial_speed", self.initial_speed, 0.0, 20.0, "m/s")
        if most and self.others > most:
            raise ValueError(
                f"density={self.density:g} times vehicles={self.vehicles} makes {self.others} "
                f"vehicles: the road holds {most}, lower one of the two"
            )

    @property
    def road(self) -> OwnRoad:
        """What the registry says of the road."""
        road = row_named(self.scenario, OwnRoad.simulator).road
        assert isinstance(road, OwnRoad)
        return road

    @property
    def others(self) -> int:
        """Vehicles at this density, where ``vehicles`` says how many."""
        return round(self.vehicles * self.density)
