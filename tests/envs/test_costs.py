"""Times to collision and headways agree with closed forms and with a slow roll-out."""

from __future__ import annotations

import numpy as np
import pytest

from vlsafe_envs.costs import (
    SUM,
    CostConfig,
    cost_terms,
    headway,
    time_to_collision,
    total_cost,
    unsafe_gap,
)
from vlsafe_envs.scene import Scene


def scene(*rows: tuple[float, float, float, float]) -> Scene:
    """Rows of x [m], y [m], heading [rad], speed [m/s]; vehicles are 5 m x 2 m."""
    x, y, heading, speed = np.array(rows, np.float64).T
    size = np.ones(len(rows))
    return Scene(np.stack([x, y], axis=1), heading, speed, 5 * size, 2 * size)


def test_closing_in_on_a_leader_takes_gap_over_closing_speed() -> None:
    # 25 m between centres, 20 m between bumpers, 8 m/s closing.
    assert time_to_collision(scene((0, 0, 0, 28), (25, 0, 0, 20))) == pytest.approx(20 / 8)


def test_head_on_speeds_add() -> None:
    assert time_to_collision(scene((0, 0, 0, 10), (45, 0, np.pi, 10))) == pytest.approx(2.0)


def test_crossing_at_a_right_angle_is_found() -> None:
    # The bodies overlap in x from (19 - 3.5) / 10 = 1.55 s, in y from (16 - 3.5) / 8 s.
    result = time_to_collision(scene((0, 0, 0, 10), (19, -16, np.pi / 2, 8)))
    assert result == pytest.approx(12.5 / 8)


def test_crossing_that_misses_is_none() -> None:
    assert time_to_collision(scene((0, 0, 0, 10), (19, -60, np.pi / 2, 8))) == np.inf


def test_neighbour_on_the_next_lane_is_no_conflict() -> None:
    assert time_to_collision(scene((0, 0, 0, 30), (10, 4, 0, 10))) == np.inf


def test_a_leader_that_pulls_away_is_no_conflict() -> None:
    assert time_to_collision(scene((0, 0, 0, 20), (10, 0, 0, 25))) == np.inf


def test_touching_now_is_zero() -> None:
    assert time_to_collision(scene((0, 0, 0, 20), (4.5, 0.5, 0.1, 20))) == 0.0


def test_beyond_the_horizon_is_none() -> None:
    pair = scene((0, 0, 0, 20), (65, 0, 0, 5))
    assert time_to_collision(pair, horizon=3.9) == np.inf
    assert time_to_collision(pair, horizon=4.1) == pytest.approx(4.0)


def test_alone_on_the_road_nothing_is_hit() -> None:
    alone = scene((0, 0, 0, 20))
    assert time_to_collision(alone) == np.inf
    assert headway(alone) == np.inf


def touching(pair: Scene, time: float) -> bool:
    """Whether any point of one outline, sampled every 5 cm or so, lies in the other vehicle."""
    way = np.stack([np.cos(pair.heading), np.sin(pair.heading)], axis=1)  # (2, 2)
    centre = pair.position + way * pair.speed[:, None] * time  # (2, 2)
    along, across = np.linspace(-2.5, 2.5, 101), np.linspace(-1, 1, 41)
    sides = [np.stack([along, np.full(101, y)], axis=1) for y in (-1.0, 1.0)]
    sides += [np.stack([np.full(41, x), across], axis=1) for x in (-2.5, 2.5)]
    outline = np.concatenate(sides)  # (284, 2)
    for a, b in ((0, 1), (1, 0)):
        left = np.stack([-way[:, 1], way[:, 0]], axis=1)
        points = centre[a] + outline[:, :1] * way[a] + outline[:, 1:] * left[a]
        offset = points - centre[b]
        if np.any((np.abs(offset @ way[b]) <= 2.5) & (np.abs(offset @ left[b]) <= 1.0)):
            return True
    return False


def test_exact_times_agree_with_a_slow_rollout_of_random_scenes() -> None:
    rng = np.random.default_rng(5)
    step, hits = 0.02, 0
    for _ in range(15):
        place = rng.uniform(-20, 20, 2)
        towards = np.arctan2(*-place[::-1]) + rng.uniform(-0.5, 0.5)
        ego = (0.0, 0.0, rng.uniform(-np.pi, np.pi), rng.uniform(0, 5))
        pair = scene(ego, (*place, towards, rng.uniform(5, 20)))
        times = np.arange(0, 4, step)
        slow = next((time for time in times if touching(pair, time)), np.inf)
        exact = time_to_collision(pair)
        if np.isinf(slow):  # the roll-out may overlook a graze that is over within a step
            continue
        hits += 1
        assert slow - 2 * step < exact <= slow + 1e-9
    assert hits >= 5


def test_headway_is_bumper_distance_over_own_speed() -> None:
    assert headway(scene((0, 0, 0, 20), (25, 0.5, 0, 30))) == pytest.approx(1.0)


def test_headway_ignores_other_lanes_and_whoever_is_behind() -> None:
    assert headway(scene((0, 0, 0, 20), (25, 4, 0, 20), (-10, 0, 0, 30))) == np.inf


def test_headway_follows_the_heading_of_the_ego_vehicle() -> None:
    up = np.pi / 2
    assert headway(scene((0, 0, up, 10), (0, 15, up, 10))) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ttc", "gap", "expected"),
    [(np.inf, np.inf, 0), (2, 0.5, 0), (1, np.inf, 0.5), (np.inf, 0.25, 0.5), (0, 9, 1)],
)
def test_unsafe_gap_grows_linearly_below_its_thresholds(
    ttc: float, gap: float, expected: float
) -> None:
    assert unsafe_gap(ttc, gap) == pytest.approx(expected)


def test_cost_is_the_weighted_sum_of_its_terms() -> None:
    terms = cost_terms(True, False, 1.0, np.inf)
    assert terms == {"collision": 1.0, "off_road": 0.0, "unsafe_gap": 0.5}
    assert total_cost(terms, CostConfig(), SUM) == pytest.approx(10.5)


def test_negative_cost_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="unsafe_gap=-1"):
        CostConfig(unsafe_gap=-1)
