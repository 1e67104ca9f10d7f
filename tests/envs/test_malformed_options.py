"""Options of all nine ids that are of a wrong type or out of range are refused in ``gym.make``."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from malformed import NEVER, NOT_EVEN, refused

from vlsafe_envs import known_ids
from vlsafe_envs.costs import CostConfig
from vlsafe_envs.options import SCORING, check_env_options, option_defaults
from vlsafe_envs.registry import ENV_IDS, METADRIVE_IDS, row_of
from vlsafe_envs.rewards import RewardConfig
from vlsafe_envs.sb3 import make_vec_env
from vlsafe_envs.scenarios import Scenario, TrafficConfig
from vlsafe_envs.tasks import TaskCosts, TaskRewards, TaskRules
from wrappers import ConstantScorer

HAVE_METADRIVE = importlib.util.find_spec("metadrive") is not None
IDS = [name for name in known_ids() if HAVE_METADRIVE or name not in METADRIVE_IDS]
HIGHWAY, TURN = "VLSafe-Highway-v0", "VLSafe-LeftTurn-v0"
CHOICES = ("observation", "action", "render_mode")
FLAGS = ("scene_in_info",)
NUMBERS = ("density", "duration", "policy_frequency", "initial_speed")


def make(env_id: str, **options: Any) -> gym.Env[Any, Any]:
    return gym.make(env_id, **{"scorer": None, **options})


def wrong_values(option: str) -> tuple[Any, ...]:
    if option in FLAGS:
        return (*NEVER, 0, 1, "", [], {})
    if option == "density":  # two numbers are a range
        never = [x for x in NOT_EVEN if not isinstance(x, np.ndarray)]
        return (*NEVER, *never, -1, np.array([1, 2, 3]), (2, 1), (0.5, "x"))
    return (*NEVER, *NOT_EVEN, -1)


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("option", [*CHOICES, *FLAGS, *NUMBERS])
def test_what_all_ids_have_is_checked_when_made(env_id: str, option: str) -> None:
    for value in wrong_values(option):
        message = refused(lambda value=value: make(env_id, **{option: value}), f"{option}=")
        assert message.startswith(f"{option}="), message


@pytest.mark.parametrize("env_id", IDS)
def test_options_of_other_ids_are_refused_with_the_known_ones(env_id: str) -> None:
    for option in ("velocity", "", "Density", "obs", "max_episode_step"):
        refused(
            lambda option=option: make(env_id, **{option: 1}), repr(option), "cost, ", "density, "
        )


@pytest.mark.parametrize("env_id", [name for name in IDS if name != "VLSafe-MetaDrive-v0"])
@pytest.mark.parametrize("option", ["rewards", "costs"])
def test_weights_of_another_type_are_refused_when_made(env_id: str, option: str) -> None:
    other = TaskRewards() if env_id in ENV_IDS else RewardConfig()
    for value in (*NEVER, *NOT_EVEN, 0, 1.5, other, TaskRules, RewardConfig, CostConfig):
        refused(lambda value=value: make(env_id, **{option: value}), f"{option}=", "give a ")


@pytest.mark.parametrize(
    ("env_id", "option"),
    [
        (HIGHWAY, "engine"),
        (HIGHWAY, "vehicles"),
        (HIGHWAY, "lanes"),
        (HIGHWAY, "simulation_frequency"),
        (HIGHWAY, "target_speeds"),
        (HIGHWAY, "ego_spacing"),
        (HIGHWAY, "offroad_terminal"),
        ("VLSafe-Intersection-v0", "destination"),
        ("VLSafe-Intersection-v0", "spawn_probability"),
        ("VLSafe-FourLane-v0", "vehicles"),
        (TURN, "traffic"),
        (TURN, "rules"),
        (TURN, "cruise_speed"),
        (TURN, "desired_speed"),
        (TURN, "collision_cost"),
        ("VLSafe-Navigation-v0", "vector"),
        ("VLSafe-Navigation-v0", "maps"),
        ("VLSafe-Navigation-v0", "start_map"),
        ("VLSafe-Navigation-v0", "num_maps"),
        ("VLSafe-Navigation-v0", "blocks"),
        ("VLSafe-Navigation-v0", "accident_prob"),
        ("VLSafe-MetaDrive-v0", "crash_cost"),
        ("VLSafe-MetaDrive-v0", "solid_lines"),
        ("VLSafe-MetaDrive-v0", "crash_terminal"),
    ],
)
def test_what_some_ids_have_is_checked_when_made(env_id: str, option: str) -> None:
    if env_id not in IDS:
        pytest.skip("MetaDrive is not installed")
    flag = option in ("offroad_terminal", "solid_lines", "crash_terminal")
    for value in (*NEVER, *NOT_EVEN, -1):
        if option == "target_speeds" and isinstance(value, np.ndarray):
            continue  # an array of rising speeds is fine
        if not (flag and value is True):
            refused(lambda value=value: make(env_id, **{option: value}), f"{option}=")


@pytest.mark.parametrize("env_id", IDS)
def test_scorers_and_costs_of_a_wrong_kind_are_refused_when_made(env_id: str) -> None:
    for value in (0, True, 1.5, [], {}, object(), ConstantScorer, np.zeros(2)):
        refused(lambda value=value: make(env_id, scorer=value), "scorer=", "name of a scorer")
    for value in ("both", 0, True, [], None, {"vlm": 1}):
        refused(lambda value=value: make(env_id, cost=value), "cost=", "'either'")
    refused(lambda: make(env_id, cost="vlm"), "cost='vlm' needs a scorer")


@pytest.mark.parametrize("name", ["frame_size", "context_frames"])
@pytest.mark.parametrize("value", ["64", 0, -1, 1.5, float("nan"), [64]])
def test_scorers_that_ask_for_no_number_of_pixels_or_frames_are_refused(
    name: str, value: Any
) -> None:
    scorer = ConstantScorer(0.5)
    setattr(scorer, name, value)
    for make_one in (make, lambda env_id, **kw: gym.make_vec(env_id, num_envs=2, **kw)):
        refused(lambda make_one=make_one: make_one(HIGHWAY, scorer=scorer), f"{name}")


@pytest.mark.parametrize("env_id", IDS)
def test_vector_environments_check_their_own_arguments(env_id: str) -> None:
    for count in (0, -1, 1.5, True, "2", [2], float("nan"), 10**9):
        refused(lambda n=count: gym.make_vec(env_id, num_envs=n, scorer=None), "num_envs=")
    for mode in ("next", "", 0, None, [], {"a": 1}):
        refused(
            lambda mode=mode: gym.make_vec(env_id, num_envs=1, scorer=None, autoreset_mode=mode),
            "autoreset_mode=",
            "'NextStep'",
        )
    if env_id in METADRIVE_IDS:
        return  # the others open processes
    refused(lambda: gym.make_vec(env_id, num_envs=2, scorer=None, density="much"), "density=")
    refused(lambda: gym.make_vec(env_id, num_envs=2, scorer=None, costs=0), "costs=0")


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"n_envs": 0}, "n_envs=0"),
        ({"n_envs": "2"}, "n_envs='2'"),
        ({"n_envs": 1.5}, "n_envs=1.5"),
        ({"n_envs": True}, "n_envs=True"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": "x"}, "seed='x'"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"env_kwargs": [("density", 1)]}, "env_kwargs="),
        ({"env_kwargs": {3: 1}}, "unknown option 3=1"),
        ({"env_kwargs": {None: 1}}, "unknown option None=1"),
        ({"env_kwargs": {"scorer": None, "velocity": 1}}, "unknown option 'velocity'"),
        ({"env_kwargs": {"scorer": None, "density": float("nan")}}, "density=nan"),
        ({"n_envs": 2, "env_kwargs": {"scorer": None, "duration": "long"}}, "duration='long'"),
    ],
)
def test_sb3s_vector_environments_check_theirs(
    env_id: str, arguments: dict[str, Any], name: str
) -> None:
    refused(lambda: make_vec_env(env_id, **arguments), name)


@pytest.mark.parametrize("env_id", ["", "CartPole-v1", "os:VLSafe-Highway-v0", 3, None, ["x"]])
def test_ids_that_are_not_ours_are_refused(env_id: Any) -> None:
    refused(lambda: make_vec_env(env_id), "env_id=", "'VLSafe-Highway-v0'")
    refused(lambda: check_env_options(env_id, {}), "env_id=")


@pytest.mark.parametrize("kind", [RewardConfig, CostConfig, TaskRewards, TaskCosts, TaskRules])
def test_weights_are_finite_numbers(kind: Any) -> None:
    for field in kind.__dataclass_fields__:
        for value in (*NEVER, *NOT_EVEN, None):
            refused(lambda field=field, value=value: kind(**{field: value}), f"{field}=")
        if kind in (CostConfig, TaskCosts):
            refused(lambda field=field: kind(**{field: -0.5}), f"{field}=-0.5")


def test_scenarios_check_all_their_numbers() -> None:
    for name in ("cruise_speed", "reward_speed_range", "traffic", "duration", "has_goal"):
        for value in (*NEVER, None, -1):
            refused(lambda name=name, value=value: Scenario(**{name: value}), f"{name}=")
    refused(lambda: Scenario(reward_speed_range=(30.0, 10.0)), "low below high")
    refused(lambda: Scenario(reward_speed_range=(1.0, 2.0, 3.0)), "(low, high)")
    for name in (field.name for field in dataclasses.fields(TrafficConfig)):
        for value in NEVER:
            refused(lambda name=name, value=value: TrafficConfig(**{name: value}), f"{name}=")


def test_options_can_be_checked_without_building_anything() -> None:
    check_env_options(HIGHWAY, {"density": 2, "scorer": "bundled", "cost": "vlm", "lanes": 3})
    check_env_options("vlsafe_envs:VLSafe-Navigation-v0", {"maps": "test", "vector": "metadrive"})
    for env_id, options, name in (
        (HIGHWAY, {"scenario": "merge"}, "'scenario'"),
        (HIGHWAY, {"disable_env_checker": True}, "'disable_env_checker'"),
        (HIGHWAY, {"max_episode_steps": 3}, "'max_episode_steps'"),
        (HIGHWAY, {"density": "x"}, "density='x'"),
        ("VLSafe-Merge-v0", {"lanes": 3}, "only the highway"),
        ("VLSafe-Merge-v0", {"spawn_probability": 0.5}, "only the intersection"),
        (HIGHWAY, {"destination": "o1"}, "only the intersection"),
        (HIGHWAY, {"target_speeds": (0, 5), "action": "grid"}, "only action='meta'"),
        (TURN, {"rewards": {}}, "rewards={}"),
        ("VLSafe-MetaDrive-v0", {"rewards": None}, "'rewards'"),
        ("VLSafe-Navigation-v0", {"maps": "all"}, "maps='all'"),
    ):
        refused(lambda e=env_id, o=options: check_env_options(e, o), name)


def test_every_option_that_is_known_is_tried_here() -> None:
    tried = {*CHOICES, *FLAGS, *NUMBERS, "rewards", "costs", "engine", "vehicles", "lanes"}
    tried |= {"simulation_frequency", "target_speeds", "ego_spacing", "offroad_terminal"}
    tried |= {"destination", "spawn_probability"}
    assert tried == {key for name in ENV_IDS for key in option_defaults(row_of(name))} - {*SCORING}
