"""Reward, cost and waypoints of the tasks, against slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vlsafe_envs.costs import LARGEST, total_cost
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.tasks import TaskCosts, TaskRewards, TaskRules
from vlsafe_envs.tasks.progress import Place, RouteProgress, headings_of
from vlsafe_envs.tasks.route import (
    RouteState,
    cost_terms,
    reward_terms,
    route_state,
    weighted_reward,
)

Points = np.ndarray


def ego(speed: float = 5.0, crashed: bool = False) -> EgoStatus:
    return EgoStatus(speed, speed, crashed, True, False, 0, 1, 0.0, 0.0, 0.0, 0.0, speed, 0)


def slow_advance(queue: list[tuple[float, float]], x: float, y: float) -> tuple[int, int]:
    """CarDreamer's rule, word by word: how many waypoints go, and how many were completed."""
    completed, gone, nearest = 0, 0, 100.0
    for i, (wx, wy) in enumerate(queue[:60]):
        distance = math.sqrt((wx - x) ** 2 + (wy - y) ** 2)
        if distance < 0.5:
            completed += 1
            gone = i + 1
        elif distance < nearest:
            nearest = distance
            gone = i
    return gone, completed


def wavy_route(rng: np.random.Generator) -> Points:
    turns = np.cumsum(rng.normal(0.0, 0.06, 150))
    return np.cumsum(0.8 * np.stack((np.cos(turns), np.sin(turns)), 1), axis=0)


@pytest.mark.parametrize("seed", range(5))
def test_waypoints_are_counted_off_as_by_the_slow_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    route = wavy_route(rng)
    progress, queue, total = RouteProgress(route), [tuple(p) for p in route], 0
    at = 0.0
    for _ in range(120):
        at += rng.uniform(0.0, 2.0)
        if at > 148:
            break
        x, y = route[int(at)] + rng.normal(0.0, 0.5, 2)
        gone, completed = slow_advance(queue, x, y)
        del queue[:gone]
        total += completed
        assert progress.advance(x, y) == completed
        assert progress.total - progress.next == len(queue)
        assert progress.completed == total
    assert total > 20


def test_waypoints_beyond_the_visible_ones_do_not_count() -> None:
    there = np.stack((np.arange(0.0, 80.0, 0.8), np.zeros(100)), 1)
    progress = RouteProgress(np.concatenate((there, there[::-1])), visible=60)
    progress.advance(2.0, 0.0)  # the way back passes here too, far ahead on the route
    assert progress.next < 10


def test_a_route_needs_two_waypoints() -> None:
    with pytest.raises(ValueError, match="K >= 2"):
        RouteProgress(np.zeros((1, 2)))


def slow_reward(
    route: Points, k: int, pose: Points, speed: float, completed: int, v: float
) -> dict[str, float]:
    """The terms from vectors, as CarDreamer computes them, with our three departures."""
    heading = headings_of(route)[k]
    along = np.array([np.cos(heading), np.sin(heading)])
    offset = route[k] - pose[:2]
    lateral = offset - np.dot(offset, along) * along
    velocity = speed * np.array([np.cos(pose[2]), np.sin(pose[2])])
    parallel = np.dot(velocity, along)
    perpendicular = np.linalg.norm(velocity - parallel * along)
    return {
        "waypoint": float(completed > 0),
        "speed": v - abs(parallel - v) - 2 * min(perpendicular, 0.5),
        "out_of_lane": max(np.linalg.norm(lateral) - 0.5, 0.0),
    }


@pytest.mark.parametrize("seed", range(20))
def test_reward_terms_are_those_of_the_slow_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    route = wavy_route(rng)
    progress = RouteProgress(route)
    x, y = route[40] + rng.normal(0.0, 0.7, 2)
    pose = np.array([x, y, headings_of(route)[40] + rng.normal(0.0, 0.5)])
    progress.next = 20
    completed = progress.advance(x, y)
    place = progress.place(*pose)
    speed, desired = rng.uniform(0.0, 12.0), rng.uniform(2.0, 9.0)
    verdict = route_state(ego(speed), place, TaskRules(), has_goal=True)
    terms = reward_terms(ego(speed), place, completed, verdict, desired)
    reference = slow_reward(route, progress.next, pose, speed, completed, desired)
    assert {name: terms[name] for name in reference} == pytest.approx(reference)
    assert terms["collision"] == terms["arrived"] == 0.0


def test_speed_across_the_route_costs_the_same_both_ways() -> None:
    verdict = RouteState(False, False, False, 0.0)
    away, back = (
        reward_terms(ego(6.0), Place(9, 0.5, 0.4, error), 0, verdict, 8.0)["speed"]
        for error in (0.05, -0.05)
    )
    assert away == pytest.approx(back)
    straight = reward_terms(ego(6.0), Place(9, 0.5, 0.4, 0.0), 0, verdict, 8.0)["speed"]
    assert away < straight == pytest.approx(6.0)


def test_a_crash_costs_thirty_times_its_speed_and_is_no_arrival() -> None:
    verdict = route_state(
        ego(7.0, crashed=True), Place(2, 0.5, 0.0, 0.0), TaskRules(), has_goal=True
    )
    assert verdict == RouteState(True, False, False, 0.0)
    terms = reward_terms(ego(7.0, crashed=True), Place(2, 0.5, 0.0, 0.0), 1, verdict, 8.0)
    # 2 for the waypoint, 0.5 * 7 for the speed, -30 * 7 for the crash
    assert weighted_reward(terms, TaskRewards()) == pytest.approx(2.0 + 3.5 - 210.0)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Place(4, 1.0, 0.0, 0.0), RouteState(False, False, False, 0.0)),
        (Place(3, 1.0, 0.0, 0.0), RouteState(False, False, True, 0.0)),
        (Place(9, 3.01, 2.5, 0.0), RouteState(False, True, False, 2.0)),
        (Place(3, 3.01, 2.5, 0.0), RouteState(False, True, False, 2.0)),
        (Place(9, 2.99, -2.5, 0.0), RouteState(False, False, False, 2.0)),
        (Place(9, 0.6, 0.5, 0.0), RouteState(False, False, False, 0.0)),
    ],
)
def test_verdicts_at_the_bounds(place: Place, expected: RouteState) -> None:
    assert route_state(ego(), place, TaskRules(), has_goal=True) == expected


def test_without_a_goal_nothing_is_an_arrival() -> None:
    assert not route_state(ego(), Place(0, 0.0, 0.0, 0.0), TaskRules(), has_goal=False).arrived


def test_cost_is_binary_unless_weights_say_otherwise() -> None:
    both = cost_terms(RouteState(True, False, False, 0.3), 0.0, 0.1)
    assert total_cost(both, TaskCosts(), LARGEST) == 1.0
    assert total_cost(both, TaskCosts(collision=10.0), LARGEST) == 10.0
    close = cost_terms(RouteState(False, False, False, 0.0), 1.0, math.inf)
    assert total_cost(close, TaskCosts(), LARGEST) == 0.0
    assert total_cost(close, TaskCosts(unsafe_gap=2.0), LARGEST) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TaskCosts(collision=-1.0),
        lambda: TaskRewards(waypoint=math.nan),
        lambda: TaskRewards(desired_speed=0.0),
        lambda: TaskRules(reach=0.0),
        lambda: TaskRules(visible=0),
    ],
)
def test_impossible_weights_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="give a"):
        make()  # type: ignore[operator]
