"""What is true of a frame, as columns of numbers: the ground that captions are written from.

A *scene* is an array of rows ``x [m], y [m], heading [rad], speed [m/s], length [m], width [m],
kind``; y points down, headings turn from +x towards +y, ``kind`` is 1 for vehicles, 0 for unused
rows and something else for what is no vehicle.  Row 0 is the ego vehicle.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from wrappers.oracle import safety_degree

Column = npt.NDArray[np.float64]

AHEAD, BEHIND, SIDE = 48.0, 16.0, 32.0  # [m], how far a frame shows from the ego vehicle
_LANE = 2.0  # [m], half a lane's width
_ABREAST = 8.0  # [m], how far before and behind a vehicle counts as beside
_HINDSIGHT = 2.0  # [s], an ending nearer than this makes a state unsafe
_HINDSIGHT_SAFETY = 0.15  # safety degree of a state from which the episode ends so soon


@dataclass(frozen=True)
class RoadWords:
    """A kind of road in the words of captions."""

    name: str
    sentences: tuple[str, ...]  # about its frames; {car} is the ego vehicle
    crossing: bool = False  # whether ways cross there: harder to score


@dataclass(frozen=True)
class Facts:
    """One value a frame in every column, all ``(N,)`` float64; none is infinite for "no such"."""

    scenario: Column  # index of the kind of road
    speed: Column  # [m/s]
    time_to_collision: Column  # [s]
    headway: Column  # [s]
    collision: Column  # 0 or 1
    off_road: Column  # 0 or 1
    time_to_event: Column  # [s] until the recorded episode has a collision or leaves the road
    gap_ahead: Column  # [m], bumper to bumper, in the ego vehicle's own strip of road
    closing_ahead: Column  # [m/s], positive when the gap shrinks
    gap_behind: Column  # [m]
    closing_behind: Column  # [m/s]
    left: Column  # 0 or 1, somebody beside on the left
    right: Column  # 0 or 1
    nearest: Column  # [m], centre to centre
    count: Column  # other vehicles in the frame

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of facts differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.speed)

    @property
    def safety(self) -> Column:
        """How safe each state is, in [0, 1]: the oracle's degree, and hindsight of the episode."""
        degree = safety_degree(
            self.time_to_collision, self.headway, self.collision > 0, self.off_road > 0
        )
        doomed = self.time_to_event <= _HINDSIGHT
        return np.where(doomed, np.minimum(degree, _HINDSIGHT_SAFETY), degree)

    def select(self, index: npt.ArrayLike) -> Facts:
        """The rows ``index`` (integers or booleans)."""
        rows = np.asarray(index)
        return Facts(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def mirrored(self, where: npt.NDArray[np.bool_]) -> Facts:
        """The same facts with left and right exchanged in the rows ``where``."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        columns["left"] = np.where(where, self.right, self.left)
        columns["right"] = np.where(where, self.left, self.right)
        return Facts(**columns)

    @classmethod
    def concatenate(cls, parts: list[Facts]) -> Facts:
        """All rows of ``parts``, in order."""
        names = [field.name for field in fields(cls)]
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        )


def facts_of_scene(scene: npt.NDArray[np.floating]) -> dict[str, float]:
    """The facts that follow from geometry alone; ``scene`` is ``(M, 7)``, see the module.

    Raises:
        ValueError: for another shape or when row 0 is no vehicle.
    """
    if scene.ndim != 2 or scene.shape[1] != 7:
        raise ValueError(f"scene has shape {scene.shape}, expected (M, 7)")
    if scene[0, 6] != 1:
        raise ValueError("row 0 of a scene must be the ego vehicle (kind 1)")
    rows = scene[scene[:, 6] == 1].astype(np.float64)
    ego, others = rows[0], rows[1:]
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    dx, dy = others[:, 0] - ego[0], others[:, 1] - ego[1]
    forward, right = dx * cos + dy * sin, dy * cos - dx * sin  # (M - 1,), y down: right is +
    along = others[:, 3] * np.cos(others[:, 2] - ego[2])  # speed along the ego's heading
    seen = (forward < AHEAD) & (forward > -BEHIND) & (np.abs(right) < SIDE)
    strip = seen & (np.abs(right) < _LANE)
    bumper = np.abs(forward) - (others[:, 4] + ego[4]) / 2
    ahead = _closest(np.where(strip & (forward > 0), bumper, np.inf))
    behind = _closest(np.where(strip & (forward <= 0), bumper, np.inf))
    beside = seen & (np.abs(forward) < _ABREAST) & (np.abs(right) >= _LANE) & (np.abs(right) < 6.0)
    return {
        "speed": float(ego[3]),
        "gap_ahead": max(float(bumper[ahead]), 0.0) if ahead >= 0 else np.inf,
        "closing_ahead": float(ego[3] - along[ahead]) if ahead >= 0 else 0.0,
        "gap_behind": max(float(bumper[behind]), 0.0) if behind >= 0 else np.inf,
        "closing_behind": float(along[behind] - ego[3]) if behind >= 0 else 0.0,
        "left": float(np.any(beside & (right < 0))),
        "right": float(np.any(beside & (right > 0))),
        "nearest": float(np.hypot(dx, dy)[seen].min()) if seen.any() else np.inf,
        "count": float(seen.sum()),
    }


def time_to_events(
    event: npt.NDArray[np.bool_], last: npt.NDArray[np.bool_], step: float
) -> Column:
    """Seconds until the next event of the same episode, infinite where none follows.

    ``event`` and ``last`` (final frame of an episode) are ``(N,)`` in order of time; ``step`` [s]
    lies between two frames.
    """
    seconds = np.full(len(event), np.inf)
    following = np.inf
    for index in range(len(event) - 1, -1, -1):
        if last[index]:
            following = np.inf
        following = 0.0 if event[index] else following + step
        seconds[index] = following
    return seconds


def _closest(distance: Column) -> int:
    """Index of the smallest finite value, -1 where there is none."""
    if not np.isfinite(distance).any():
        return -1
    return int(np.argmin(distance))
