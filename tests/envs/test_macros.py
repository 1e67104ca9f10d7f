"""Macro-actions do what their names say, in every environment and with every kind of action."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from vlsafe_envs import known_ids
from vlsafe_envs.actions import FASTER, IDLE, LANE_LEFT, SLOWER
from vlsafe_envs.drivers.macros import macro_names, make_macro
from vlsafe_envs.registry import row_of

HERE = [env_id for env_id in known_ids() if not row_of(env_id).one_per_process]
KINDS = [
    (env_id, kind)
    for env_id in HERE
    for kind in (("meta", "grid", "continuous") if row_of(env_id).stacked else ("grid",))
]


def make(env_id: str, **options: Any) -> Any:
    return gym.make(env_id, observation="vector", scorer=None, **options)


def begun(env: Any, name: str, seed: int = 0) -> Any:
    env.reset(seed=seed)
    return make_macro(name, env, np.random.default_rng(0))


@pytest.mark.parametrize(("env_id", "kind"), KINDS)
def test_every_macro_action_of_the_registry_drives(env_id: str, kind: str) -> None:
    env = make(env_id, action=kind)
    names = macro_names(env_id, action=kind)
    assert names[-1] == "expert"
    assert len(names) > 3
    for name in names:
        macro = begun(env, name)
        for _ in range(3):
            action = macro.act()
            assert env.action_space.contains(action), name
            env.step(action)


def test_meta_actions_are_taken_once() -> None:
    env = make("VLSafe-Highway-v0")
    for name, first in (("left", LANE_LEFT), ("faster", FASTER), ("slower", SLOWER)):
        macro = begun(env, name)
        assert [macro.act() for _ in range(4)] == [first, IDLE, IDLE, IDLE]


def test_at_crossings_one_can_go_and_hold() -> None:
    env = make("VLSafe-Roundabout-v0", vehicles=0)
    for name, speed in (("hold", 0.0), ("go", 10.0)):
        macro = begun(env, name)
        for _ in range(8):
            env.step(macro.act())
        assert env.unwrapped.ego.speed == pytest.approx(speed, abs=0.5)


@pytest.mark.parametrize("kind", ["grid", "continuous"])
@pytest.mark.parametrize("env_id", ["VLSafe-Highway-v0", "VLSafe-Roundabout-v0"])
def test_pedals_keep_the_lane(env_id: str, kind: str) -> None:
    env = make(env_id, action=kind, vehicles=0)
    for name, change in (("accelerate", 1), ("keep", 0), ("brake", -1)):
        macro = begun(env, name)
        before = env.unwrapped.ego
        for _ in range(8):
            env.step(macro.act())
        now = env.unwrapped.ego
        assert np.sign(round(now.speed - before.speed)) == change
        assert now.on_road
        if env_id == "VLSafe-Highway-v0":
            assert now.lane_id == before.lane_id
            assert abs(now.lane_offset) < 0.5


def test_with_a_route_one_goes_holds_peeks_and_keeps_ones_speed() -> None:
    env = make("VLSafe-LeftTurn-v0", traffic="none")

    def speeds(name: str, seconds: float = 4.0) -> list[float]:
        macro = begun(env, name)
        found = []
        for _ in range(round(10 * seconds)):
            env.step(macro.act())
            found.append(env.unwrapped.ego.speed)
        return found

    assert speeds("go")[-1] > 7.0
    assert max(speeds("hold")) == 0.0
    peek = speeds("peek")
    assert max(peek) == peek[4] > 2.0  # 0.5 s of going
    assert peek[-1] == 0.0
    assert max(speeds("keep")) < 0.5
    env = make("VLSafe-FourLane-v0", vehicles=0, initial_speed=5.0)
    assert speeds("keep", 2.0)[-1] == pytest.approx(5.0, abs=0.6)
    assert speeds("hold", 2.0)[-1] == 0.0


def test_who_goes_minds_nobody() -> None:
    env = make("VLSafe-LeftTurn-v0", traffic="hard")
    crashed = 0
    for seed in range(12):
        for name in ("go", "expert"):
            macro, over, info = begun(env, name, seed), False, {}
            while not over:
                _, _, terminated, truncated, info = env.step(macro.act())
                over = terminated or truncated
            assert name == "go" or not info["collision"]
            crashed += name == "go" and info["collision"]
    assert crashed > 3


def test_metadrives_routes_have_the_same() -> None:
    pytest.importorskip(
        "metadrive", reason="MetaDrive is not installed: its wheels want Python < 3.12"
    )
    env = make("VLSafe-Navigation-v0", num_maps=20, blocks=1)
    assert macro_names("VLSafe-Navigation-v0") == ("go", "hold", "peek", "keep", "expert")
    try:
        for name in macro_names("VLSafe-Navigation-v0"):
            macro = begun(env, name)
            for _ in range(20):
                env.step(macro.act())
            speed = env.unwrapped.ego.speed
            assert (speed > 3.0) == (name in ("go", "expert")), name
    finally:
        env.close()


def test_macro_actions_on_metadrives_maps_begin_anywhere_on_the_route() -> None:
    pytest.importorskip(
        "metadrive", reason="MetaDrive is not installed: its wheels want Python < 3.12"
    )
    env = make("VLSafe-Navigation-v0", num_maps=20, density=0.0, initial_speed=8)
    try:
        names = ("go", "hold")
        since = {name: begun(env, name) for name in names}
        rng = np.random.default_rng(0)
        for step in range(300):
            now = {name: since[name].act() for name in names}
            if step % 20 == 0:
                assert now == {name: make_macro(name, env, rng).act() for name in names}, step
            env.step(now["go"])
        assert env.unwrapped.task.progress.next > 200  # far beyond what is looked at ahead
    finally:
        env.close()


def test_who_minds_nobody_on_metadrives_maps_does_not_look_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(
        "metadrive", reason="MetaDrive is not installed: its wheels want Python < 3.12"
    )
    from vlsafe_envs.drivers.metadrive import best_acceleration
    from vlsafe_envs.drivers.prospects import Prospects

    env = make("VLSafe-Navigation-v0", num_maps=20, density=2.0, initial_speed=8)
    try:
        for seed in range(5):
            macro = begun(env, "go", seed)
            for _ in range(30):
                env.step(macro.act())
            driver = macro._driver
            plan, ego, station = driver._look()
            seen = driver._prospects.others()
            if max(len(others.station) for others in seen) > 0:
                break
        assert max(len(others.station) for others in seen) > 0
        rest = (ego, station, driver.speed, driver._reachable, False)
        slow = min(best_acceleration(plan, others, *rest) for others in seen)
        monkeypatch.setattr(Prospects, "others", None)  # not to be called
        assert driver._advised(plan, ego, station) == slow
    finally:
        env.close()


def test_unknown_macro_actions_are_refused() -> None:
    env = make("VLSafe-LeftTurn-v0")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="macro='faster'"):
        make_macro("faster", env, np.random.default_rng(0))
    with pytest.raises(ValueError, match="macro-actions need"):
        make_macro("go", gym.make("CartPole-v1"), np.random.default_rng(0))
    with pytest.raises(ValueError, match="unknown option"):
        macro_names("VLSafe-LeftTurn-v0", lanes=3)
