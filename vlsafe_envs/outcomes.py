"""What a decision leads to: reward, end of the episode and info, of one ego vehicle or of many.

The same code serves both.  Of one, the arguments are numbers and an ``EgoStatus`` of numbers; of N,
they are arrays ``(N,)`` and an ``EgoStatus`` of arrays, and so is everything returned.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from vlsafe_envs.costs import SUM, cost_terms, summed_cost
from vlsafe_envs.rewards import reward_terms, weighted_reward
from vlsafe_envs.scenarios import Scenario
from vlsafe_envs.traffic import EgoStatus


class Rules(Protocol):
    """What outcomes depend on besides the traffic; weights may be arrays ``(N,)`` too."""

    scenario: Scenario
    rewards: Any  # RewardConfig
    costs: Any  # CostConfig
    offroad_terminal: Any


class Situation(NamedTuple):
    """Where an episode stands on arriving at an observation."""

    ego: EgoStatus
    steps: Any  # decisions since reset
    distance: Any  # [m], driven since reset
    time_to_collision: Any  # [s]
    headway: Any  # [s]


class Outcome(NamedTuple):
    """What ``step`` returns besides the observation."""

    reward: Any
    terminated: Any
    truncated: Any
    info: dict[str, Any]


def reset_info(rules: Rules, now: Situation) -> dict[str, Any]:
    """``info`` after a reset: no reward has been earned yet."""
    terms = reward_terms(now.ego, now.ego.crashed, (0.0, 1.0))
    nothing = 0.0 * now.distance
    return _info(rules, now, dict.fromkeys(terms, nothing), now.ego.crashed & False)


def step_outcome(rules: Rules, before: EgoStatus, now: Situation) -> Outcome:
    """The outcome of the decision that led from ``before`` to ``now``."""
    ego, scenario = now.ego, rules.scenario
    same_road = ego.lanes == before.lanes
    changed = same_road & (ego.target_lane_id != before.target_lane_id)
    terms = reward_terms(ego, changed, scenario.reward_speed_range)
    reward = weighted_reward(terms, rules.rewards, 1.0 / scenario.traffic.policy_frequency)
    off_road_end = rules.offroad_terminal & _not(ego.on_road)
    terminated = ego.crashed | off_road_end | ego.arrived
    truncated = _not(terminated) & (now.steps >= scenario.decisions)
    return Outcome(reward, terminated, truncated, _info(rules, now, terms, off_road_end))


def _not(flag: Any) -> Any:
    return flag ^ True  # "not" is for one, "~" for arrays


def _info(
    rules: Rules, now: Situation, rewards: dict[str, Any], off_road_end: Any
) -> dict[str, Any]:
    ego = now.ego
    terms = cost_terms(ego.crashed, off_road_end, now.time_to_collision, now.headway)
    cost = summed_cost(terms, rules.costs)
    info: dict[str, Any] = {
        "cost": cost,
        "env_cost": cost,
        "env_cost_rule": np.full(len(cost), SUM, object) if np.ndim(cost) else SUM,
        "cost_terms": terms,
        "reward_terms": rewards,
        "speed": ego.speed,
        "distance": now.distance,
        "collision": ego.crashed,
        "off_road": _not(ego.on_road),
        "time_to_collision": now.time_to_collision,
        "headway": now.headway,
    }
    if rules.scenario.has_goal:
        info["arrived"] = ego.reached_goal
    return info
