"""Drive fast through traffic, as in highway-env: the task on its roads, of one or of many."""

from __future__ import annotations

import copy
from typing import Any

from vlsafe_envs.checks import Setting
from vlsafe_envs.costs import SUM, CostConfig, cost_terms
from vlsafe_envs.rewards import RewardConfig, reward_terms, weighted_reward
from vlsafe_envs.scenarios import Scenario
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.state import State
from vlsafe_envs.task import Moment, Outcome


class CruiseTask:
    """Reward, cost and ends on highway-env's roads; the cost is the sum of its weighted terms.

    An episode terminates on a collision, off the road (unless ``offroad_terminal=False``) or on
    arrival at the goal.

    Args:
        scenario: the frame around an episode.
        rewards: weights of the reward terms.
        costs: weights of the cost terms.
        offroad_terminal: whether leaving the road ends the episode.

    Raises:
        ValueError: for settings of another type.
    """

    cost_rule = SUM
    rewards = Setting(RewardConfig)
    costs = Setting(CostConfig)
    offroad_terminal = Setting(bool)

    def __init__(
        self,
        scenario: Scenario,
        rewards: RewardConfig | None = None,
        costs: CostConfig | None = None,
        offroad_terminal: bool = True,
    ) -> None:
        self.scenario = scenario
        self.rewards, self.costs = rewards, costs
        self.offroad_terminal = offroad_terminal

    def of_many(self, **settings: Any) -> CruiseTask:
        """The task of N ego vehicles, whose settings may be arrays ``(N,)`` where they differ."""
        twin = copy.copy(self)
        twin.__dict__.update(settings)
        return twin

    def reset(self, simulator: Any, now: Moment) -> Outcome:
        """Nobody has changed lanes or left the road yet."""
        changed = now.ego.crashed & False
        return self._outcome(now, changed, changed)

    def step(self, simulator: Any, before: EgoStatus, now: Moment) -> Outcome:
        """The outcome of the decision that led from ``before`` to ``now``."""
        ego = now.ego
        same_road = ego.lanes == before.lanes
        changed = same_road & (ego.target_lane_id != before.target_lane_id)
        return self._outcome(now, changed, self.offroad_terminal & (ego.on_road ^ True))

    @property
    def settings(self) -> tuple[Any, ...]:
        """Weights, and whether leaving the road is an end."""
        return self.rewards, self.costs, self.offroad_terminal

    def save(self) -> State:
        """It remembers nothing."""
        return {}

    def restore(self, state: State) -> None:
        """Nothing to put back."""

    def _outcome(self, now: Moment, lane_changed: Any, off_road_end: Any) -> Outcome:
        ego, scenario = now.ego, self.scenario
        terms = reward_terms(ego, lane_changed, scenario.reward_speed_range)
        info: dict[str, Any] = {"collision": ego.crashed, "off_road": ego.on_road ^ True}
        if scenario.has_goal:
            info["arrived"] = ego.reached_goal
        return Outcome(
            weighted_reward(terms, self.rewards, 1.0 / scenario.traffic.policy_frequency),
            ego.crashed | off_road_end | ego.arrived,
            terms,
            cost_terms(ego.crashed, off_road_end, now.time_to_collision, now.headway),
            info,
        )
