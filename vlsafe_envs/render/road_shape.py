"""The static road as plain arrays: what lanes cover and which lines border them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CURVE_STEP = 1.0  # [m] between samples of a curved lane's edges
REPEAT_FROM = 1000.0  # [m] straight roads at least this long are drawn once and repeated


class Line(IntEnum):
    """Line along a lane's side; same numbers as highway-env's ``LineType``."""

    NONE = 0
    STRIPED = 1
    CONTINUOUS = 2
    CONTINUOUS_LINE = 3


@dataclass(frozen=True)
class LaneShape:
    """One lane: a strip between two polylines, each with a line type."""

    left: Array  # (K, 2) [m], K >= 2
    right: Array  # (K, 2) [m]
    station: Array  # (K,) [m], distance along the lane, for the phase of dashes
    left_line: Line
    right_line: Line

    def __post_init__(self) -> None:
        points = len(self.station)
        if points < 2 or self.left.shape != (points, 2) or self.right.shape != (points, 2):
            raise ValueError(
                f"a lane needs K >= 2 samples of equal number: left {self.left.shape}, "
                f"right {self.right.shape}, station {self.station.shape}"
            )
        if not (np.isfinite(self.left).all() and np.isfinite(self.right).all()):
            raise ValueError("lane edges hold a value that is not finite")


@dataclass(frozen=True, eq=False)
class RoadShape:
    """All lanes of a road and the box around them.

    Two shapes with the same lanes are equal and hash alike, so a texture drawn for one serves all
    episodes on that road.

    Raises:
        ValueError: when there is no lane.
    """

    lanes: tuple[LaneShape, ...]
    low: Array = field(init=False)  # (2,) [m], smallest x and y of any edge
    high: Array = field(init=False)  # (2,) [m], largest x and y of any edge
    digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.lanes:
            raise ValueError("a road needs at least one lane, got none")
        edges = np.concatenate([e for lane in self.lanes for e in (lane.left, lane.right)])
        digest = hashlib.sha256()
        for lane in self.lanes:
            digest.update(bytes((lane.left_line, lane.right_line)))
            for values in (lane.left, lane.right, lane.station):
                digest.update(str(values.shape).encode())
                digest.update(np.ascontiguousarray(values, np.float64).tobytes())
        object.__setattr__(self, "low", edges.min(0))
        object.__setattr__(self, "high", edges.max(0))
        object.__setattr__(self, "digest", digest.digest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RoadShape) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def repeats(self) -> bool:
        """Whether the road is one long straight strip along x, alike at every x but for dashes."""
        # Oncoming lanes count too: only where a strip ends matters, not which end comes first.
        ends = np.array([sorted((lane.left[0, 0], lane.left[-1, 0])) for lane in self.lanes])
        return bool(
            self.high[0] - self.low[0] >= REPEAT_FROM
            and np.ptp(ends, axis=0).max() < 1e-6
            and all(_runs_along_x(lane) for lane in self.lanes)
        )

    @classmethod
    def from_network(cls, network: Any) -> RoadShape:
        """Sample every lane of a highway-env ``RoadNetwork`` (straight, curved or poly lanes)."""
        return cls(tuple(_sample(lane) for lane in network.lanes_list()))


def _runs_along_x(lane: LaneShape) -> bool:
    straight = len(lane.station) == 2
    level = max(np.ptp(lane.left[:, 1]), np.ptp(lane.right[:, 1])) < 1e-6
    square = bool(np.allclose(lane.left[:, 0], lane.right[:, 0]))
    return bool(straight and level and square and lane.station[0] == 0.0)


def _sample(lane: Any) -> LaneShape:
    from highway_env.road.lane import SineLane, StraightLane

    straight = isinstance(lane, StraightLane) and not isinstance(lane, SineLane)
    pieces = 1 if straight else max(2, int(np.ceil(lane.length / CURVE_STEP)))
    station = np.linspace(0.0, float(lane.length), pieces + 1)  # (K,)
    half = np.array([float(lane.width_at(s)) / 2 for s in station])  # (K,)
    # y points down, so the driver's left is the negative lateral side.
    left = np.array([lane.position(s, -h) for s, h in zip(station, half, strict=True)])
    right = np.array([lane.position(s, h) for s, h in zip(station, half, strict=True)])
    types = [Line(int(t)) for t in lane.line_types]
    return LaneShape(left.astype(np.float64), right.astype(np.float64), station, *types)
