"""Bad input is refused by an error that names the value."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from vlsafe_envs import SceneRenderer
from vlsafe_envs.drivers import make_driver
from vlsafe_envs.options import make_scenario


def highway(**options: Any) -> gym.Env[Any, Any]:
    return gym.make("VLSafe-Highway-v0", **{"scorer": None, "observation": "vector", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation": "pixels"}, "observation='pixels'.*'image'"),
        ({"action": "jump"}, "action='jump'.*'meta'"),
        ({"density": -1}, "density=-1"),
        ({"density": float("nan")}, "density=nan"),
        ({"vehicles": 2.5}, "vehicles=2.5.*integer"),
        ({"vehicles": 10_000}, "vehicles=10000"),
        ({"lanes": 0}, "lanes=0"),
        ({"duration": 0}, "duration=0"),
        ({"policy_frequency": 4}, "policy_frequency=4.*divide"),
        ({"target_speeds": (0, 10, 15)}, "target_speeds.*even steps"),
        ({"engine": "unreal"}, "engine='unreal'"),
        ({"cost": "both"}, "cost='both'"),
        ({"scorer": "nonsense scorer"}, "nonsense scorer"),
        ({"destination": "o1"}, "destination='o1'.*intersection"),
        ({"velocity": 3}, "unknown option 'velocity'=3.*vehicles"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        highway(**options)


def test_unknown_render_mode_is_refused() -> None:
    with pytest.raises((ValueError, gym.error.Error), match="ascii"):
        highway(render_mode="ascii")


def test_lanes_belong_to_the_highway_only() -> None:
    with pytest.raises(ValueError, match="lanes=3: only the highway"):
        make_scenario("roundabout", lanes=3)


@pytest.mark.parametrize("action", [5, -1, 1.5, np.array([0, 1])])
def test_actions_outside_the_space_are_refused(action: Any) -> None:
    env = highway().unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action="):
        env.step(action)


def test_actions_that_are_not_finite_are_refused() -> None:
    env = highway(action="continuous").unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finite"):
        env.step(np.array([np.nan, 0.0]))


def test_stepping_before_reset_is_refused() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        highway().unwrapped.step(1)
    with pytest.raises(RuntimeError, match="reset"):
        highway().unwrapped.safety_frame()  # type: ignore[attr-defined]


def test_reset_options_are_refused() -> None:
    with pytest.raises(ValueError, match="difficulty"):
        highway().reset(options={"difficulty": 3})


def test_unknown_driver_and_foreign_environments_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="driver='saint'"):
        make_driver("saint", highway(), rng)
    with pytest.raises(ValueError, match="VLSafe"):
        make_driver("expert", gym.make("CartPole-v1"), rng)


def test_renderer_of_a_foreign_id_is_refused() -> None:
    with pytest.raises(ValueError, match="CartPole-v1"):
        SceneRenderer("CartPole-v1")
