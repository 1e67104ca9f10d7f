"""Where the other vehicles may be going on MetaDrive's maps, as the planner takes it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vlsafe_envs.drivers.planner import Others
from vlsafe_envs.simulators.metadrive.ways import (
    REACH,
    SIGHT,
    SLANT,
    across,
    beside,
    lane_of,
    standing_line,
    stays,
    table_of,
)
from vlsafe_envs.simulators.metadrive.world import MetaDriveWorld, thing_row
from vlsafe_envs.simulators.paths.paths import PATH_STEP

Array = npt.NDArray[np.float64]
CLEARANCE = 0.3  # [m] between the ego vehicle's side and what stands beside its route
HASTE = 1.15  # they may also drive so much faster (and 0.5 m/s): they brake for nobody who enters


class Way(NamedTuple):
    """Where somebody may be going."""

    line: Array  # (K, 2) [m], PATH_STEP apart
    station: float  # [m], where on it
    speed: float  # [m/s]


class Prospects:
    """The ways ahead of the other vehicles on one map, see ``simulators.metadrive.ways``."""

    def __init__(self, world: MetaDriveWorld, route: Array) -> None:
        self._world, self._route = world, route

    @staticmethod
    def nobody() -> Others:
        """An empty road, for who does not look."""
        return _others([])

    def others(self) -> list[Others]:
        """All others near the ego vehicle, one row for every way that may be theirs.

        Three views of them: as they drive, faster, and with lane changes of those that drive askew.
        A driver who believed in all of it at once would see no way out, and take the worst one.
        """
        x, y = self._world.scene.position[0]
        kept: list[Way] = []
        changes: list[Way] = []
        for thing in self._world.others():
            row = thing_row(thing)
            if math.hypot(row[0] - x, row[1] - y) > SIGHT:
                continue
            if stays(thing) and self._clear_of_route(row):
                continue  # the planner takes everything for a car, and cones would block two lanes
            self._add_ways(thing, row, kept, changes)
        faster = [way._replace(speed=HASTE * way.speed + 0.5) for way in kept if way.speed > 0.1]
        return [
            _others(kept),
            _others(kept + faster),
            *([_others(kept + changes)] if changes else []),
        ]

    def _clear_of_route(self, row: tuple[float, ...]) -> bool:
        """Whether the ego vehicle, on its route, passes what stands there."""
        x, y, heading, _, length, width = row
        dx, dy = self._route[:, 0] - x, self._route[:, 1] - y
        cos, sin = math.cos(heading), math.sin(heading)
        ahead = np.abs(dx * cos + dy * sin) - length / 2
        beside = np.abs(dy * cos - dx * sin) - width / 2
        gaps = np.hypot(np.maximum(ahead, 0.0), np.maximum(beside, 0.0))  # (K,)
        return bool(gaps.min() > self._world.agent.WIDTH / 2 + CLEARANCE)

    def _add_ways(
        self, thing: Any, row: tuple[float, ...], kept: list[Way], changes: list[Way]
    ) -> None:
        """Add the ways of one road user along its lane, and those to the lane beside it."""
        x, y, heading, speed = row[:4]
        lane = lane_of(thing)
        if lane is None or abs(speed) < 0.1:  # it stays where it is
            kept.append(Way(standing_line(x, y, heading, -1.0), PATH_STEP, speed))
            return
        lanes = self._world.lane_ways
        place = lanes.place(lane, thing.position, heading)
        for whole in lanes.lines(lane):
            line = whole[place.first : place.first + round(REACH / PATH_STEP)]
            if len(line) < 3:
                kept.append(Way(standing_line(x, y, heading, 0.0), 0.0, speed))
                continue
            kept.append(Way(beside(line, place.offset), place.station, speed))
            if abs(place.slant) > SLANT:
                changed = across(line, place.offset, place.slant, place.width)
                changes.append(Way(changed, place.station, speed))


def _others(ways: list[Way]) -> Others:
    """The ways as the planner takes them."""
    return Others(
        table_of([way.line for way in ways]),
        np.arange(len(ways)),
        np.array([way.station for way in ways], np.float64),
        np.array([way.speed for way in ways], np.float64),
        True,
    )
