"""The four driving scenarios: what each road holds, as small frozen dataclasses with defaults.

``TrafficConfig`` is all that a traffic simulator needs to know; ``Scenario`` adds what the
environment around it needs.  Both check their values when they are built.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlsafe_envs.checks import (
    check_choice,
    check_flag,
    check_integer,
    check_kind,
    check_number,
    shown,
)

ACTION_KINDS = ("meta", "grid", "continuous")
SCENARIO_NAMES = ("highway", "merge", "roundabout", "intersection")
MAX_VEHICLES = {"highway": 200, "merge": 12, "roundabout": 30, "intersection": 30}


@dataclass(frozen=True)
class TrafficConfig:
    """A road and its traffic.

    ``vehicles`` counts the vehicles other than the ego vehicle at reset (at most: where there is
    no room, fewer are spawned).  ``density`` means:

    - highway: spacing between spawned vehicles is divided by it, as in highway-env;
    - merge: distances of the others from the ego vehicle are divided by it;
    - roundabout: the room kept between the extra vehicles is divided by it;
    - intersection: multiplies the chance that a vehicle enters each second (base 0.6, at most 1).

    Raises ``ValueError`` for values that no road can be built from.
    """

    scenario: str = "highway"
    vehicles: int = 30
    density: float = 1.3
    lanes: int = 4  # highway only; the other roads are fixed
    initial_speed: float = 25.0  # [m/s], of the ego vehicle
    ego_spacing: float = 2.0  # highway only: room in front of the ego vehicle, in spawn spacings
    destination: str | None = None  # intersection only: "o1" left, "o2" ahead, "o3" right
    spawn_probability: float = 0.6  # intersection only, per second at density 1
    action: str = "meta"
    target_speeds: tuple[float, ...] = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)  # [m/s]
    policy_frequency: int = 1  # [Hz]
    simulation_frequency: int = 15  # [Hz]

    def __post_init__(self) -> None:
        check_choice("scenario", self.scenario, SCENARIO_NAMES)
        check_choice("action", self.action, ACTION_KINDS)
        check_integer("vehicles", self.vehicles, 0, MAX_VEHICLES[self.scenario])
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
    def substeps(self) -> int:
        """Simulation steps in one decision."""
        return self.simulation_frequency // self.policy_frequency


@dataclass(frozen=True)
class Scenario:
    """One registered environment: its traffic and the frame around an episode."""

    traffic: TrafficConfig = field(default_factory=TrafficConfig)
    duration: float = 40.0  # [s], then the episode is truncated
    reward_speed_range: tuple[float, float] = (10.0, 30.0)  # [m/s], worth 0 and 1
    cruise_speed: float = 25.0  # [m/s], what the expert driver wishes to drive
    has_goal: bool = False

    def __post_init__(self) -> None:
        check_kind("traffic", self.traffic, TrafficConfig, "a TrafficConfig")
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


SCENARIOS: dict[str, Scenario] = {
    "highway": Scenario(),
    "merge": Scenario(
        TrafficConfig("merge", vehicles=6, density=1.0, initial_speed=30.0),
        reward_speed_range=(10.0, 30.0),  # highway-env's limit here is 20 m/s
        has_goal=True,
    ),
    "roundabout": Scenario(
        TrafficConfig("roundabout", vehicles=8, density=1.0, initial_speed=8.0),
        reward_speed_range=(2.0, 15.0),  # waiting costs a little, or crashing early would pay
        cruise_speed=10.0,
        has_goal=True,
    ),
    "intersection": Scenario(
        TrafficConfig("intersection", vehicles=10, density=1.0, initial_speed=10.0),
        reward_speed_range=(2.0, 15.0),  # waiting costs a little, or crashing early would pay
        cruise_speed=10.0,
        has_goal=True,
    ),
}

# Wheel and pedal commands held for a whole second cannot keep a car on its lane.
_DEFAULT_FREQUENCY = {"meta": 1, "grid": 5, "continuous": 5}  # [Hz]
_ONLY_FOR = {
    "lanes": "highway",
    "ego_spacing": "highway",
    "destination": "intersection",
    "spawn_probability": "intersection",
}


def make_scenario(name: str, **overrides: Any) -> Scenario:
    """The scenario ``name`` with some fields of it or of its traffic replaced.

    An override of ``None`` means the default.  ``policy_frequency`` is 1 Hz for meta-actions and
    5 Hz for the other two kinds unless it is given.

    Raises ``ValueError`` for an unknown scenario, unknown field or impossible value.
    """
    check_choice("scenario", name, SCENARIO_NAMES)
    base = SCENARIOS[name]
    given = {key: value for key, value in overrides.items() if value is not None}
    traffic_fields = {f.name for f in dataclasses.fields(TrafficConfig)} - {"scenario"}
    scenario_fields = {"duration"}
    for key in given:
        if key not in traffic_fields | scenario_fields:
            known = ", ".join(sorted(traffic_fields | scenario_fields))
            raise ValueError(f"unknown scenario option {key!r}: the options are {known}")
        if _ONLY_FOR.get(key, name) != name:
            raise ValueError(
                f"{key}={shown(given[key])}: only the {_ONLY_FOR[key]} scenario has it"
            )
    action = given.get("action", base.traffic.action)
    check_choice("action", action, ACTION_KINDS)
    if "target_speeds" in given and action != "meta":
        raise ValueError(
            f"target_speeds={shown(given['target_speeds'])}: only action='meta' steps through them"
        )
    given.setdefault("policy_frequency", _DEFAULT_FREQUENCY[action])
    traffic = dataclasses.replace(
        base.traffic, **{key: given[key] for key in given if key in traffic_fields}
    )
    return dataclasses.replace(
        base, traffic=traffic, **{key: given[key] for key in given if key in scenario_fields}
    )
