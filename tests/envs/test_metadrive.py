"""The environments on MetaDrive, driven without its assets and without a network."""

from __future__ import annotations

import gc
import itertools
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from malformed import refused
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import vlsafe_envs  # noqa: F401  # registers the ids
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.options import scenario_of
from vlsafe_envs.render.palette import OFF_ROAD
from vlsafe_envs.sb3 import make_vec_env
from vlsafe_envs.tasks import MetaDriveTask

pytest.importorskip("metadrive", reason="MetaDrive is not installed: its wheels want Python < 3.12")

NAVIGATION, SAFE = "VLSafe-Navigation-v0", "VLSafe-MetaDrive-v0"
KINDS = list(itertools.product((NAVIGATION, SAFE), ("image", "vector", "multi")))


MADE: list[gym.Env[Any, Any]] = []


def make(env_id: str = NAVIGATION, **options: Any) -> gym.Env[Any, Any]:
    given = {"scorer": None, "observation": "vector", "num_maps": 20, **options}
    MADE.append(gym.make(env_id, **given))
    return MADE[-1]


@pytest.fixture(autouse=True)
def all_closed() -> Iterator[None]:
    """The next test gets MetaDrive's engine, whatever became of this one."""
    yield
    while MADE:
        MADE.pop().close()


@pytest.fixture
def env() -> gym.Env[Any, Any]:
    return make(blocks=1)


@pytest.mark.parametrize(("env_id", "observation"), KINDS)
@pytest.mark.parametrize("action", ["grid", "continuous"])
def test_checkers_pass_without_a_warning(env_id: str, observation: str, action: str) -> None:
    env = make(env_id, observation=observation, action=action, blocks=1, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
        sb3_check_env(env.unwrapped)
    frame = env.unwrapped.render()
    assert frame.shape == (224, 224, 3)  # type: ignore[union-attr]
    env.close()


@pytest.mark.parametrize("observation", ["vector", "multi"])
def test_navigation_shows_metadrives_own_vector_where_it_is_asked_for(observation: str) -> None:
    env = make(vector="metadrive", observation=observation, blocks=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
        sb3_check_env(env.unwrapped)
    shown, _ = env.reset(seed=1)
    for _ in range(30):
        shown, *_ = env.step(12)
    vector = shown["vector"] if observation == "multi" else shown
    theirs = env.unwrapped.simulator.outcome.observation  # type: ignore[attr-defined]
    assert vector.shape == (259,)
    assert np.array_equal(vector, np.float32(np.clip(theirs, 0.0, 1.0)))
    assert 0.0 < vector[19:].min() < 1.0  # a ray meets something


def test_an_unknown_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="vector='lidar'"):
        make(vector="lidar")


ROLLOUT = """
import hashlib, logging, socket, urllib.request

def refuse(*args, **kwargs):
    raise RuntimeError("a test reached for the network")

socket.socket.connect = urllib.request.urlopen = urllib.request.urlretrieve = refuse
import gymnasium as gym
import numpy as np
import vlsafe_envs
from vlsafe_envs.drivers import make_driver

digest = hashlib.sha256()
for env_id in ("VLSafe-Navigation-v0", "VLSafe-MetaDrive-v0"):
    env = gym.make(env_id, scorer=None, observation="multi", scene_in_info=True, density=2.0)
    driver = make_driver("noisy", env, np.random.default_rng(3))
    for seed in (11, 2**40, 11):
        observation, info = env.reset(seed=seed)
        driver.reset()
        for _ in range(60):
            digest.update(observation["image"].tobytes() + observation["vector"].tobytes())
            digest.update(info["scene"].tobytes())
            observation, reward, terminated, truncated, info = env.step(driver.act())
            digest.update(np.float64([reward, info["cost"]]).tobytes())
            if terminated or truncated:
                break
    env.close()
assert logging.getLogger().level == logging.WARNING  # as Python starts
print(digest.hexdigest())
"""


def test_two_fresh_processes_roll_out_alike_without_network_and_home(tmp_path: Path) -> None:
    import metadrive

    root = Path(str(metadrive.__file__)).parent
    before = sorted(path.name for path in root.iterdir())
    runs = []
    for number in range(2):
        home = tmp_path / str(number)
        home.mkdir()
        env = {**os.environ, "HOME": str(home), "PYTHONHASHSEED": str(number + 1)}
        command = [sys.executable, "-c", ROLLOUT]
        pipe = subprocess.PIPE
        runs.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env))
    results = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], results
    digests = [out.split()[-1] for out, _ in results]
    assert digests[0] == digests[1]
    assert sorted(path.name for path in root.iterdir()) == before  # nothing was unpacked there


def test_the_same_seed_repeats_in_one_process(env: gym.Env[Any, Any]) -> None:
    def roll(seed: int) -> bytes:
        observation, _ = env.reset(seed=seed)
        seen = observation.tobytes()
        for k in range(40):
            observation, reward, *_ = env.step((12, 11, 13, 7)[k % 4])
            seen += observation.tobytes() + np.float64(reward).tobytes()
        return seen

    first = roll(5)
    assert roll(6) != first
    assert roll(5) == first


def test_a_second_environment_says_how_to_have_one(env: gym.Env[Any, Any]) -> None:
    env.reset(seed=0)
    other = make()
    with pytest.raises(RuntimeError, match=r"one engine a process.*SubprocVecEnv"):
        other.reset(seed=0)
    env.step(12)  # the first one drives on
    env.close()
    other.reset(seed=0)
    MADE.remove(other)
    del other  # not closed: gone all the same
    gc.collect()
    env.reset(seed=0)


@pytest.mark.parametrize("seed", [0, 12345, 2**31, 2**63])
def test_any_seed_starts_on_a_map_of_the_range(seed: int) -> None:
    env = make(start_map=300, num_maps=7, blocks=1)
    env.reset(seed=seed)
    assert 300 <= env.unwrapped.simulator.map_index < 307
    env.close()


@pytest.mark.parametrize(("env_id", "rule"), [(NAVIGATION, "largest"), (SAFE, "first")])
def test_wrong_actions_and_resets_are_refused_and_the_drive_goes_on(env_id: str, rule: str) -> None:
    env = make(env_id, blocks=1, action="continuous")
    _, info = env.reset(seed=0)
    assert info["env_cost_rule"] == rule
    for action in (None, 3, [0.0], [np.nan, 0.0], [2.0, 0.0], "ab", {"a": 1}):
        refused(lambda action=action: env.step(action), "action=", "[-1, 1]")
    for seed in (-1, "x", 1.5, True):
        refused(lambda seed=seed: env.reset(seed=seed), "seed=")
    refused(lambda: env.reset(options={"map": 3}), "options={'map': 3}")
    env.step(np.zeros(2, np.float32))


def test_options_of_environments_in_processes_are_checked_in_this_one() -> None:
    refused(lambda: gym.make_vec(NAVIGATION, num_envs=2, blocks="x", scorer=None), "blocks='x'")
    refused(lambda: make_vec_env(NAVIGATION, 2, env_kwargs={"scorer": None, "maps": 3}), "maps=3")


@pytest.mark.slow
def test_environments_in_processes_are_checked_before_any_moves() -> None:
    options = {"scorer": None, "observation": "vector", "blocks": 1}
    many = gym.make_vec(NAVIGATION, num_envs=2, **options)
    sb3 = make_vec_env(NAVIGATION, 2, seed=0, env_kwargs=options)
    try:
        refused(lambda: many.reset(seed=[0, -1]), "seed[1]=-1")
        refused(lambda: many.reset(options={"map": 3}), "reset_mask")
        many.reset(seed=0)
        sb3.reset()
        for actions in ([1], [1, 2, 3], [0.5, 1.0], [0, 15], "ab", None):
            refused(lambda actions=actions: many.step(actions), "actions=")
            refused(lambda actions=actions: sb3.step(actions), "actions=")
        many.step(np.array([7, 7]))
        sb3.step(np.array([7, 7]))
    finally:
        many.close()
        sb3.close()


def test_three_dimensional_drawing_asks_for_the_assets(monkeypatch: pytest.MonkeyPatch) -> None:
    from vlsafe_envs.simulators.metadrive import engine

    monkeypatch.setattr(engine, "assets_present", lambda: False)
    with pytest.raises(ValueError, match=r"needs MetaDrive's assets.*pull_asset"):
        engine.AssetFreeEnv({"use_render": True})


def test_unknown_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown option 'lanes'=4: the options are .*blocks"):
        make(lanes=4)
    with pytest.raises(ValueError, match=r"unknown option 'rewards'"):
        make(SAFE, rewards={})
    with pytest.raises(ValueError, match=r"crash_cost='never'"):
        make(SAFE, crash_cost="never")


def test_commands_mean_what_they_say(env: gym.Env[Any, Any]) -> None:
    """Accelerations in m/s2, and a wheel turned to the right leads to the right."""
    env.reset(seed=3)
    world = env.unwrapped.simulator
    for _ in range(20):
        world.step(np.array([2.0, 0.0]))
    for wanted in (1.5, 0.0, -0.5, -3.0):
        before = world.ego.speed
        world.step(np.array([wanted, 0.0]))
        assert (world.ego.speed - before) / 0.1 == pytest.approx(wanted, abs=0.15)
    heading, offset = world.scene.heading[0], world.ego.lane_offset
    for _ in range(10):
        world.step(np.array([0.0, 0.1]))
    assert world.scene.heading[0] > heading  # y points down: to the right
    assert world.ego.lane_offset > offset
    assert world.ego.lane_heading_error > 0.0


def test_the_route_lies_on_lanes_from_the_car_to_the_destination() -> None:
    env = make(blocks=3)
    for seed in range(4):
        env.reset(seed=seed)
        world = env.unwrapped.simulator
        route, agent = world.waypoints, world.agent
        steps = np.hypot(*np.diff(route, axis=0).T)
        assert steps == pytest.approx(0.8, abs=0.02)
        assert math.dist(route[0], world.scene.position[0]) < 0.8
        end = agent.navigation.final_road.get_lanes(agent.navigation.map.road_network)
        assert min(math.dist(route[-1] * (1, -1), lane.end) for lane in end) < 0.9
        bends = np.diff(np.unwrap(np.arctan2(*np.diff(route, axis=0).T[::-1])))
        assert np.abs(bends).max() < 0.16  # [rad] in 0.8 m: 5 m is the tightest radius
        assert len(world.scene.route) == 16
    env.close()


def test_frames_show_road_where_metadrive_has_lanes(env: gym.Env[Any, Any]) -> None:
    """Every pixel against MetaDrive's own lanes, but for those at their borders."""
    from vlsafe_envs.simulators.metadrive.roads import lanes_of

    env.reset(seed=2)
    world = env.unwrapped.simulator
    frame = env.unwrapped.safety_frame(64)
    x, y, heading = world.scene.columns[:3, 0]
    cos, sin = math.cos(heading), math.sin(heading)
    lanes = list(lanes_of(world.simulator.current_map))
    road = checked = 0
    for row, column in itertools.product(range(0, 64, 3), repeat=2):
        ahead, right = 48.5 - (row + 0.5), column - 32
        point = x + ahead * cos - right * sin, -(y + ahead * sin + right * cos)
        margins = []
        for lane in lanes:
            along, offset = lane.local_coordinates(point)
            inside = min(lane.width / 2 - abs(offset), along, lane.length - along)
            margins.append(inside)
        if abs(max(margins)) < 1.2:
            continue
        shown = tuple(frame[row, column]) != OFF_ROAD
        assert shown == (max(margins) > 0), (row, column, max(margins))
        checked, road = checked + 1, road + shown
    assert checked > 200
    assert road > 20


def test_a_stuck_car_pays_by_step_or_by_event() -> None:
    free = dict.fromkeys(("crash_vehicle", "crash_object", "out_of_road"), False)
    touching = {**free, "crash_object": True}
    beside = {**free, "out_of_road": True, "crash_vehicle": True}

    def costs(crash_cost: str, happened: list[dict[str, bool]]) -> list[float]:
        task = MetaDriveTask(scenario_of(SAFE), crash_cost)
        return [sum(task.cost_terms(theirs).values()) for theirs in happened]

    course = [free, touching, touching, free, touching, beside, beside]
    assert costs("step", course) == [0, 1, 1, 0, 1, 1, 1]
    assert costs("event", course) == [0, 1, 0, 0, 1, 1, 1]


def test_an_inattentive_driver_keeps_to_the_route_and_looks_away_at_times(
    env: gym.Env[Any, Any],
) -> None:
    env.reset(seed=1)
    driver = make_driver("inattentive", env, np.random.default_rng(0))
    driver.reset()
    looks: list[bool] = []
    wrapped = driver._attention.looks  # type: ignore[attr-defined]
    driver._attention.looks = lambda: looks.append(wrapped()) or looks[-1]  # type: ignore
    for _ in range(120):
        *_, terminated, truncated, info = env.step(driver.act())
        if terminated or truncated:
            break
    assert not info["off_route"]
    assert info["distance"] > 30.0
    assert {True, False} == set(looks)


@pytest.mark.parametrize("name", ["expert", "metadrive_idm", "metadrive_ppo"])
def test_drivers_get_on(env: gym.Env[Any, Any], name: str) -> None:
    env.reset(seed=1)
    driver = make_driver(name, env, np.random.default_rng(0))
    driver.reset()
    for _ in range(120):
        *_, terminated, truncated, info = env.step(driver.act())
        if terminated or truncated:
            break
    assert not info["collision"]
    assert info["distance"] > 30.0
    if name == "expert":
        assert not info["off_route"]
        assert info["route_completion"] > 0.2
