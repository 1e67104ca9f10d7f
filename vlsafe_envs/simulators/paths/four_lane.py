"""A straight road of four lanes, with traffic that keeps to them, and a route that does not.

CarDreamer's route: from a random lane, 158 m on; every 15 to 30 m it goes on to a lane drawn from
its own and its neighbours, over 8 m, as a polyline.  (CarDreamer never starts on the last lane: its
``randint(0, 3)`` leaves it out.  Here all four are drawn.)

CarDreamer spreads 50 vehicles over CARLA's Town 04.  Here 50 (times ``density``) drive the 400 m
around the route: one every 32 m on each lane.  They wish to drive 30 km/h, each up to 10% more or
less, follow by IDM and brake for the ego vehicle once it reaches into their lane.  The 400 m are a
ring: who leaves in front enters behind, out of sight.
"""

from __future__ import annotations

import numpy as np

from vlsafe_envs.render import Line, RoadShape
from vlsafe_envs.simulator import ROUTE_STEP
from vlsafe_envs.simulators.paths.motion import Array, show, step_lanes
from vlsafe_envs.simulators.paths.paths import lane_shape, path_table, resample, straight
from vlsafe_envs.simulators.paths.traffic import PathTraffic
from vlsafe_envs.simulators.paths.world import Hypotheses
from vlsafe_envs.state import State, restore_attributes, save_attributes

LANES = 4
LANE_WIDTH = 3.5  # [m]; Town 04's are 3.2 to 3.4 m apart
ROUTE_LENGTH = 158.0  # [m]
KEEP = (15.0, 30.0)  # [m] on a lane before the next change
CHANGE = 8.0  # [m] along the road that a change takes
BEHIND, AHEAD = 120.0, 280.0  # [m] of traffic around the start
DRAWN = 60.0  # [m] of road beyond the traffic at both ends
TRAFFIC_SPEED = 30.0 / 3.6  # [m/s]
SPEED_SPREAD = 0.1  # of it, to both sides
JITTER = 0.3  # of the spacing, to both sides; less where cars would come too close
LEAST_SPACING = 9.0  # [m] between centres: 4 m between bumpers
CLEAR = (-16.0, 12.0)  # [m] along the ego vehicle's lane that are free at the start
ON_ROAD_MARGIN = 1.0  # [m]
RING = BEHIND + AHEAD  # [m]
MOST_VEHICLES = LANES * int(RING / LEAST_SPACING)


def random_route(rng: np.random.Generator) -> Array:
    """Corner points ``(K, 2)`` [m] of a route along x; lane 0 is at y = 0."""
    lane, x = int(rng.integers(LANES)), 0.0
    corners = [(x, lane * LANE_WIDTH)]
    while True:
        x += rng.uniform(*KEEP)
        if x + CHANGE >= ROUTE_LENGTH:
            return np.array([*corners, (ROUTE_LENGTH, lane * LANE_WIDTH)])
        corners.append((x, lane * LANE_WIDTH))
        choices = [k for k in (lane, lane + 1, lane - 1) if 0 <= k < LANES]
        lane, x = int(rng.choice(choices)), x + CHANGE
        corners.append((x, lane * LANE_WIDTH))


def _shape() -> RoadShape:
    lanes = []
    for k in range(LANES):
        ends = np.array([[-BEHIND - DRAWN, k * LANE_WIDTH], [AHEAD + DRAWN, k * LANE_WIDTH]])
        left = Line.CONTINUOUS_LINE if k == 0 else Line.STRIPED
        right = Line.CONTINUOUS_LINE if k == LANES - 1 else Line.NONE
        lanes.append(lane_shape(ends, LANE_WIDTH, left, right))
    return RoadShape(tuple(lanes))


FOUR_LANE_SHAPE = _shape()


def make_road(traffic: PathTraffic) -> FourLane:
    """The road with the vehicles that ``traffic`` asks for."""
    return FourLane(traffic.others, traffic.density)


class FourLane:
    """The :class:`~vlsafe_envs.simulators.paths.world.PathRoad` of the four-lane task.

    Args:
        vehicles: others on the road, at most :data:`MOST_VEHICLES`.
        density: at which there are as many.
    """

    yields = True

    def __init__(self, vehicles: int, density: float = 1.0) -> None:
        self.shape = FOUR_LANE_SHAPE
        sides = [k * LANE_WIDTH for k in range(LANES)]
        self.table = path_table([straight((-BEHIND, y), (AHEAD, y)) for y in sides])
        self.capacity, self._density = vehicles, density

    def route(self, rng: np.random.Generator) -> Array:
        """Another one in every episode."""
        return resample(random_route(rng), ROUTE_STEP)

    def fill(self, rng: np.random.Generator, start: Array, density: float | None = None) -> None:
        """Spread the vehicles evenly over the lanes, with jitter, but not where the ego is."""
        count = self.capacity
        if density is not None:
            count = round(count * density / self._density)
        first = rng.integers(LANES)  # gets one more, when they do not come out even
        lane = (first + np.arange(count)) % LANES
        station = np.empty(count)
        for k in range(LANES):
            here = np.flatnonzero(lane == k)
            if len(here):
                spacing = RING / len(here)
                most = min(JITTER, (1.0 - LEAST_SPACING / spacing) / 2)
                jitter = rng.uniform(-most, most, len(here))
                phase = rng.uniform(0.0, spacing)
                station[here] = (phase + spacing * (np.arange(len(here)) + jitter)) % RING
        wanted = TRAFFIC_SPEED * rng.uniform(1.0 - SPEED_SPREAD, 1.0 + SPEED_SPREAD, count)
        ahead = station - BEHIND - start[0]
        own = np.abs(lane * LANE_WIDTH - start[1]) < LANE_WIDTH / 2
        keep = ~(own & (ahead > CLEAR[0]) & (ahead < CLEAR[1]))
        self._path = lane[keep].astype(np.int64)
        self._station, self._wanted = station[keep], wanted[keep]
        self._speed = self._wanted.copy()

    def simulate(self, ego: Array, command: Array, steps: int, columns: Array) -> tuple[int, bool]:
        """Move everything."""
        state = (self._path, self._station, self._speed, self._wanted)
        return step_lanes(ego, command, steps, self.table, *state, columns)

    def show(self, ego: Array, columns: Array) -> int:
        """Write where everything is now."""
        return int(show(ego, self.table, self._path, self._station, self._speed, columns))

    def save(self) -> State:
        """Where the traffic is."""
        return save_attributes(self, ("_path", "_station", "_speed", "_wanted"))

    def restore(self, state: State, rng: np.random.Generator) -> None:
        """Inverse of :meth:`save`; nothing is random between resets."""
        restore_attributes(self, state)

    def lane(self, x: float, y: float) -> tuple[int, int, bool]:
        """Lane 0 is the leftmost."""
        lane = min(max(round(y / LANE_WIDTH), 0), LANES - 1)
        beside = abs(y - lane * LANE_WIDTH)
        return lane, LANES, beside <= LANE_WIDTH / 2 + ON_ROAD_MARGIN

    def hypotheses(self) -> Hypotheses:
        """All keep their lanes."""
        row = 1 + np.arange(len(self._path))
        return Hypotheses(self._path, self._station, self._speed, row)
