"""The task environment around a world that does as it is told."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vlsafe_envs.env import DrivingEnv
from vlsafe_envs.scenarios import Scenario
from vlsafe_envs.scene import Scene
from vlsafe_envs.simulator import EgoStatus
from vlsafe_envs.tasks import RouteTask, TaskRewards
from vlsafe_envs.tasks.four_lane import FOUR_LANE_SHAPE
from vlsafe_envs.tasks.traffic import PathTraffic

STRAIGHT = np.stack((np.arange(0.0, 40.0, 0.8), np.zeros(50)), 1)


class Puppet:
    """A world whose ego vehicle stands where ``poses`` say, one a step: x, y, heading, speed."""

    road = FOUR_LANE_SHAPE
    waypoints = STRAIGHT

    def __init__(self, poses: list[tuple[float, float, float, float]], crash_at: int = -1) -> None:
        self._poses, self._crash_at, self._step = poses, crash_at, 0
        self.closed = False
        self.commands: list[np.ndarray] = []

    def reset(self, rng: np.random.Generator) -> None:
        self._step = 0

    def step(self, command: np.ndarray) -> None:
        self.commands.append(command)
        self._step += 1

    @property
    def _pose(self) -> tuple[float, float, float, float]:
        return self._poses[min(self._step, len(self._poses) - 1)]

    @property
    def scene(self) -> Scene:
        x, y, heading, speed = self._pose
        columns = (np.array([v]) for v in (heading, speed, 5.0, 2.0))
        return Scene(np.array([[x, y]]), *columns, route=STRAIGHT[5:40:5])

    @property
    def ego(self) -> EgoStatus:
        speed = self._pose[3]
        crashed = 0 <= self._crash_at <= self._step
        return EgoStatus(speed, speed, crashed, True, False, 0, 1, 0, 0, 0, 0, speed, 0)

    def close(self) -> None:
        self.closed = True


def make(
    poses: list[tuple[float, float, float, float]],
    crash_at: int = -1,
    duration: float = 50.0,
    has_goal: bool = True,
) -> DrivingEnv:
    scenario = Scenario(PathTraffic("four_lane"), duration=duration, has_goal=has_goal)
    puppet = Puppet(poses, crash_at)
    return DrivingEnv(scenario, puppet, RouteTask(scenario), observation="vector")


def along(
    *xs: float, y: float = 0.0, speed: float = 8.0
) -> list[tuple[float, float, float, float]]:
    return [(x, y, 0.0, speed) for x in xs]


def test_a_step_pays_for_waypoints_and_speed() -> None:
    env = make(along(0.0, 0.8, 1.6, speed=6.0))
    _, info = env.reset(seed=0)
    assert info["waypoints_completed"] == 0  # the one under the wheels was not driven to
    _, reward, terminated, truncated, info = env.step(7)
    assert reward == pytest.approx(2.0 + 0.5 * 6.0)
    assert (terminated, truncated) == (False, False)
    assert info["waypoints_completed"] == 1
    assert info["cost"] == 0.0
    assert info["distance"] == pytest.approx(0.8)


def test_a_step_beside_the_lane_costs() -> None:
    env = make([(0.0, 0.0, 0.0, 8.0), (0.8, 1.5, 0.0, 8.0)])
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(7)
    assert reward == pytest.approx(0.5 * 8.0 - 3.0 * 1.0)
    assert not terminated
    assert info["out_of_lane"]
    assert info["env_cost"] == info["cost"] == 1.0
    assert not info["off_route"]


def test_a_collision_terminates_and_is_charged_by_speed() -> None:
    env = make(along(0.0, 0.8), crash_at=1)
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(7)
    assert (terminated, truncated) == (True, False)
    assert reward == pytest.approx(2.0 + 4.0 - 30.0 * 8.0)
    assert info["collision"]
    assert info["cost"] == 1.0


@pytest.mark.parametrize(("y", "ends"), [(2.95, False), (3.05, True)])
def test_three_metres_off_the_route_terminate(y: float, ends: bool) -> None:
    env = make([(0.0, 0.0, 0.0, 8.0), (8.0, y, 0.0, 8.0)])
    env.reset(seed=0)
    _, _, terminated, _, info = env.step(7)
    assert terminated is ends
    assert info["off_route"] is ends


@pytest.mark.parametrize("has_goal", [True, False])
def test_the_last_three_waypoints_are_the_arrival(has_goal: bool) -> None:
    last = STRAIGHT[-1, 0]
    env = make(along(last - 4.0, last - 3.0, last - 2.2), has_goal=has_goal)
    env.reset(seed=0)
    assert env.step(7)[2] is False  # four are left
    _, reward, terminated, _, info = env.step(7)
    assert isinstance(env.task, RouteTask)
    assert env.task.progress.total - env.task.progress.next == 3
    assert terminated is has_goal
    assert reward == pytest.approx(2.0 + 4.0 + (20.0 if has_goal else 0.0))
    assert ("arrived" in info) is has_goal
    assert 0.9 < info["route_completion"] < 1.0


def test_a_route_without_goal_may_be_driven_to_its_end_and_on() -> None:
    last = STRAIGHT[-1, 0]
    env = make(along(last - 1.0, last, last + 20.0), has_goal=False)
    env.reset(seed=0)
    env.step(7)
    _, reward, terminated, _, info = env.step(7)
    assert not terminated
    assert reward == 0.0
    assert info["route_completion"] == 1.0


def test_time_runs_out_after_its_steps_and_truncates() -> None:
    env = make(along(0.0), duration=2.0)
    env.reset(seed=0)
    ends = [env.step(7)[2:4] for _ in range(20)]
    assert ends[:-1] == [(False, False)] * 19
    assert ends[-1] == (False, True)


def test_the_grid_is_acceleration_times_steering() -> None:
    env = make(along(0.0, speed=8.0))
    env.reset(seed=0)
    world = env.simulator
    assert isinstance(world, Puppet)
    for action in (0, 7, 14):
        env.step(action)
    commands = np.array(world.commands)
    assert commands[:, 0] == pytest.approx([-5.0, 0.0, 5.0])
    assert commands[1, 1] == 0.0
    assert commands[2, 1] == pytest.approx(-commands[0, 1])
    # full lock: 6 m/s2 of lateral acceleration
    beta = math.atan(0.5 * math.tan(commands[2, 1]))
    assert 8.0**2 * math.sin(beta) / 2.5 == pytest.approx(6.0)


def test_rewards_are_configurable_and_reset_pays_nothing() -> None:
    scenario = Scenario(PathTraffic("four_lane"), duration=50.0)
    task = RouteTask(scenario, TaskRewards(waypoint=0.0, speed=1.0, desired_speed=4.0))
    env = DrivingEnv(scenario, Puppet(along(0.0, 0.8)), task, observation="vector")
    _, info = env.reset(seed=0)
    assert set(info["reward_terms"].values()) == {0.0}
    assert env.step(7)[1] == pytest.approx(4.0 - abs(8.0 - 4.0))


def test_close_closes_the_world_and_early_use_is_refused() -> None:
    env = make(along(0.0))
    with pytest.raises(RuntimeError, match="reset"):
        env.step(7)
    with pytest.raises(RuntimeError, match="reset"):
        _ = env.ego
    env.close()
    assert isinstance(env.simulator, Puppet)
    assert env.simulator.closed


def test_reset_options_and_odd_frame_sizes_are_refused() -> None:
    env = make(along(0.0))
    with pytest.raises(ValueError, match="reset has no options"):
        env.reset(options={"x": 1})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="size=100"):
        env.safety_frame(100)
    with pytest.raises(ValueError, match="action=15"):
        env.step(15)
