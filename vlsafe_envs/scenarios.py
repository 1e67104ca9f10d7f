"""A road's traffic on highway-env, and the frame around an episode on any simulator.

``TrafficConfig`` is all that a traffic simulator needs to know; ``Scenario`` adds what the
environment around it needs.  Both check their values when they are built.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vlsafe_envs.checks import (
    check_choice,
    check_flag,
    check_integer,
    check_kind,
    check_number,
    shown,
)
from vlsafe_envs.registry import ENV_IDS, HighwayRoad, Row, row_named

ACTION_KINDS = ("meta", "grid", "continuous")
SCENARIO_NAMES = tuple(ENV_IDS.values())


@runtime_checkable
class TrafficSettings(Protocol):
    """What the environment and the tools around it ask of a simulator's settings."""

    @property
    def scenario(self) -> str:
        """The road's name in the registry."""

    @property
    def density(self) -> float:
        """Traffic density, see ``registry.Row.density``."""

    @property
    def action(self) -> str:
        """The kind of action."""

    @property
    def policy_frequency(self) -> int:
        """Decisions a second [Hz]."""


@dataclass(frozen=True)
class TrafficConfig:
    """A road and its traffic.

    ``vehicles`` counts the vehicles other than the ego vehicle at reset (at most: where there is
    no room, fewer are spawned).  What ``density`` means: ``registry.Row.density``.

    Raises:
        ValueError: for values that no road can be built from.
    """

    scenario: str = SCENARIO_NAMES[0]
    vehicles: int = 30
    density: float = 1.3
    lanes: int = 4
    initial_speed: float = 25.0  # [m/s], of the ego vehicle
    ego_spacing: float = 2.0  # room in front of the ego vehicle, in spawn spacings
    destination: str | None = None  # "o1" left, "o2" ahead, "o3" right
    spawn_probability: float = 0.6  # per second at density 1
    action: str = "meta"
    target_speeds: tuple[float, ...] = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)  # [m/s]
    policy_frequency: int = 1  # [Hz]
    simulation_frequency: int = 15  # [Hz]

    def __post_init__(self) -> None:
        road = self.road
        check_choice("action", self.action, ACTION_KINDS)
        check_integer("vehicles", self.vehicles, 0, road.most_vehicles)
        check_number("density", self.density, 0.1, 5.0)
        check_integer("lanes", self.lanes, 1, 10)
        check_number("initial_speed", self.initial_speed, 0.0, 40.0, "m/s")
        check_number("ego_spacing", self.ego_spacing, 0.5, 10.0)
        if self.destination is not None:
            check_choice("destination", self.destination, ("o1", "o2", "o3"))
        check_number("spawn_probability", self.spawn_probability, 0.0, 1.0)
        check_integer("simulation_frequency", self.simulation_frequency, 5, 60)
        check_integer("policy_frequency", self.policy_frequency, 1, self.simulation_frequency)
        if self.simulation_frequency % self.policy_frequency:
            raise ValueError(
                f"policy_frequency={self.policy_frequency}: it must divide "
                f"simulation_frequency={self.simulation_frequency}"
            )
        self._check_target_speeds()

    def _check_target_speeds(self) -> None:
        given = self.target_speeds
        given = given.tolist() if isinstance(given, np.ndarray) else given
        speeds = tuple(given) if isinstance(given, list | tuple) else ()
        if len(speeds) < 2:
            raise ValueError(f"target_speeds={shown(given)}: give at least two speeds [m/s]")
        for speed in speeds:
            check_number("target_speeds", speed, 0.0, 40.0, "m/s")
        speeds = tuple(float(speed) for speed in speeds)
        object.__setattr__(self, "target_speeds", speeds)
        gaps = [b - a for a, b in itertools.pairwise(speeds)]
        # highway-env finds the nearest speed by arithmetic that assumes even steps.
        if min(gaps) <= 0 or max(gaps) - min(gaps) > 1e-6:
            raise ValueError(f"target_speeds={speeds!r}: speeds must rise in even steps")

    @property
    def road(self) -> HighwayRoad:
        """What the registry says of the road."""
        road = row_named(self.scenario, HighwayRoad.simulator).road
        assert isinstance(road, HighwayRoad)
        return road

    @property
    def substeps(self) -> int:
        """Simulation steps in one decision."""
        return self.simulation_frequency // self.policy_frequency


@dataclass(frozen=True)
class Scenario:
    """A road with its traffic, and the frame around an episode.

    Raises:
        ValueError: for values out of range.
    """

    traffic: Any = field(default_factory=TrafficConfig)  # the simulator's settings
    duration: float = 40.0  # [s], then the episode is truncated
    reward_speed_range: tuple[float, float] = (10.0, 30.0)  # [m/s], worth 0 and 1 to cruisers
    cruise_speed: float = 25.0  # [m/s], what the expert driver wishes to drive
    has_goal: bool = False  # whether there is something to arrive at
    # What each episode's traffic density is drawn from, evenly; the traffic's own is the greatest.
    density_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_kind("traffic", self.traffic, TrafficSettings, "settings of a simulator's traffic")
        check_number("duration", self.duration, 1.0, 3600.0, "s")
        check_number("cruise_speed", self.cruise_speed, 0.5, 40.0, "m/s")
        check_flag("has_goal", self.has_goal)
        speeds = self.reward_speed_range
        check_kind("reward_speed_range", speeds, tuple, "(low, high) [m/s]")
        for speed in speeds:
            check_number("reward_speed_range", speed, 0.0, 40.0, "m/s")
        if len(speeds) != 2 or speeds[0] >= speeds[1]:
            raise ValueError(
                f"reward_speed_range={shown(speeds)}: give (low, high), low below high"
            )

    @property
    def decisions(self) -> int:
        """Decisions in a whole episode."""
        return round(self.duration * self.traffic.policy_frequency)

    @property
    def row(self) -> Row:
        """The registry's row of the road."""
        return row_named(self.traffic.scenario)


# Wheel and pedal commands held for a whole second cannot keep a car on its lane.
_DEFAULT_FREQUENCY = {"meta": 1, "grid": 5, "continuous": 5}  # [Hz]


def highway_traffic(scenario: str, **given: Any) -> TrafficConfig:
    """The traffic of a road of highway-env's; ``policy_frequency`` follows from the action.

    Raises:
        ValueError: for impossible values.
    """
    action = given.get("action", TrafficConfig.action)
    check_choice("action", action, ACTION_KINDS)
    if "target_speeds" in given and action != "meta":
        raise ValueError(
            f"target_speeds={shown(given['target_speeds'])}: only action='meta' steps through them"
        )
    return TrafficConfig(scenario, **{"policy_frequency": _DEFAULT_FREQUENCY[action], **given})
