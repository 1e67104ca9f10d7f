"""A crossing of two two-lane roads, and a flow of cars from the ego vehicle's left.

As in CarDreamer's turns, the flow's cars mind neither lights nor the ego vehicle, and each goes
left, straight on or right at random (CarDreamer leaves that to CARLA's autopilot).  The ego vehicle
comes from the south.  Turning left it crosses two thirds of the flow; turning right it merges into
a third of it.

The gap.  CarDreamer places a car at rest 11 m before the crossing once the last one is a gap away:
8 to 16 m (medium) or 6 to 8 m (hard).  By then the last one has been accelerating, so cars arrive
farther apart than that.  Here they enter 90 m before the crossing at full speed, as many seconds
apart as a car needs from rest to be one gap away (:func:`headway_of_gap`).  The gap is drawn once a
car; CarDreamer draws again at every step, which favours short ones.  ``density`` divides the
seconds.

Drivable or not.  The expert driver turns left through a regular flow whose cars all go straight on
from 3.4 s between them upwards (in some of 6 drives; in none at 3.2 s), and no hard gap is as long.
It is the cars that turn right which open the way: n of them in a row leave n + 1 gaps together.
No gap is shorter than :data:`SHORTEST_HEADWAY`, below which cars of the flow would nearly touch.
"""

from __future__ import annotations

import math

import numpy as np

from vlsafe_envs.render import LaneShape, Line, RoadShape
from vlsafe_envs.simulator import ROUTE_STEP
from vlsafe_envs.simulators.engine.state import VEHICLE_LENGTH
from vlsafe_envs.simulators.paths.motion import show, step_flow
from vlsafe_envs.simulators.paths.paths import (
    PATH_STEP,
    Points,
    arc,
    lane_shape,
    path_table,
    resample,
    straight,
)
from vlsafe_envs.simulators.paths.traffic import GAPS, PathTraffic
from vlsafe_envs.simulators.paths.world import Hypotheses
from vlsafe_envs.state import State, restore_attributes, save_attributes

LANE_WIDTH = 4.0  # [m], as highway-env's
HALF = 11.0  # [m] from the crossing's centre to where left turns begin
CORNER = 20.0  # [m] from the centre to where right turns begin: theirs are wide lanes of their own
LEG = 90.0  # [m] beyond HALF
FLOW_SPEED = 30.0 / 3.6  # [m/s], CARLA's autopilot in towns
FLOW_ACCELERATION = 3.0  # [m/s2], of a car that starts from rest
SHORTEST_HEADWAY = (VEHICLE_LENGTH + 2.0) / FLOW_SPEED  # [s]
APPROACH, EXIT = 25.0, 20.0  # [m] of the ego vehicle's route before and after the crossing
FORK_SEEN = 1.5  # [m] after the fork a car's way shows
ON_ROAD_MARGIN = 1.0  # [m]
MOVES = ("left", "straight", "right")


def headway_of_gap(gap: float) -> float:
    """Seconds until a car that starts from rest is ``gap`` [m] away."""
    run_up = FLOW_SPEED**2 / (2 * FLOW_ACCELERATION)  # [m]
    if gap <= run_up:
        return math.sqrt(2 * gap / FLOW_ACCELERATION)
    return FLOW_SPEED / FLOW_ACCELERATION + (gap - run_up) / FLOW_SPEED


def movement(heading: float, move: str, before: float = LEG, after: float = LEG) -> Points:
    """Centre line ``(K, 2)`` [m] of a way over the crossing, entered with ``heading`` [rad]."""
    side = LANE_WIDTH / 2
    start, end = -HALF - before, HALF + after
    if move == "straight":
        pieces = [straight((start, side), (end, side))]  # (ahead, right) of the centre
    elif move == "right":
        pieces = [straight((start, side), (-CORNER, side))]
        pieces += [arc((-CORNER, CORNER), CORNER - side, -math.pi / 2, 0.0)]
        pieces += [straight((-side, CORNER), (-side, end))]
    else:
        pieces = [straight((start, side), (-HALF, side))]
        pieces += [arc((-HALF, -HALF), HALF + side, math.pi / 2, 0.0)]
        pieces += [straight((side, -HALF), (side, -end))]
    return _turned(np.concatenate([pieces[0], *(piece[1:] for piece in pieces[1:])]), heading)


def _turned(local: Points, heading: float) -> Points:
    """Points ahead and right of the centre, in the world; ``heading`` is a multiple of 90 deg."""
    cos, sin = round(math.cos(heading)), round(math.sin(heading))
    ahead, right = local.T
    return np.stack((ahead * cos - right * sin, ahead * sin + right * cos), 1)


def _shape() -> RoadShape:
    """All lanes: four legs in and out, and the ways over the crossing between them."""
    lanes = []
    near = CORNER - HALF  # [m] of leg that ways over the crossing begin and end with
    for heading in (0.0, math.pi / 2, math.pi, -math.pi / 2):
        for start, end in ((-HALF - LEG, -CORNER), (CORNER, HALF + LEG)):
            centre = _turned(straight((start, LANE_WIDTH / 2), (end, LANE_WIDTH / 2)), heading)
            lanes.append(lane_shape(centre, LANE_WIDTH, Line.STRIPED, Line.CONTINUOUS_LINE))
        for move in MOVES:
            centre = resample(movement(heading, move, near, near), PATH_STEP)
            edge = Line.CONTINUOUS_LINE if move == "right" else Line.NONE
            lanes.append(lane_shape(centre, LANE_WIDTH, Line.NONE, edge))
        lanes.append(_quarter(heading))
    return RoadShape(tuple(lanes))


def _quarter(heading: float) -> LaneShape:
    """The asphalt between the centre and the right turn, which the other ways leave bare."""
    inner = arc((-CORNER, CORNER), CORNER, -math.pi / 2, 0.0)  # (K, 2)
    centre = np.zeros_like(inner)
    station = np.arange(len(inner), dtype=np.float64)
    left, right = _turned(centre, heading), _turned(inner, heading)
    return LaneShape(left, right, station, Line.NONE, Line.NONE)


JUNCTION_SHAPE = _shape()


def make_left(traffic: PathTraffic) -> Junction:
    """The crossing with a left turn before the ego vehicle."""
    return Junction("left", traffic.traffic, traffic.density)


def make_right(traffic: PathTraffic) -> Junction:
    """The crossing with a right turn before the ego vehicle."""
    return Junction("right", traffic.traffic, traffic.density)


class Junction:
    """The :class:`~vlsafe_envs.simulators.paths.world.PathRoad` of the two turns.

    Args:
        turn: ``"left"`` or ``"right"``.
        traffic: ``"none"``, ``"medium"`` or ``"hard"``.
        density: divides the seconds between cars.
    """

    yields = False

    def __init__(self, turn: str, traffic: str, density: float) -> None:
        self.shape = JUNCTION_SHAPE
        self.table = path_table([movement(0.0, move) for move in MOVES])
        self._waypoints = resample(movement(-math.pi / 2, turn, APPROACH, EXIT), ROUTE_STEP)
        self._gaps, self._density = GAPS[traffic], density
        self._headways, self.capacity = self._flow(density)

    def _flow(self, density: float) -> tuple[tuple[float, float] | None, int]:
        """Least and greatest headway [s] at a density, and how many cars it takes."""
        if self._gaps is None:
            return None, 0
        low, high = (max(headway_of_gap(g) / density, SHORTEST_HEADWAY) for g in self._gaps)
        # Enough that the last one has not entered yet when the first one leaves.
        return (low, high), math.ceil(float(self.table.length.max()) / (low * FLOW_SPEED)) + 2

    def route(self, rng: np.random.Generator) -> Points:
        """The same way in every episode."""
        return self._waypoints

    def fill(self, rng: np.random.Generator, start: Points, density: float | None = None) -> None:
        """A flow that has been going on for long; its phase is random."""
        self._rng = rng
        self._headways, count = self._flow(self._density if density is None else density)
        self._path = np.zeros(count, np.int64)
        self._station = np.zeros(count)
        self._speed = np.full(count, FLOW_SPEED)
        self._last = 0
        if count:
            at = float(self.table.length.max()) - rng.uniform(0.0, self._spacing())
            for k in range(count):
                self._path[k], self._station[k] = rng.integers(len(MOVES)), at
                at -= self._spacing()
            self._last = count - 1

    def _spacing(self) -> float:
        """The distance [m] between the next two cars."""
        assert self._headways is not None
        return float(self._rng.uniform(*self._headways)) * FLOW_SPEED

    def simulate(
        self, ego: Points, command: Points, steps: int, columns: Points
    ) -> tuple[int, bool]:
        """Move everything; cars that have left join the flow again behind its last one."""
        if len(self._path):
            gone = self._station > self.table.length[self._path]
            for k in np.flatnonzero(gone) if gone.any() else ():
                self._station[k] = self._station[self._last] - self._spacing()
                self._path[k] = self._rng.integers(len(MOVES))
                self._last = int(k)
        state = (self._path, self._station, self._speed)
        return step_flow(ego, command, steps, self.table, *state, columns)

    def show(self, ego: Points, columns: Points) -> int:
        """Write where everything is now."""
        state = (self._path, self._station, self._speed)
        return int(show(ego, self.table, *state, columns))

    def save(self) -> State:
        """Where the traffic is, and who was the last to join the flow."""
        return save_attributes(self, ("_path", "_station", "_speed", "_last", "_headways"))

    def restore(self, state: State, rng: np.random.Generator) -> None:
        """Inverse of :meth:`save`; who joins the flow later is drawn from ``rng``."""
        restore_attributes(self, state)
        self._rng = rng

    def lane(self, x: float, y: float) -> tuple[int, int, bool]:
        """The route is one lane."""
        return 0, 1, on_junction(x, y, ON_ROAD_MARGIN)

    def hypotheses(self) -> Hypotheses:
        """A car may take every way that it has not been seen to leave."""
        on_map = (self._station >= 0.0) & (self._station <= self.table.length[self._path])
        open_ = self._station[:, None] <= self.table.fork[self._path] + FORK_SEEN  # (N, 3)
        open_[np.arange(len(self._path)), self._path] = True
        cars, ways = np.nonzero(open_ & on_map[:, None])
        row = np.cumsum(on_map, dtype=np.int64)[cars]  # row 0: the ego vehicle
        return Hypotheses(ways, self._station[cars], self._speed[cars], row)


def on_junction(x: float, y: float, margin: float = 0.0) -> bool:
    """Whether ``(x, y)`` [m] lies on a lane, or nearer than ``margin`` [m] to one."""
    x, y = abs(x), abs(y)
    if max(x, y) > HALF + LEG:
        return False
    if min(x, y) <= LANE_WIDTH + margin:
        return True
    if max(x, y) > CORNER:
        return False
    # Between the legs all is asphalt up to the right turn, an arc around the corner.
    return math.hypot(CORNER - x, CORNER - y) >= CORNER - LANE_WIDTH - margin
