"""A snapshot of the road: the one thing that frames, costs and observations are made from.

World coordinates follow highway-env: x to the right, y *down*, headings in radians measured
from +x towards +y.  Row 0 is always the ego vehicle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PACKED_VEHICLES = 32  # rows kept for vehicles when a scene is packed (the nearest ones)
PACKED_ROUTE = 16  # rows kept for route points when a scene is packed
PACKED_COLUMNS = 7  # x, y, heading, speed, length, width, kind
_ABSENT, _VEHICLE, _ROUTE = 0.0, 1.0, 2.0


@dataclass(frozen=True)
class Scene:
    """Positions, headings and sizes of all vehicles at one instant; row 0 is the ego vehicle.

    Every array has one row a vehicle (``N`` rows).  Crashed vehicles are not marked: a frame made
    from a scene must not leak the collision label by anything but geometry.
    """

    position: Array  # (N, 2) [m]
    heading: Array  # (N,) [rad]
    speed: Array  # (N,) [m/s], along the heading
    length: Array  # (N,) [m]
    width: Array  # (N,) [m]
    route: Array = field(default_factory=lambda: np.zeros((0, 2)))  # (K, 2) [m], ego's way ahead

    @cached_property
    def columns(self) -> Array:
        """The same numbers for compiled code: x, y, heading, speed, length, width, ``(6, N)``."""
        columns = np.empty((6, len(self.position)))
        columns[:2] = self.position.T
        columns[2], columns[3] = self.heading, self.speed
        columns[4], columns[5] = self.length, self.width
        return columns

    @classmethod
    def of_columns(cls, columns: Array, route: Array) -> Scene:
        """A scene of ``columns``, see there, and the next route points ``(K, 2)`` [m]."""
        scene = cls(
            position=np.ascontiguousarray(columns[:2].T),  # (N, 2)
            heading=columns[2],
            speed=columns[3],
            length=columns[4],
            width=columns[5],
            route=route,
        )
        scene.__dict__["columns"] = columns  # what its cached property would build again
        return scene

    def pack(self) -> npt.NDArray[np.float32]:
        """Fixed-size copy for data sets: the nearest vehicles and the next route points.

        Returns an array ``(PACKED_VEHICLES + PACKED_ROUTE, PACKED_COLUMNS)``, float32.
        """
        packed = np.zeros((PACKED_VEHICLES + PACKED_ROUTE, PACKED_COLUMNS), np.float32)
        offset = self.position - self.position[0]  # (N, 2)
        order = np.argsort((offset**2).sum(1), kind="stable")[:PACKED_VEHICLES]
        order = np.concatenate(([0], order[order != 0]))[:PACKED_VEHICLES]  # ego stays first
        rows = packed[: len(order)]
        rows[:, 0:2] = self.position[order]
        rows[:, 2] = self.heading[order]
        rows[:, 3] = self.speed[order]
        rows[:, 4] = self.length[order]
        rows[:, 5] = self.width[order]
        rows[:, 6] = _VEHICLE
        points = self.route[:PACKED_ROUTE]
        packed[PACKED_VEHICLES : PACKED_VEHICLES + len(points), 0:2] = points
        packed[PACKED_VEHICLES : PACKED_VEHICLES + len(points), 6] = _ROUTE
        return packed

    @classmethod
    def unpack(cls, packed: npt.NDArray[np.float32]) -> Scene:
        """Inverse of :meth:`pack`, up to float32 rounding and the rows that were left out.

        Raises:
            ValueError: for an array of another shape or type, numbers that are not finite and a
                scene without a vehicle.
        """
        shape = (PACKED_VEHICLES + PACKED_ROUTE, PACKED_COLUMNS)
        if np.shape(packed) != shape:
            raise ValueError(f"packed scene has shape {np.shape(packed)}, expected {shape}")
        rows = _numbers(packed)
        vehicles = rows[rows[:, 6] == _VEHICLE]
        if not len(vehicles):
            raise ValueError("packed scene holds no vehicle; row 0 is the ego vehicle")
        return cls(
            position=vehicles[:, 0:2],
            heading=vehicles[:, 2],
            speed=vehicles[:, 3],
            length=vehicles[:, 4],
            width=vehicles[:, 5],
            route=rows[rows[:, 6] == _ROUTE][:, 0:2],
        )


def _numbers(packed: npt.NDArray[np.float32]) -> Array:
    """Packed scenes as float64, finite, as compiled code needs them."""
    packed = np.asarray(packed)
    if packed.dtype.kind not in "iuf":
        raise ValueError(f"packed scenes are of type {packed.dtype}, expected float32")
    rows = packed.astype(np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("packed scenes hold numbers that are not finite")
    return rows


def drawing_of_packed(
    packed: npt.NDArray[np.float32],
) -> tuple[Array, npt.NDArray[np.int64], Array, npt.NDArray[np.int64]]:
    """Packed scenes ``(N, 48, 7)`` as they are drawn together.

    Returns the columns of vehicles ``(N, 6, 32)`` (see :attr:`Scene.columns`), how many there are
    ``(N,)``, the points of the ways ahead ``(N, 16, 2)`` and how many there are ``(N,)``.

    Raises:
        ValueError: for another shape or type, numbers that are not finite, and for a scene whose
            rows are not in the order of :meth:`Scene.pack`.
    """
    shape = np.shape(packed)
    if len(shape) != 3 or shape[1:] != (PACKED_VEHICLES + PACKED_ROUTE, PACKED_COLUMNS):
        expected = f"(N, {PACKED_VEHICLES + PACKED_ROUTE}, {PACKED_COLUMNS})"
        raise ValueError(f"packed scenes have shape {shape}, expected {expected}")
    rows = _numbers(packed)
    kind = rows[:, :, 6]
    vehicles, route = kind[:, :PACKED_VEHICLES] == _VEHICLE, kind[:, PACKED_VEHICLES:] == _ROUTE
    totals, points = vehicles.sum(1), route.sum(1)
    in_order = (vehicles == (np.arange(PACKED_VEHICLES) < totals[:, None])).all(1) & (totals > 0)
    in_order &= (route == (np.arange(PACKED_ROUTE) < points[:, None])).all(1)
    if not in_order.all():
        raise ValueError(f"packed scene {np.flatnonzero(~in_order)[0]} is not as Scene.pack makes")
    columns = np.ascontiguousarray(rows[:, :PACKED_VEHICLES, :6].transpose(0, 2, 1))
    return columns, totals, np.ascontiguousarray(rows[:, PACKED_VEHICLES:, :2]), points
