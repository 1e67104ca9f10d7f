"""What one episode leaves behind, and the metrics computed from many of them.

A metric takes the columns of a table of episodes, each float array (..., E), and reduces the last
axis. Leading axes are bootstrap resamples, so that all of them are computed in one call. Missing
values are NaN and are left out; a metric of nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

Columns = Mapping[str, np.ndarray]
STANDING = 0.5  # [m/s]


@dataclass(frozen=True)
class EpisodeRecord:
    """One evaluated episode. None marks what the environment does not report."""

    seed: int
    episode_return: float  # undiscounted; "return" in JSON
    cost: float  # undiscounted sum of info["cost"], the CMDP's
    env_cost: float | None  # simulator truth
    vlm_cost: float | None  # the scorer's share
    collision: bool | None
    off_road: bool | None
    arrived: bool | None  # None: the scenario has no goal
    steps: int
    distance: float | None  # [m]
    mean_speed: float | None  # [m/s], mean over the steps
    collision_speed: float | None  # [m/s], None without a collision
    off_route: bool | None = None  # None: there is no route to leave
    waypoints: float | None = None  # completed; None without a route
    standing: int | None = None  # steps that end slower than STANDING; None: speed not reported
    replaced: int | None = None  # steps in which a shield replaced the action; None: no shield

    def to_json(self) -> dict[str, Any]:
        """Plain values under the names of `evaluation.json`."""
        return {_json_name(key): value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, entry: Any) -> EpisodeRecord:
        """The inverse of `to_json`.

        Records of before there were routes lack `off_route` and `waypoints`, those of before there
        were shields `standing` and `replaced`.

        Raises:
            ValueError: if it is no object, another key is missing, one is unknown, or a value is of
                another kind
        """
        if not isinstance(entry, Mapping):
            raise ValueError(f"An episode record is no object but {type(entry).__name__}.")
        names = {_json_name(field.name): field for field in fields(cls)}
        optional = {field.name for field in fields(cls) if field.default is not MISSING}
        wrong = sorted((set(entry) ^ set(names)) - (optional - set(entry)))
        if wrong:
            raise ValueError(f"An episode record has missing or unknown keys: {wrong}.")
        for key, value in entry.items():
            if not _fits(value, str(names[key].type)):
                raise ValueError(
                    f"An episode record has {key} {value!r}; expected {names[key].type}."
                )
        return cls(**{names[key].name: value for key, value in entry.items()})


def _fits(value: Any, kind: str) -> bool:
    """Whether a JSON value is of the kind that a field is annotated with."""
    if value is None:
        return "None" in kind
    if isinstance(value, bool):
        return "bool" in kind
    if isinstance(value, int):
        return ("int" in kind or "float" in kind) and abs(value) < 2**64
    return isinstance(value, float) and "float" in kind and bool(np.isfinite(value))


FLAGS = ("collision", "off_road", "arrived", "off_route")


def columns(records: Sequence[EpisodeRecord]) -> dict[str, np.ndarray]:
    """The records as a table: one float64 array (E,) per field, NaN for None.

    What only some episodes report (an environment that speaks of collisions only when there is
    one) is known of none: a share of those that do would say nothing.

    Raises:
        ValueError: if there are no records
    """
    if not records:
        raise ValueError("No episodes to summarise; evaluate at least one seed.")
    table = {}
    for field in fields(EpisodeRecord):
        values = [getattr(record, field.name) for record in records]
        column = np.array([np.nan if value is None else float(value) for value in values])
        if field.name in FLAGS and np.isnan(column).any():
            column[:] = np.nan
        table[_json_name(field.name)] = column
    return table


@dataclass(frozen=True)
class Metric:
    """`scale` x sum of `of` over sum of `per`, of the episodes that know both; NaN for x / 0.

    Without `per` it is the mean over episodes. `kind` decides about its interval: a "share" of
    episodes, a "count" of events over exposure, a "cost", which is 0 where nothing has happened,
    or any other "mean". All that tables and reports show of metrics comes from `METRICS`.
    """

    of: str  # column
    per: str | None = None  # column
    weight: str | None = None  # column that multiplies `of`: a mean weighted by `per`
    scale: float = 1.0
    kind: Literal["mean", "share", "count", "cost"] = "mean"
    title: str = ""  # its column in reports; empty: it has none
    unit: str = ""
    narrow: bool = False  # also in tables as wide as a terminal

    @property
    def in_percent(self) -> bool:
        """Whether it is a share, of whatever, and shown in per cent."""
        return self.kind == "share" or self.unit.startswith("share")

    def __call__(self, table: Columns) -> np.ndarray:
        """The metric of each leading axis of the columns (..., E)."""
        top, bottom, _ = self.sums(table)
        ratio = np.full_like(top, np.nan, dtype=float)
        return self.scale * np.divide(top, bottom, out=ratio, where=bottom > 0.0)

    def sums(self, table: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numerator, denominator and number of episodes that know both, each (...)."""
        top = table[self.of]
        bottom = np.ones_like(top) if self.per is None else table[self.per]
        if self.weight is not None:
            top = top * table[self.weight]
        known = ~(np.isnan(top) | np.isnan(bottom))
        return (
            np.where(known, top, 0.0).sum(axis=-1),
            np.where(known, bottom, 0.0).sum(axis=-1),
            known.sum(axis=-1),
        )


# In the order of tables.  The collision rate never stands without what it was bought with: speed
# and distance beside it.
METRICS: dict[str, Metric] = {
    "collision_rate": Metric("collision", kind="share", title="Collisions", narrow=True),
    # Over all steps of all episodes: short episodes count for little.
    "mean_speed": Metric(
        "mean_speed", per="steps", weight="steps", title="Mean speed", unit="m/s", narrow=True
    ),
    "standing": Metric(
        "standing", per="steps", title="Standing", unit="share of steps", narrow=True
    ),
    # by a shield
    "replaced": Metric(
        "replaced", per="steps", title="Replaced", unit="share of steps", narrow=True
    ),
    "distance": Metric("distance", title="Distance", unit="m an episode"),
    "arrival_rate": Metric("arrived", kind="share", title="Arrivals", narrow=True),
    "off_route_rate": Metric("off_route", kind="share", title="Off the route", narrow=True),
    # completed in an episode, the paper's WC
    "waypoint_completion": Metric("waypoints", title="Waypoints", unit="completed"),
    "off_road_rate": Metric("off_road", kind="share", title="Off the road", narrow=True),
    # undiscounted, as are the costs
    "return": Metric("return", title="Return", unit="an episode", narrow=True),
    "cost": Metric("cost", kind="cost"),  # the CMDP's
    "env_cost": Metric(
        "env_cost", kind="cost", title="Cost, truth", unit="an episode", narrow=True
    ),
    "vlm_cost": Metric("vlm_cost", kind="cost", title="Cost, scorer", unit="an episode"),
    "collisions_per_km": Metric(
        "collision", per="distance", scale=1000.0, kind="count", title="Collisions", unit="per km"
    ),
    "collision_speed": Metric("collision_speed", title="Collision speed", unit="m/s"),
    "collisions_per_1000_steps": Metric("collision", per="steps", scale=1000.0, kind="count"),
    "steps": Metric("steps"),
}


def _json_name(field_name: str) -> str:
    return "return" if field_name == "episode_return" else field_name
