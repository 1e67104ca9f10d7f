"""Record layouts of the compiled engine: one row a lane, a road, a node, a vehicle, a scene.

NumPy record arrays keep the whole state in a few flat buffers: compiled code reads
``vehicles[i].speed``, Python code sees the column ``vehicles["speed"]``, and a leading axis makes
a batch of scenes out of one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from wrappers.machine_code import machine_code

Function = TypeVar("Function", bound=Callable[..., Any])
Records = npt.NDArray[np.void]
Integers = npt.NDArray[np.int64]

# Kinds of lane.
STRAIGHT, SINE, CIRCULAR = 0, 1, 2

# Kinds of road user.
IDM, META, PLAIN, OBSTACLE = 0, 1, 2, 3

# Meta-actions of the ego vehicle.
LANE_LEFT, IDLE, LANE_RIGHT, FASTER, SLOWER = 0, 1, 2, 3, 4

NO_LANE_ID = -1  # a route step that names a road but no lane of it
ROUTE_STEPS = 24  # longest planned route [roads]
VEHICLE_LENGTH = 5.0  # [m]
VEHICLE_WIDTH = 2.0  # [m]

LANE = np.dtype(
    [
        ("start_x", "f8"),  # [m]; centre of the circle for circular lanes
        ("start_y", "f8"),
        ("direction_x", "f8"),  # unit vector along straight and sine lanes
        ("direction_y", "f8"),
        ("heading", "f8"),  # [rad], of straight and sine lanes
        ("length", "f8"),  # [m]
        ("width", "f8"),  # [m]
        ("amplitude", "f8"),  # [m], sine lanes
        ("pulsation", "f8"),  # [rad/m], sine lanes
        ("phase", "f8"),  # [rad]; start phase of circular lanes
        ("radius", "f8"),  # [m], circular lanes
        ("turn", "f8"),  # +1 clockwise, -1 anticlockwise, circular lanes
        ("speed_limit", "f8"),  # [m/s], NaN for none
        ("kind", "i8"),
        ("priority", "i8"),
        ("forbidden", "i8"),
        ("road", "i8"),  # row of its road
        ("id", "i8"),  # index among the lanes of its road
        ("first_link", "i8"),  # rows of the lanes where its neighbours are looked for
        ("links", "i8"),
    ],
    align=True,
)
ROAD = np.dtype(
    [("first_lane", "i8"), ("lanes", "i8"), ("origin", "i8"), ("target", "i8")], align=True
)
NODE = np.dtype([("first_road", "i8"), ("roads", "i8")], align=True)
LINK = np.dtype([("lane", "i8"), ("offset", "f8")], align=True)

VEHICLE = np.dtype(
    [
        ("x", "f8"),  # [m]
        ("y", "f8"),
        ("heading", "f8"),  # [rad]
        ("cos", "f8"),  # of the heading
        ("sin", "f8"),
        ("speed", "f8"),  # [m/s]
        ("acceleration", "f8"),  # [m/s2], command
        ("steering", "f8"),  # [rad], command
        ("target_speed", "f8"),  # [m/s]
        ("timer", "f8"),  # [s] since the last lane-change decision
        ("impact_x", "f8"),  # [m], displacement owed to a collision
        ("impact_y", "f8"),
        ("length", "f8"),  # [m]
        ("width", "f8"),
        ("diagonal", "f8"),
        ("delta", "f8"),  # IDM exponent
        ("distance_wanted", "f8"),  # [m], IDM
        ("comfort_acc_max", "f8"),  # [m/s2], IDM
        ("comfort_acc_min", "f8"),  # [m/s2], IDM
        ("lane", "i8"),
        ("target_lane", "i8"),
        ("kind", "i8"),
        ("crashed", "i8"),
        ("has_impact", "i8"),
        ("check_collisions", "i8"),
        ("yielding", "i8"),
        ("route_at", "i8"),  # next unfinished step of its route
        ("route_end", "i8"),
        ("planned", "i8"),  # 0: it never got a route
        ("rank", "i8"),  # its place among all road users by x, while they decide
        ("ranked", "i8"),  # row of the road user whose rank is this row's number
    ],
    align=True,
)
WORLD = np.dtype(
    [
        ("vehicles", "i8"),  # rows [0, vehicles) are vehicles
        ("obstacles", "i8"),  # the next rows are obstacles
        ("ego", "i8"),  # row of the ego vehicle
        ("steps", "i8"),  # simulation steps since reset
        ("regulation_period", "i8"),  # [simulation steps] between right-of-way checks, 0 = never
        ("dt", "f8"),  # [s]
    ],
    align=True,
)


class RoadTable(NamedTuple):
    """A road network in arrays (see ``network.road_table``)."""

    lanes: Records  # (lanes,) LANE, in highway-env's order of traversal
    roads: Records  # (roads,) ROAD: all lanes between two nodes
    nodes: Records  # (nodes,) NODE
    links: Records  # (links,) LINK


_WHAT = "the simulator for this processor, which takes up to a minute"
_HERE = Path(__file__).parent  # whose functions are inside of what is compiled elsewhere


def compiled(function: Function) -> Function:
    """Compile on first use and keep the machine code on disk."""
    return machine_code(function, _WHAT, (_HERE,), error_model="numpy")


def compiled_core(function: Function) -> Function:
    """The same for inner functions, which neither create nor return arrays.

    Numba then does not count references to the arrays that they are given: that took two thirds
    of the time of a step, and let threads wait for each other.
    """
    return _core(function, False)


def inlined(function: Function) -> Function:
    """The same, copied into the machine code of its callers."""
    return _core(function, True)


def _core(function: Function, forceinline: bool) -> Function:
    options = {"error_model": "numpy", "forceinline": forceinline}
    try:
        return machine_code(function, _WHAT, (_HERE,), **options, _nrt=False)
    except KeyError:  # a numba without that option: slower, else the same
        return machine_code(function, _WHAT, (_HERE,), **options)


def compiled_for_threads(function: Function) -> Function:
    """The same for functions over many scenes: they let other Python threads run meanwhile."""
    return machine_code(function, _WHAT, (_HERE,), error_model="numpy", nogil=True)


def empty_vehicles(rows: int) -> Records:
    """``rows`` zeroed vehicles with highway-env's sizes and default driver parameters."""
    vehicles = np.zeros(rows, VEHICLE)
    vehicles["length"] = VEHICLE_LENGTH
    vehicles["width"] = VEHICLE_WIDTH
    vehicles["diagonal"] = np.sqrt(VEHICLE_LENGTH**2 + VEHICLE_WIDTH**2)
    vehicles["delta"] = 4.0
    vehicles["distance_wanted"] = 5.0 + VEHICLE_LENGTH
    vehicles["comfort_acc_max"] = 3.0
    vehicles["comfort_acc_min"] = -5.0
    vehicles["check_collisions"] = 1
    return vehicles
