"""One row for every id; options, drivers, captions, documents and tests are read from it.

To add a road: a row here, and the file that builds the road, which the row names as
``"module:attribute"``.  Nothing else knows roads by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym

from vlsafe_envs.checks import check_choice

STAGES = "vlsafe_envs.simulators.highway_env.stages"
SPAWNING = "vlsafe_envs.simulators.engine.spawning"
_MAKERS = "vlsafe_envs.registration"


@dataclass(frozen=True)
class Road:
    """What a simulator has to know of a road, and what its roads have in common; see ``Row``."""

    simulator: ClassVar[str]
    driver: ClassVar[str]
    own_drivers: ClassVar[Mapping[str, str]] = {}
    stacked: ClassVar[bool] = False
    one_per_process: ClassVar[bool] = False
    fixed: ClassVar[bool] = True
    told_tails: ClassVar[bool] = False
    knows_ways: ClassVar[bool] = True
    macro: ClassVar[str] = "vlsafe_envs.drivers.macros:RouteMacro"
    macros: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
        ("grid", "continuous"), ("go", "hold", "peek", "keep")
    )
    tails: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
        ("grid", "continuous"), ("go", "hold")
    )


@dataclass(frozen=True)
class HighwayRoad(Road):
    """A road of highway-env's, driven by the compiled engine or by highway-env itself."""

    simulator = "highway_env"
    driver = "vlsafe_envs.drivers.rules:RuleDriver"
    stacked = True
    knows_ways = False
    macro = "vlsafe_envs.drivers.macros:LaneMacro"
    macros: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "meta": ("left", "idle", "right", "faster", "slower"),
        **dict.fromkeys(("grid", "continuous"), ("accelerate", "keep", "brake")),
    }
    tails: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "meta": ("idle",),
        **dict.fromkeys(("grid", "continuous"), ("keep", "brake")),
    }

    stage: str  # builds the road and its traffic of highway-env's objects
    spawner: str  # spawns the same traffic in the compiled engine
    most_vehicles: int
    rules: str  # of the drivers: "lanes", "merging" or "junction"
    aggressive_speed: float  # [m/s], of the aggressive driver


@dataclass(frozen=True)
class OwnRoad(Road):
    """A road of this package, whose other vehicles keep to paths."""

    simulator = "paths"
    driver = "vlsafe_envs.drivers.route:RouteDriver"

    build: str  # makes a ``PathRoad`` for a ``PathTraffic``
    most_vehicles: int = 0  # with the option ``vehicles``


@dataclass(frozen=True)
class MetaDriveRoad(Road):
    """MetaDrive's maps."""

    simulator = "metadrive"
    one_per_process = True
    fixed = False
    told_tails = True
    driver = "vlsafe_envs.drivers.metadrive:MetaDriveRouteDriver"
    own_drivers: ClassVar[Mapping[str, str]] = {
        "metadrive_ppo": "vlsafe_envs.drivers.metadrive:ShippedDriver",
        "metadrive_idm": "vlsafe_envs.drivers.metadrive:ShippedDriver",
    }

    traffic_density: float  # MetaDrive's own: share of places 10 m apart that hold a vehicle
    accident_prob: float  # that a piece of road holds cones, a barrier or a broken-down car


@dataclass(frozen=True, eq=False)
class Row:
    """All that tells one id from the others."""

    env_id: str
    name: str  # of the road, as in ``TrafficConfig.scenario``
    road: Road
    task: str  # "cruise", "route" or "metadrive": reward, cost and ends
    density: str  # what the option ``density`` does
    traffic: Mapping[str, Any] = field(default_factory=dict)  # defaults of this road's own
    scenario: Mapping[str, Any] = field(default_factory=dict)  # likewise, of ``Scenario``
    own_options: tuple[str, ...] = ()  # that other roads of the simulator do not have
    captions: tuple[str, ...] = ()  # sentences about its frames, {car} being the ego vehicle
    crossing: bool = False  # whether ways cross: harder to score
    meta_macros: tuple[str, ...] = ()  # macro-actions that only this road has, of meta-actions

    @property
    def simulator(self) -> str:
        """Who simulates: ``"highway_env"``, ``"paths"`` or ``"metadrive"``."""
        return self.road.simulator

    @property
    def stacked(self) -> bool:
        """Whether N of them are stepped together in compiled code."""
        return self.road.stacked

    @property
    def one_per_process(self) -> bool:
        """Whether a process can hold only one of them."""
        return self.road.one_per_process

    @property
    def fixed_road(self) -> bool:
        """Whether the road is the same in all episodes, so that stored scenes can be drawn."""
        return self.road.fixed

    @property
    def drivers(self) -> Mapping[str, str]:
        """Class of every driver, by its name; the first one is the default."""
        return {**dict.fromkeys(DRIVER_NAMES, self.road.driver), **self.road.own_drivers}

    @property
    def told_tails(self) -> bool:
        """Whether a risk model is told how tails begin: no map is known from the one before."""
        return self.road.told_tails

    @property
    def knows_ways(self) -> bool:
        """Whether it is known which ways the others may take; see ``way_set``."""
        return self.road.knows_ways

    def macros(self, action: str) -> tuple[str, ...]:
        """Names of the macro-actions with a kind of action; see ``drivers.macros``."""
        own = self.meta_macros if action == "meta" else ()
        return (*self.road.macros[action], *own, "expert")

    def tails(self, action: str) -> tuple[str, ...]:
        """Of them, those that drive on after an action that is tried: ahead, and to a stop."""
        return (action == "meta" and self.meta_macros) or self.road.tails[action]


DRIVER_NAMES = ("expert", "noisy", "inattentive", "brisk", "aggressive", "timid", "random")
_JUNCTION = {"reward_speed_range": (2.0, 15.0), "cruise_speed": 10.0, "has_goal": True}
_TOWN = {"duration": 50.0, "cruise_speed": 8.0, "has_goal": True}  # 500 steps as in CarDreamer
_MAPS = {"duration": 100.0, "cruise_speed": 8.0, "has_goal": True}  # MetaDrive's 1000 steps

ROWS = (
    Row(
        "VLSafe-Highway-v0",
        "highway",
        HighwayRoad(f"{STAGES}:HighwayStage", f"{SPAWNING}:spawn_highway", 200, "lanes", 32.0),
        "cruise",
        "divides the spacing between spawned vehicles, as in highway-env",
        own_options=("lanes", "ego_spacing"),
        captions=(
            "{car} is on a highway",
            "a highway seen from above",
            "a straight multi-lane road",
        ),
    ),
    Row(
        "VLSafe-Merge-v0",
        "merge",
        HighwayRoad(f"{STAGES}:MergeStage", f"{SPAWNING}:spawn_merge", 12, "merging", 32.0),
        "cruise",
        "divides the distances of the others from the ego vehicle",
        {"vehicles": 6, "density": 1.0, "initial_speed": 30.0},
        {"has_goal": True},  # highway-env's limit is 20 m/s here; the range of speeds ends at 30
        captions=(
            "{car} is where two roads merge",
            "a lane joins the highway",
            "a merging scene",
        ),
    ),
    Row(
        "VLSafe-Roundabout-v0",
        "roundabout",
        HighwayRoad(
            f"{STAGES}:RoundaboutStage", f"{SPAWNING}:spawn_roundabout", 30, "junction", 16.0
        ),
        "cruise",
        "divides the room kept between the vehicles beyond the first four",
        {"vehicles": 8, "density": 1.0, "initial_speed": 8.0},
        _JUNCTION,  # waiting costs a little, or crashing early would pay
        captions=(
            "{car} is at a roundabout",
            "a roundabout seen from above",
            "a circular road",
        ),
        crossing=True,
        meta_macros=("go", "hold"),
    ),
    Row(
        "VLSafe-Intersection-v0",
        "intersection",
        HighwayRoad(
            f"{STAGES}:IntersectionStage", f"{SPAWNING}:spawn_intersection", 30, "junction", 14.0
        ),
        "cruise",
        "multiplies the chance that a vehicle enters each second (0.6, at most 1)",
        {"vehicles": 10, "density": 1.0, "initial_speed": 10.0},
        _JUNCTION,
        own_options=("destination", "spawn_probability"),
        captions=(
            "{car} is at an intersection",
            "a crossing of two roads",
            "a crossroads",
        ),
        crossing=True,
        meta_macros=("go", "hold"),
    ),
    Row(
        "VLSafe-FourLane-v0",
        "four_lane",
        OwnRoad("vlsafe_envs.simulators.paths.four_lane:make_road", most_vehicles=176),
        "route",
        "multiplies the vehicles on the road",
        scenario=_TOWN,
        own_options=("vehicles",),
        captions=("{car} changes lanes along its blue route", "a blue route over four lanes"),
    ),
    Row(
        "VLSafe-LeftTurn-v0",
        "left_turn",
        OwnRoad("vlsafe_envs.simulators.paths.junction:make_left"),
        "route",
        "divides the seconds between cars of the flow",
        scenario=_TOWN,
        own_options=("traffic",),
        captions=("{car} has to turn left", "a blue route turns left at a crossing"),
        crossing=True,
    ),
    Row(
        "VLSafe-RightTurn-v0",
        "right_turn",
        OwnRoad("vlsafe_envs.simulators.paths.junction:make_right"),
        "route",
        "divides the seconds between cars of the flow",
        scenario=_TOWN,
        own_options=("traffic",),
        captions=("{car} has to turn right", "a blue route turns right at a crossing"),
        crossing=True,
    ),
    Row(
        "VLSafe-Navigation-v0",
        "navigation",
        MetaDriveRoad(traffic_density=0.1, accident_prob=0.0),
        "route",
        "multiplies MetaDrive's traffic density",
        scenario=_MAPS,
        own_options=("vector",),
        captions=("{car} follows its blue route through a town", "a winding road with a route"),
    ),
    Row(
        "VLSafe-MetaDrive-v0",
        "metadrive",
        MetaDriveRoad(traffic_density=0.05, accident_prob=0.8),
        "metadrive",
        "multiplies MetaDrive's traffic density",
        scenario=_MAPS,
        own_options=("solid_lines", "crash_terminal"),
    ),
)
DEFAULT_ID = ROWS[0].env_id
_BY_ID = {row.env_id: row for row in ROWS}
_BY_NAME = {row.name: row for row in ROWS}


def ids_on(simulator: str) -> dict[str, str]:
    """The ids that a simulator drives, and the names of their roads."""
    return {row.env_id: row.name for row in ROWS if row.simulator == simulator}


ENV_IDS = ids_on("highway_env")  # those on highway-env's roads
TASK_IDS = ids_on("paths")  # those with a route to follow, on roads of our own
METADRIVE_IDS = ids_on("metadrive")


def known_ids() -> tuple[str, ...]:
    """All ids that are ours."""
    return tuple(_BY_ID)


def bare_id(env_id: str) -> str:
    """The id without ``"vlsafe_envs:"``.

    Raises:
        ValueError: for one that is not ours.
    """
    name = env_id.removeprefix("vlsafe_envs:") if isinstance(env_id, str) else env_id
    check_choice("env_id", name, known_ids())
    return name


def row_of(env_id: str) -> Row:
    """The row of an id.

    Raises:
        ValueError: for one that is not ours.
    """
    return _BY_ID[bare_id(env_id)]


def row_named(name: str, simulator: str | None = None) -> Row:
    """The row of a road, which ``simulator``, if given, drives; else ``ValueError``."""
    names = (row.name for row in ROWS if simulator in (None, row.simulator))
    check_choice("scenario", name, tuple(names))
    return _BY_NAME[name]


def driver_names(env_id: str) -> tuple[str, ...]:
    """The drivers that an id of ours has.

    Raises:
        ValueError: for an id that is not ours.
    """
    return tuple(row_of(env_id).drivers)


def all_driver_names() -> tuple[str, ...]:
    """The drivers of all ids together."""
    return tuple(dict.fromkeys(name for row in ROWS for name in row.drivers))


def register_envs() -> None:
    """Register our ids with Gymnasium, whether or not MetaDrive is installed.

    A second call changes nothing.
    """
    for row in ROWS:
        if row.env_id not in gym.registry:
            gym.register(
                row.env_id,
                f"{_MAKERS}:make_env",
                vector_entry_point=f"{_MAKERS}:make_vector_env",
                kwargs={"scenario": row.name},
            )
