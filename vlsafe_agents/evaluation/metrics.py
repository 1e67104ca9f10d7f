"""What one episode leaves behind, and the metrics computed from many of them.

A metric takes the columns of a table of episodes, each float array (..., E), and reduces the last
axis. Leading axes are bootstrap resamples, so that all of them are computed in one call. Missing
values are NaN and are left out; a metric of nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import numpy as np

Columns = Mapping[str, np.ndarray]
Metric = Callable[[Columns], np.ndarray]


@dataclass(frozen=True)
class EpisodeRecord:
    """One evaluated episode. None marks what the environment does not report."""

    seed: int
    episode_return: float  # undiscounted; "return" in JSON
    cost: float  # undiscounted sum of info["cost"], the CMDP's
    env_cost: float | None  # simulator truth
    vlm_cost: float | None  # the judge's share
    collision: bool
    off_road: bool
    arrived: bool | None  # None: the scenario has no goal
    steps: int
    distance: float | None  # [m]
    mean_speed: float | None  # [m/s], mean over the steps
    collision_speed: float | None  # [m/s], None without a collision
    off_route: bool | None = None  # None: there is no route to leave
    waypoints: float | None = None  # completed; None without a route

    def to_json(self) -> dict[str, Any]:
        """Plain values under the names of `evaluation.json`."""
        return {_json_name(key): value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> EpisodeRecord:
        """The inverse of `to_json`.

        Records of before there were routes lack `off_route` and `waypoints`.

        :raises ValueError: if another key is missing, or one unknown
        """
        names = {_json_name(field.name): field.name for field in fields(cls)}
        optional = {field.name for field in fields(cls) if field.default is not MISSING}
        wrong = sorted((set(entry) ^ set(names)) - (optional - set(entry)))
        if wrong:
            raise ValueError(f"An episode record has missing or unknown keys: {wrong}.")
        return cls(**{names[key]: value for key, value in entry.items()})


def columns(records: Sequence[EpisodeRecord]) -> dict[str, np.ndarray]:
    """The records as a table: one float64 array (E,) per field, NaN for None.

    :raises ValueError: if there are no records
    """
    if not records:
        raise ValueError("No episodes to summarise; evaluate at least one seed.")
    table = {}
    for field in fields(EpisodeRecord):
        values = [getattr(record, field.name) for record in records]
        table[_json_name(field.name)] = np.array(
            [np.nan if value is None else float(value) for value in values]
        )
    return table


def mean_return(table: Columns) -> np.ndarray:
    """Mean undiscounted return of an episode."""
    return _mean(table["return"])


def mean_cost(table: Columns) -> np.ndarray:
    """Mean undiscounted CMDP cost of an episode."""
    return _mean(table["cost"])


def mean_env_cost(table: Columns) -> np.ndarray:
    """Mean undiscounted cost of an episode by simulator truth."""
    return _mean(table["env_cost"])


def mean_vlm_cost(table: Columns) -> np.ndarray:
    """Mean undiscounted cost of an episode by the judge."""
    return _mean(table["vlm_cost"])


def collision_rate(table: Columns) -> np.ndarray:
    """Share of episodes that end in a collision."""
    return _mean(table["collision"])


def off_road_rate(table: Columns) -> np.ndarray:
    """Share of episodes that end off the road."""
    return _mean(table["off_road"])


def arrival_rate(table: Columns) -> np.ndarray:
    """Share of episodes that reach the goal; NaN without one."""
    return _mean(table["arrived"])


def off_route_rate(table: Columns) -> np.ndarray:
    """Share of episodes that end away from the route; NaN without one."""
    return _mean(table["off_route"])


def waypoint_completion(table: Columns) -> np.ndarray:
    """Mean number of waypoints completed in an episode, the paper's WC; NaN without a route."""
    return _mean(table["waypoints"])


def collisions_per_1000_steps(table: Columns) -> np.ndarray:
    """Collisions per thousand environment steps: all collisions over all steps."""
    return 1000.0 * _ratio(table["collision"], table["steps"])


def collisions_per_km(table: Columns) -> np.ndarray:
    """Collisions per kilometre: all collisions over the whole distance; NaN for a parked car."""
    return 1000.0 * _ratio(table["collision"], table["distance"])


def collision_speed(table: Columns) -> np.ndarray:
    """Mean speed at a collision [m/s]; NaN without any."""
    return _mean(table["collision_speed"])


def mean_speed(table: Columns) -> np.ndarray:
    """Mean speed over all steps of all episodes [m/s]; short episodes count for little."""
    speed, steps = table["mean_speed"], table["steps"]
    return _ratio(speed * steps, np.where(np.isnan(speed), np.nan, steps))


def mean_distance(table: Columns) -> np.ndarray:
    """Mean distance of an episode [m]."""
    return _mean(table["distance"])


def mean_steps(table: Columns) -> np.ndarray:
    """Mean length of an episode in steps."""
    return _mean(table["steps"])


METRICS: dict[str, Metric] = {
    "return": mean_return,
    "cost": mean_cost,
    "env_cost": mean_env_cost,
    "vlm_cost": mean_vlm_cost,
    "collision_rate": collision_rate,
    "collisions_per_1000_steps": collisions_per_1000_steps,
    "collisions_per_km": collisions_per_km,
    "collision_speed": collision_speed,
    "off_road_rate": off_road_rate,
    "arrival_rate": arrival_rate,
    "off_route_rate": off_route_rate,
    "waypoint_completion": waypoint_completion,
    "mean_speed": mean_speed,
    "distance": mean_distance,
    "steps": mean_steps,
}


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN."""
    return _ratio(values, np.where(np.isnan(values), np.nan, 1.0))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Sum over sum along the last axis, of the episodes that know both; NaN for x / 0."""
    known = ~(np.isnan(numerator) | np.isnan(denominator))
    top = np.where(known, numerator, 0.0).sum(axis=-1)
    bottom = np.where(known, denominator, 0.0).sum(axis=-1)
    return np.divide(top, bottom, out=np.full_like(top, np.nan, dtype=float), where=bottom > 0.0)


def _json_name(field_name: str) -> str:
    return "return" if field_name == "episode_return" else field_name
