"""The reward: a weighted sum of named terms, in highway-env's manner.

Nothing in it asks for safe gaps: that is the cost's part.  A fast weaver therefore earns more than
a careful driver, as long as it does not crash.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlsafe_envs.checks import check_number
from vlsafe_envs.simulator import EgoStatus


@dataclass(frozen=True)
class RewardConfig:
    """Weights of the reward terms.

    ``speed`` and ``right_lane`` are paid per second, so returns do not depend on the policy
    frequency; the others once per event.

    Raises:
        ValueError: for weights that are no numbers in [-1e6, 1e6].
    """

    speed: float = 1.0  # per second at the top of the speed range
    right_lane: float = 0.05  # per second on the rightmost lane
    lane_change: float = -0.05  # per change of the target lane
    collision: float = -1.0
    off_road: float = -1.0  # per second off the road
    arrived: float = 3.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_number(f"rewards.{field.name}", getattr(self, field.name), -1e6, 1e6)


PER_SECOND = ("speed", "right_lane", "off_road")


def reward_terms(
    ego: EgoStatus, lane_changed: Any, speed_range: tuple[float, float]
) -> dict[str, Any]:
    """The raw terms, of one ego vehicle or of N at once (then all arguments are arrays ``(N,)``).

    - ``speed``: forward speed (along the lane), 0 at the low and 1 at the high end of
      ``speed_range`` [m/s], linear and negative below: were it cut off at 0, falling back and then
      racing up to the traffic again would pay more than steady driving at the same mean speed;
    - ``right_lane`` [0, 1]: 0 on the leftmost, 1 on the rightmost lane, 0 on a single lane;
    - ``lane_change``, ``collision``, ``off_road``, ``arrived`` {0, 1}, never with a collision.
    """
    many = isinstance(ego.speed, np.ndarray)
    least, most = (np.minimum, np.maximum) if many else (min, max)
    low, high = speed_range
    return {
        "speed": least((ego.forward_speed - low) / (high - low), 1.0),
        "right_lane": ego.lane_id / most(ego.lanes - 1, 1),
        "lane_change": 1.0 * lane_changed,
        "collision": 1.0 * ego.crashed,
        "off_road": 1.0 - ego.on_road,
        "arrived": 1.0 * ego.reached_goal,
    }


def weighted_reward(terms: dict[str, Any], config: RewardConfig, seconds: float) -> Any:
    """``sum(weight * term)``; terms paid per second count for ``seconds`` [s]."""
    total = 0.0
    for name, value in terms.items():
        total += getattr(config, name) * value * (seconds if name in PER_SECOND else 1.0)
    return total
