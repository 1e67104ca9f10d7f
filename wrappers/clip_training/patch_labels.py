"""What stands in each patch of a frame and whether it is on the way to a collision.

One number for a whole frame teaches a small vision transformer slowly to read trails and gaps.
During training its patch tokens must therefore also tell these labels; the saved model has no such
head.  Scenes are packed as in :mod:`.facts`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wrappers.clip_training.facts import AHEAD, BEHIND, SIDE
from wrappers.oracle import safety_degree

VELOCITY_UNIT = 10.0  # [m/s]
CHANNELS = 4  # presence, danger, velocity ahead and to the right
_STILL = 1e-9  # [m/s]

Array = npt.NDArray[np.float64]


def contact_times(scenes: npt.NDArray[np.floating]) -> Array:
    """Seconds until each vehicle touches the ego vehicle if both keep velocity and heading.

    ``scenes (B, R, 7)`` to ``(B, R)``: 0 for vehicles that touch already; infinite where there is
    no contact, for the ego vehicle itself and for rows that are no vehicles.  Rectangles touch
    when their projections overlap on the edge normals of both (separating axes).
    """
    x, y, heading, speed, length, width, kind = np.moveaxis(scenes.astype(np.float64), 2, 0)
    ahead = np.stack([np.cos(heading), np.sin(heading)], -1)  # (B, R, 2)
    aside = np.stack([-ahead[..., 1], ahead[..., 0]], -1)
    place = np.stack([x - x[:, :1], y - y[:, :1]], -1)
    drift = ahead * speed[..., None] - ahead[:, :1] * speed[:, :1, None]
    sides = np.stack([length, width], -1) / 2  # (B, R, 2)
    own, axes = np.stack([ahead, aside], 2), []  # (B, R, 2 sides, 2)
    for normal in (ahead, aside, *(np.broadcast_to(n[:, :1], n.shape) for n in (ahead, aside))):
        reach = (np.abs(np.einsum("brk,brsk->brs", normal, own)) * sides).sum(-1)
        ego = np.abs(np.einsum("brk,bsk->brs", normal, own[:, 0])) * sides[:, :1]
        axes.append(
            _overlap((place * normal).sum(-1), (drift * normal).sum(-1), reach + ego.sum(-1))
        )
    enter = np.maximum(np.max([start for start, _ in axes], 0), 0.0)  # (B, R)
    leave = np.min([end for _, end in axes], 0)
    time = np.where((enter <= leave) & (kind == 1), enter, np.inf)
    time[:, 0] = np.inf
    return time


def _overlap(place: Array, speed: Array, reach: Array) -> tuple[Array, Array]:
    """When ``|place + speed * t| <= reach`` starts and stops to hold [s]."""
    still = np.abs(speed) < _STILL
    rate = np.where(still, 1.0, speed)
    one, other = (-reach - place) / rate, (reach - place) / rate
    inside = np.abs(place) <= reach
    start = np.where(still, np.where(inside, -np.inf, np.inf), np.minimum(one, other))
    end = np.where(still, np.where(inside, np.inf, -np.inf), np.maximum(one, other))
    return start, end


def patch_labels(scenes: npt.NDArray[np.floating], side: int) -> npt.NDArray[np.float32]:
    """Labels ``(B, side, side, 4)`` of a whole frame cut into ``side * side`` patches.

    Channels: 1 where another vehicle's centre lies in the patch; how much of a danger it is in
    [0, 1] (the oracle's degree for its time to contact); its velocity relative to the ego vehicle,
    ahead and to the right [10 m/s].  Of several vehicles in one patch the one with the soonest
    contact counts.  All but the first mean nothing where the first is 0.
    """
    time = contact_times(scenes)  # (B, R)
    x, y, heading, speed, _, _, kind = np.moveaxis(scenes.astype(np.float64), 2, 0)
    cos, sin = np.cos(heading[:, :1]), np.sin(heading[:, :1])
    dx, dy = x - x[:, :1], y - y[:, :1]
    ahead, right = dx * cos + dy * sin, dy * cos - dx * sin  # (B, R)
    turn = heading - heading[:, :1]
    row = np.floor((AHEAD - ahead) / (AHEAD + BEHIND) * side).astype(np.int64)
    column = np.floor((right + SIDE) / (2 * SIDE) * side).astype(np.int64)
    seen = (kind == 1) & (row >= 0) & (row < side) & (column >= 0) & (column < side)
    seen[:, 0] = False
    danger = 1.0 - safety_degree(time, np.inf, False, False)
    values = np.stack(
        [
            np.ones_like(time),
            danger,
            (speed * np.cos(turn) - speed[:, :1]) / VELOCITY_UNIT,
            speed * np.sin(turn) / VELOCITY_UNIT,
        ],
        -1,
    )  # (B, R, 4)
    labels = np.zeros((len(scenes), side, side, values.shape[-1]), np.float32)
    frame, vehicle = np.nonzero(seen)
    late_first = np.argsort(-np.minimum(time[frame, vehicle], 1e6), kind="stable")
    frame, vehicle = frame[late_first], vehicle[late_first]  # the soonest is written last
    labels[frame, row[frame, vehicle], column[frame, vehicle]] = values[frame, vehicle]
    return labels
