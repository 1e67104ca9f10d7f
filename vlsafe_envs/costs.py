"""What counts as dangerous: pure functions over a scene, and the environment's own cost.

Times are simulator truth.  Thresholds: a time-to-collision under 2 s or a headway under 0.5 s
makes a gap unsafe.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlsafe_envs.checks import check_number
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulators.engine import gaps

HORIZON = 4.0  # [s], conflicts later than this are not looked for
# A task's ``cost_rule`` and ``info["env_cost_rule"]``: how :func:`total_cost` is made of the terms.
SUM, LARGEST, FIRST = "sum", "largest", "first"


@dataclass(frozen=True)
class CostConfig:
    """Weights of the cost terms, of which the cost is the sum.

    Events that end the episode weigh 10 because the end cuts off all later costs.

    Raises:
        ValueError: for weights that are no numbers in [0, 1e6].
    """

    collision: float = 10.0
    off_road: float = 10.0  # counted on the step that ends the episode
    unsafe_gap: float = 1.0  # per decision

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_number(f"costs.{field.name}", getattr(self, field.name), 0.0, 1e6)


def time_to_collision(scene: Scene, horizon: float = HORIZON) -> float:
    """Time [s] until the ego vehicle touches another if all keep velocity and heading.

    Exact for oriented rectangles in straight motion: on each of the four edge normals of a pair,
    the projections overlap during one interval of time; they touch when all four overlap
    (separating axes).  It needs no lanes, so it holds at junctions too.

    Returns 0 when they touch already and ``np.inf`` when nothing is hit within ``horizon`` [s].
    """
    columns = scene.columns
    return gaps.time_to_collision(columns, columns.shape[1], float(horizon))


def headway(scene: Scene) -> float:
    """Time [s] that the ego vehicle takes to drive up to its leader's rear bumper.

    The leader is the nearest vehicle that reaches into the straight strip, as wide as the ego
    vehicle, ahead of it, up to 100 m.  ``np.inf`` without one, or below 1 m/s.
    """
    columns = scene.columns
    return gaps.headway(columns, columns.shape[1])


def unsafe_gap(time_to_collision: Any, headway: Any) -> Any:
    """How unsafe the gap is, in [0, 1]; of many, where the arguments are arrays ``(N,)``.

    ``max(1 - TTC / 2 s, 1 - headway / 0.5 s, 0)``: 0 when neither threshold is undercut, 1 at
    contact, linear between.
    """
    if isinstance(headway, np.ndarray):
        return gaps.unsafe_gaps(time_to_collision, headway)
    return gaps.unsafe_gap(float(time_to_collision), float(headway))


def cost_terms(
    collision: Any, off_road_end: Any, time_to_collision: Any, headway: Any
) -> dict[str, Any]:
    """The cost's raw terms: ``collision`` {0, 1}, ``off_road`` {0, 1}, ``unsafe_gap`` [0, 1].

    ``off_road_end`` is true on the step that ends the episode because the ego vehicle left the
    road.  Of one ego vehicle, or of N at once: then all arguments are arrays ``(N,)``.
    """
    return {
        "collision": 1.0 * collision,
        "off_road": 1.0 * off_road_end,
        "unsafe_gap": unsafe_gap(time_to_collision, headway),
    }


def total_cost(terms: dict[str, Any], weights: Any, rule: str) -> Any:
    """The environment's own cost, >= 0, of its terms; of many, where the terms are arrays.

    Args:
        terms: raw terms by name.
        weights: has a weight for every name; ``None``: all are 1.
        rule: ``"sum"`` of the weighted terms, the ``"largest"`` of them, or of ``"first"`` events,
            of which only one is counted, that one.
    """
    weighed = [
        value if weights is None else getattr(weights, name) * value
        for name, value in terms.items()
    ]
    return max(weighed) if rule == LARGEST else sum(weighed)
