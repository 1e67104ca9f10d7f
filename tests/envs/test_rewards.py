"""Rewards are the documented sums, and comparable between policy frequencies."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from vlsafe_envs.options import make_scenario
from vlsafe_envs.rewards import RewardConfig, reward_terms, weighted_reward
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.task import Moment
from vlsafe_envs.tasks import CruiseTask

CRUISING = EgoStatus(
    speed=20.0,
    forward_speed=20.0,
    crashed=False,
    on_road=True,
    arrived=False,
    lane_id=3,
    lanes=4,
    lane_offset=0.0,
    lane_heading_error=0.0,
    acceleration=0.0,
    steering=0.0,
    target_speed=20.0,
    target_lane_id=3,
)


def test_speed_is_linear_over_its_range_and_counts_progress_along_the_lane() -> None:
    assert reward_terms(CRUISING, False, (10.0, 30.0))["speed"] == pytest.approx(0.5)
    sideways = CRUISING._replace(forward_speed=10.0)
    assert reward_terms(sideways, False, (10.0, 30.0))["speed"] == pytest.approx(0.0)
    racing = CRUISING._replace(forward_speed=38.0)
    assert reward_terms(racing, False, (10.0, 30.0))["speed"] == pytest.approx(1.0)


def test_right_lane_pays_by_lane_and_nothing_on_a_single_lane() -> None:
    assert reward_terms(CRUISING, False, (10.0, 30.0))["right_lane"] == 1.0
    single = CRUISING._replace(lane_id=0, lanes=1)
    assert reward_terms(single, False, (10.0, 30.0))["right_lane"] == 0.0


def test_events_are_paid_once_and_rates_by_the_second() -> None:
    terms = dict.fromkeys(reward_terms(CRUISING, False, (10.0, 30.0)), 0.0)
    config = RewardConfig(speed=2.0, collision=-3.0)
    assert weighted_reward(terms | {"speed": 0.5}, config, 0.2) == pytest.approx(0.2)
    assert weighted_reward(terms | {"collision": 1.0}, config, 0.2) == pytest.approx(-3.0)


@pytest.mark.parametrize("many", [False, True])
def test_a_crash_at_the_goal_is_a_crash_and_no_arrival(many: bool) -> None:
    at_goal = CRUISING._replace(crashed=True, arrived=True)
    if many:  # N cars at once, as the vector environments ask
        at_goal = EgoStatus(*(np.array([value]) for value in at_goal))
    now = Moment(at_goal, 5, 100.0, 3.0, 1.0)
    task = CruiseTask(make_scenario("merge"), offroad_terminal=False)
    outcome = task.step(None, at_goal, now)
    assert outcome.terminated
    assert outcome.info["collision"]
    assert not outcome.info["arrived"]
    assert outcome.reward_terms["arrived"] == 0.0


def test_reward_of_a_step_is_the_weighted_sum_of_the_terms_in_info() -> None:
    env = gym.make("VLSafe-Highway-v0", scorer=None, observation="vector", vehicles=8)
    env.reset(seed=2)
    for action in (3, 0, 2, 1):
        _, reward, _, _, info = env.step(action)
        assert reward == pytest.approx(weighted_reward(info["reward_terms"], RewardConfig(), 1.0))


def test_steady_driving_returns_the_same_at_1_hz_and_5_hz() -> None:
    returns = []
    for frequency in (1, 5):
        env = gym.make(
            "VLSafe-Highway-v0",
            scorer=None,
            observation="vector",
            vehicles=0,
            duration=4,
            policy_frequency=frequency,
        )
        env.reset(seed=0)
        returns.append(sum(float(env.step(1)[1]) for _ in range(4 * frequency)))
    assert returns[0] == pytest.approx(returns[1], rel=1e-6)


def test_changing_lanes_is_a_term_of_the_step_that_decides_it() -> None:
    env = gym.make("VLSafe-Highway-v0", scorer=None, observation="vector", vehicles=0, lanes=2)
    env.reset(seed=0)
    lane = env.unwrapped.ego.lane_id  # type: ignore[attr-defined]
    info = env.step(0 if lane else 2)[4]
    assert info["reward_terms"]["lane_change"] == 1.0
    assert env.step(1)[4]["reward_terms"]["lane_change"] == 0.0
