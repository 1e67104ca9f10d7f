"""Wrong actions, seeds and options of ``reset`` are refused in one sentence, by all ids."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from malformed import refused

from vlsafe_envs import ENV_IDS, TASK_IDS
from vlsafe_envs.actions import check_action
from vlsafe_envs.batch.checked import CheckedAsyncVectorEnv
from vlsafe_envs.batch.gymnasium import VectorDrivingEnv
from vlsafe_envs.batch.stacked import DrivingBatch
from vlsafe_envs.costs import CostConfig
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.drivers.many import DriverBatch
from vlsafe_envs.env import DrivingEnv
from vlsafe_envs.options import make_scenario
from vlsafe_envs.rewards import RewardConfig
from vlsafe_envs.sb3 import CheckedSubprocVecEnv, DrivingVecEnv, make_vec_env
from vlsafe_envs.scenarios import Scenario
from vlsafe_envs.threads import limit_threads

HIGHWAY = "VLSafe-Highway-v0"
ROADS = (*ENV_IDS, *TASK_IDS)
METADRIVE = ("VLSafe-Navigation-v0", "VLSafe-MetaDrive-v0")
KINDS = [(name, kind) for name in ENV_IDS for kind in ("meta", "grid", "continuous")]
KINDS += [(name, kind) for name in TASK_IDS for kind in ("grid", "continuous")]

NO_ACTION = (None, "x", b"0", {}, [], [[1], [1, 2]], object(), 1j, float("nan"), np.array("0"))
NO_INDEX = (*NO_ACTION, -1, 15, 10**30, 1.0, 0.5, True, "1", [0, 1], np.array([0.0]), [True])
NO_PEDALS = (
    *NO_ACTION,
    0,
    [0.0],
    [0.0, 0.0, 0.0],
    [[0.0, 0.0]],
    [float("nan"), 0.0],
    [0.0, float("inf")],
    [1.01, 0.0],
    [0.0, -2],
    ["0", "0"],
    [True, False],
    [None, 0.0],
    [0j, 0j],
)


@functools.cache
def started(env_id: str, kind: str) -> gym.Env[Any, Any]:
    env = gym.make(env_id, scorer=None, observation="vector", action=kind)
    env.reset(seed=0)
    return env


def wrong_actions(kind: str) -> tuple[Any, ...]:
    return NO_PEDALS if kind == "continuous" else NO_INDEX


@pytest.mark.parametrize(("env_id", "kind"), KINDS)
def test_single_environments_refuse_actions_outside_their_space(env_id: str, kind: str) -> None:
    env = started(env_id, kind)
    for action in wrong_actions(kind):
        message = refused(lambda action=action: env.step(action), "action=", "give ")
        assert ("in [-1, 1]" if kind == "continuous" else "integer between 0 and") in message
    env.step(env.action_space.sample())  # it goes on as before


@pytest.mark.parametrize("env_id", METADRIVE)
@pytest.mark.parametrize("kind", ["grid", "continuous"])
def test_metadrives_refuse_the_same(env_id: str, kind: str) -> None:
    if importlib.util.find_spec("metadrive") is None:
        pytest.skip("MetaDrive is not installed")
    env: Any = gym.make(env_id, scorer=None, action=kind).unwrapped
    for action in wrong_actions(kind):  # `step` hands them to this; the engine takes seconds
        refused(lambda action=action: env.actions.command(action, None), "action=")


@pytest.mark.parametrize(("env_id", "kind"), KINDS)
@pytest.mark.parametrize("sb3", [False, True])
def test_vector_environments_refuse_them_before_any_moves(
    env_id: str, kind: str, sb3: bool
) -> None:
    env: Any
    options = {"scorer": None, "observation": "vector", "action": kind}
    if sb3:
        env = make_vec_env(env_id, 2, seed=0, env_kwargs=options)
        env.reset()
    else:
        env = gym.make_vec(env_id, num_envs=2, **options)
        env.reset(seed=0)
    fine = np.zeros((2, 2), np.float32) if kind == "continuous" else np.zeros(2, np.int64)
    wrong: list[Any] = [fine[:1], np.concatenate([fine, fine]), fine[0], None, "xy", {}, [[]], 3]
    # beside a number, NumPy makes one of True
    wrong += [[fine[0], one] for one in wrong_actions(kind) if "True" not in repr(one)]
    for actions in wrong:
        refused(lambda actions=actions: env.step(actions), "actions=", "give ")
    env.step(fine)
    env.close()


@pytest.mark.parametrize("sb3", [False, True])
def test_those_in_processes_are_checked_in_this_one(sb3: bool) -> None:
    """With too few actions, Stable-Baselines3's would wait for ever."""
    one = functools.partial(gym.make, "CartPole-v1")
    env: Any = CheckedSubprocVecEnv([one] * 2) if sb3 else CheckedAsyncVectorEnv(one, 2, "NextStep")
    try:
        env.reset()
        for actions in ([1], [1, 0, 1], [0.5, 1.0], [0, 2], "ab", None, {}, [[0], [1]]):
            refused(lambda actions=actions: env.step(actions), "actions=", "2 integers")
        env.step(np.array([1, 0]))
    finally:
        env.close()


def test_what_rounding_makes_of_the_largest_action_is_none_too_many() -> None:
    box = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    assert check_action(np.nextafter(np.float32([1, -1]), 2), box).shape == (2,)


@pytest.mark.parametrize("env_id", ROADS)
def test_seeds_and_options_of_reset_are_checked(env_id: str) -> None:
    env = started(env_id, "grid")
    for seed in (-1, 1.5, "x", True, [1], {}, float("nan")):
        refused(lambda seed=seed: env.reset(seed=seed), "seed=", "integer")
    env.reset(seed=np.int64(3))  # type: ignore[arg-type]  # NumPy's integers will do
    for options in ({"density": 1}, {"reset_mask": None}, "x", 1, [1]):
        refused(lambda o=options: env.reset(options=o), "options=", "no options")
    env.reset(options={})


@pytest.mark.parametrize("env_id", ROADS)
def test_vector_environments_check_theirs(env_id: str) -> None:
    env = gym.make_vec(env_id, num_envs=2, scorer=None, observation="vector")
    for seed in (-1, 1.5, "ab", b"ab", True, {}, [1, -1], [1, "x"], [0.5, 1], [1]):
        refused(lambda seed=seed: env.reset(seed=seed), "seed")
    for options in ({"density": 1}, "x", 1, [1], {"reset_mask": [True, True]}):
        where = "reset_mask" if isinstance(options, dict) else "give a dictionary"
        refused(lambda o=options: env.reset(options=o), where)
    for mask in (np.zeros(2, bool), np.ones(3, bool), np.ones(2), None, "x"):
        refused(lambda m=mask: env.reset(options={"reset_mask": m}), "reset_mask")
    env.reset(seed=[np.int64(1), None], options={"reset_mask": np.ones(2, bool)})
    env.close()


@pytest.mark.parametrize("env_id", ["VLSafe-LeftTurn-v0", HIGHWAY])
def test_a_finished_episode_is_not_driven_on_where_resets_are_left_to_the_caller(
    env_id: str,
) -> None:
    env = gym.make_vec(
        env_id,
        num_envs=2,
        scorer=None,
        observation="vector",
        action="grid",
        duration=1,
        autoreset_mode="Disabled",
    )
    env.reset(seed=0)
    for _ in range(10):
        if np.logical_or(*env.step(np.array([7, 7]))[2:4]).all():
            break
    with pytest.raises(RuntimeError, match=r"episodes of environments \[0, 1\] are over"):
        env.step(np.array([7, 7]))


def test_drivers_are_made_of_a_name_an_environment_of_ours_and_a_generator() -> None:
    env, rng = started(HIGHWAY, "meta"), np.random.default_rng(0)
    for name in ("saint", "", None, 3, ["expert"], {"expert": 1}):
        refused(lambda name=name: make_driver(name, env, rng), "driver=", "'expert'")
        team = DriverBatch(gym.make_vec(HIGHWAY, num_envs=1, scorer=None))
        refused(lambda name=name, team=team: team.assign(0, name, rng), "driver=")
    for other in (None, "env", 3, gym.make("CartPole-v1"), object()):
        refused(lambda o=other: make_driver("expert", o, rng), "env=", "VLSafe")
        refused(lambda o=other: DriverBatch(o), "env=", "gym.make_vec")
    for generator in (None, 0, "x", np.random.RandomState(0), np.random):
        refused(lambda g=generator: make_driver("noisy", env, g), "rng=", "default_rng")
        refused(lambda g=generator, team=team: team.assign(0, "noisy", g), "rng=")
    for slot in (-1, 1, 0.5, "0", None, True):
        refused(lambda s=slot, team=team: team.assign(s, "expert", rng), "slot=")
        refused(lambda s=slot, team=team: team.act([s]), "slots=")


@pytest.mark.parametrize("make", [VectorDrivingEnv, DrivingVecEnv])
def test_batches_take_only_batches_and_settings(make: Any) -> None:
    for batch in (None, 3, "batch", [started(HIGHWAY, "meta")]):
        refused(lambda b=batch: make(b), "batch=", "DrivingBatch")
    env = make(DrivingBatch(Scenario(), 2, observation="vector"))
    for value in (None, 0, "x", {"speed": 1}, CostConfig(), RewardConfig):
        refused(lambda v=value: env.set_attr("rewards", v), "rewards=", "RewardConfig")
    for value in (None, 0, {}, RewardConfig()):
        refused(lambda v=value: env.set_attr("costs", v), "costs=", "CostConfig")
    for value in (None, 0, "no", 1.0):
        refused(lambda v=value: env.set_attr("offroad_terminal", v), "True or False")
    assert env.envs[0].rewards == RewardConfig()


def test_batches_check_how_many_they_are() -> None:
    for count in (0, -1, 1.5, "2", True, None):
        refused(lambda n=count: DrivingBatch(Scenario(), n), "num_envs=")
    refused(lambda: DrivingBatch("highway", 1), "scenario='highway'")  # type: ignore[arg-type]
    refused(lambda: DrivingBatch(Scenario(), 1, "bundled"), "frame_cost='bundled'")  # type: ignore[arg-type]
    env = VectorDrivingEnv(DrivingBatch(Scenario(), 2, observation="vector"))
    refused(lambda: env.set_attr("rewards", [RewardConfig()]), "1 values for 2 environments")
    refused(lambda: VectorDrivingEnv(env.batch, "sometimes"), "autoreset_mode='sometimes'")


@pytest.mark.parametrize("env_id", ROADS)
@pytest.mark.parametrize("name", ["rewards", "costs"])
def test_weights_that_are_set_later_are_checked_as_well(env_id: str, name: str) -> None:
    env = started(env_id, "grid")
    one = gym.vector.SyncVectorEnv([lambda: env])
    for value in (0, "x", {"speed": 1}, Scenario(), RewardConfig, object()):
        refused(lambda v=value: setattr(env.unwrapped, name, v), f"{name}=", "give a ")
        refused(lambda v=value: one.set_attr(name, v), f"{name}=")
    env.step(env.action_space.sample())
    fresh = gym.make_vec(env_id, num_envs=2, scorer=None)
    refused(lambda: fresh.set_attr(name, 3), f"{name}=3")


def test_environments_are_built_from_scenarios() -> None:
    for scenario in ("left_turn", None, 3):
        refused(lambda s=scenario: DrivingEnv(s, None, None), "scenario=", "a Scenario")  # type: ignore[arg-type]
    traffic = make_scenario("left_turn").traffic
    for name in ("duration", "cruise_speed", "has_goal"):
        refused(lambda n=name: Scenario(traffic, **{n: "x"}), f"{name}='x'")
    for name in ("left", "", None, 3):
        refused(lambda n=name: make_scenario(n), "scenario=")


@pytest.mark.parametrize("most", [0, -1, 1.5, "2", None, True])
def test_threads_are_counted(most: Any) -> None:
    refused(lambda: limit_threads(most), "most=")
