"""Branches from a saved state against drives that nobody disturbed, to the last bit."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import ClipAction, TimeLimit

from vlsafe_envs import known_ids
from vlsafe_envs.registry import row_of
from vlsafe_envs.snapshots import _driven_again, branches, fan_out, restore, save, save_row
from wrappers.traced_env import TracedEnv

HIGHWAY, LEFT = "VLSafe-Highway-v0", "VLSafe-LeftTurn-v0"
STEPS = 12  # of a drive
LATER = {"VLSafe-LeftTurn-v0": {"traffic": "hard"}, "VLSafe-RightTurn-v0": {"traffic": "hard"}}
KINDS = [
    (env_id, kind, engine)
    for env_id in known_ids()
    if not row_of(env_id).one_per_process
    for kind in (("meta", "grid", "continuous") if row_of(env_id).stacked else ("grid",))
    for engine in (("compiled",) if row_of(env_id).stacked else (None,))
]
FALL_BACK = [(env_id, "meta", "highway_env") for env_id in known_ids() if row_of(env_id).stacked]


def make(env_id: str, action: str = "grid", engine: str | None = None, **options: Any) -> Any:
    more = {} if engine is None else {"engine": engine}
    given = {"observation": "vector", "scorer": None, "action": action, **more, **options}
    return gym.make(env_id, **LATER.get(env_id, {}), **given)


def actions_of(env: Any, seed: int, count: int = STEPS) -> list[Any]:
    rng = np.random.default_rng(seed)
    if isinstance(env.action_space, gym.spaces.Discrete):
        return [int(a) for a in rng.integers(env.action_space.n, size=count)]
    return list(rng.uniform(-1, 1, (count, 2)).astype(np.float32))


def drive(env: Any, actions: list[Any]) -> list[tuple[Any, ...]]:
    """What every step shows, also after the end: bits, and the generator at last."""
    seen: list[tuple[Any, ...]] = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        poses = env.unwrapped.scene.columns.tobytes()
        costs = info["cost"], info["distance"], info["time_to_collision"]
        seen.append((observation.tobytes(), reward, terminated, truncated, costs, poses))
    return [*seen, (str(env.unwrapped.np_random.bit_generator.state),)]


@pytest.mark.parametrize(("env_id", "action", "engine"), [*KINDS, *FALL_BACK])
def test_branches_equal_undisturbed_drives_in_place_and_elsewhere(
    env_id: str, action: str, engine: str | None
) -> None:
    slow = engine == "highway_env"
    env, other = make(env_id, action, engine), make(env_id, action, engine)
    for seed in range(1 if slow else 4):
        count = 4 if slow else STEPS
        actions, detour = actions_of(env, seed, count), actions_of(env, 100 + seed, count)
        env.reset(seed=seed)
        undisturbed = drive(env, actions)
        env.reset(seed=seed)
        for step in range(count):
            snapshot = save(env)
            if step % (2 if slow else 3) == 0:
                drive(env, detour)  # somewhere else
                restore(env, snapshot)
                assert drive(env, actions[step:]) == undisturbed[step:], "in place"
                if not slow:
                    restore(env, snapshot)  # the same snapshot for the second time
                    assert drive(env, actions[step:]) == undisturbed[step:], "after another branch"
                restore(other, snapshot)
                assert drive(other, actions[step:]) == undisturbed[step:], "in another environment"
                restore(env, snapshot)
            env.step(actions[step])


@pytest.mark.parametrize("env_id", [HIGHWAY, "VLSafe-Intersection-v0"])
@pytest.mark.parametrize("action", ["meta", "continuous"])
def test_one_state_fans_out_into_many_rows(env_id: str, action: str) -> None:
    options = {"observation": "vector", "scorer": None, "action": action}
    env, envs = make(env_id, action), gym.make_vec(env_id, num_envs=5, **options)
    envs.reset(seed=[7, 8, 9, 10, 11])
    for seed in range(4):
        actions = actions_of(env, seed)
        env.reset(seed=seed)
        observation, over = env.reset(seed=seed)[0], False
        for step in range(4):
            observation, _, over, _, _ = env.step(actions[step])
        if over:
            continue
        snapshot = save(env)
        fan_out(envs, snapshot, [0, 2, 4])
        np.testing.assert_array_equal(envs.observations[2], observation)
        single = drive(env, actions[4:])
        for step, action_ in enumerate(actions[4:]):
            seen, rewards, terminated, *_ = envs.step(np.array([action_] * 5))
            for row in (0, 2, 4):
                assert seen[row].tobytes() == single[step][0]
                assert rewards[row] == single[step][1]
                assert envs.envs[row].scene.columns.tobytes() == single[step][5]
            if terminated.any():
                break


def test_a_row_of_a_batch_is_saved_as_a_single_environment_is() -> None:
    options = {"observation": "vector", "scorer": None}
    env, envs = make(HIGHWAY, "meta"), gym.make_vec(HIGHWAY, num_envs=3, **options)
    envs.reset(seed=0)
    envs.step(np.array([3, 1, 3]))
    snapshot = save_row(envs, 1)
    restore(env.unwrapped, snapshot)
    np.testing.assert_array_equal(env.unwrapped.observe(), envs.observations[1])
    seen, rewards, *_ = envs.step(np.array([1, 2, 1]))
    observation, reward, *_ = env.unwrapped.step(2)
    assert observation.tobytes() == seen[1].tobytes()
    assert reward == rewards[1]


def test_more_room_is_made_for_a_crowded_snapshot() -> None:
    options = {"density": 3.0, "spawn_probability": 1.0}
    env = make("VLSafe-Intersection-v0", "meta", **options)
    envs = gym.make_vec(
        "VLSafe-Intersection-v0", num_envs=2, observation="vector", scorer=None, **options
    )
    envs.reset(seed=0)
    env.reset(seed=3)
    for _ in range(25):
        env.step(4)
    assert env.unwrapped.simulator.people.total > 10
    fan_out(envs, save(env), [1])
    columns = env.unwrapped.scene.columns
    assert envs.envs[1].scene.columns.tobytes() == columns.tobytes()


def test_a_restored_row_goes_on_though_its_episode_was_over() -> None:
    envs = gym.make_vec(HIGHWAY, num_envs=2, observation="vector", scorer=None, duration=2)
    envs.reset(seed=0)
    snapshot = save_row(envs, 0)
    for _ in range(2):
        _, _, terminated, truncated, _ = envs.step(np.array([1, 1]))
    assert (terminated | truncated).all()
    fan_out(envs, snapshot, [0])
    *_, infos = envs.step(np.array([1, 1]))
    assert infos["distance"][0] > 0 and infos["distance"][1] == 0  # noqa: PT018  # a reset there


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"density": 1.1}, "density=1.1"),
        ({"duration": 20}, "duration=20"),
        ({"action": "continuous"}, "continuous"),
        ({"collision_cost": 5.0}, "collision=5.0"),
    ],
)
def test_another_configuration_is_refused(options: dict[str, Any], named: str) -> None:
    env, other = make(LEFT), make(LEFT, **options)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="another configuration") as refusal:
        restore(other, save(env))
    assert named in str(refusal.value)
    with pytest.raises(ValueError, match="another configuration"):
        restore(make(HIGHWAY, "meta"), save(env))


def test_another_engine_is_another_configuration() -> None:
    env, other = make(HIGHWAY, "meta", "compiled"), make(HIGHWAY, "meta", "highway_env")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"CompiledTraffic.*there, .*HighwayEnvTraffic"):
        restore(other, save(env))


def test_wrappers_are_saved_or_named() -> None:
    env = TimeLimit(make(LEFT), 5)
    env.reset(seed=0)
    env.step(7)
    snapshot = save(env)
    for _ in range(4):
        *_, truncated, _ = env.step(7)
    assert truncated
    restore(env, snapshot)
    assert [env.step(7)[3] for _ in range(4)] == [False, False, False, True]
    with pytest.raises(ValueError, match="wrapped in"):
        restore(make(LEFT), snapshot)
    with pytest.raises(ValueError, match="ClipAction: it is not known"):
        save(ClipAction(make(LEFT, "continuous")))
    with pytest.raises(ValueError, match="only the VLSafe environments"):
        save(gym.make("CartPole-v1"))


def test_nothing_is_saved_before_the_first_reset() -> None:
    for env_id, action in ((LEFT, "grid"), (HIGHWAY, "meta")):
        with pytest.raises(RuntimeError, match="reset"):
            save(make(env_id, action))
    with pytest.raises(RuntimeError, match="reset"):
        save_row(gym.make_vec(HIGHWAY, num_envs=1, scorer=None), 0)
    with pytest.raises(ValueError, match=r"gym\.make_vec"):
        save_row(gym.make_vec(LEFT, num_envs=1, scorer=None), 0)


class Window:
    """A scorer of three frames that shows in its score which three."""

    identity = "window"
    context_frames = 3
    frame_size = 64

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        weights = np.array([1.0, 2.0, 3.0])
        return (frames.mean((2, 3, 4)) @ weights) % 1.0


def test_frames_that_a_scorer_looks_back_at_are_saved() -> None:
    options = {"observation": "vector", "cost": "vlm"}
    env = gym.make(LEFT, scorer=Window(), **options)
    env.reset(seed=0)
    for _ in range(4):
        env.step(12)
    snapshot = save(env)
    undisturbed = [env.step(12)[4]["safety_score"] for _ in range(4)]
    for _ in range(3):
        env.step(2)
    restore(env, snapshot)
    assert [env.step(12)[4]["safety_score"] for _ in range(4)] == undisturbed
    envs = gym.make_vec(HIGHWAY, num_envs=2, scorer=Window(), **options)
    envs.reset(seed=0)
    for _ in range(2):
        envs.step(np.array([1, 1]))
    row = save_row(envs, 0)
    scores = envs.step(np.array([1, 1]))[4]["safety_score"][0]
    fan_out(envs, row, [1])
    assert envs.step(np.array([1, 1]))[4]["safety_score"][1] == scores
    env.close()
    blind = make(HIGHWAY, "meta")
    blind.reset(seed=0)
    with pytest.raises(ValueError, match="looks at 3 frames"):
        fan_out(envs, save(blind), [0])


def read(env: Any, plan: list[Any]) -> list[tuple[Any, ...]]:
    return drive(env, plan)


@pytest.mark.parametrize("env_id", [HIGHWAY, LEFT])
def test_branches_leave_the_environment_where_it_was(env_id: str) -> None:
    env = make(env_id, "grid")
    plans = [actions_of(env, seed) for seed in range(3)]
    env.reset(seed=5)
    env.step(7)
    alone = []
    for plan in plans:
        fresh = make(env_id, "grid")
        fresh.reset(seed=5)
        fresh.step(7)
        alone.append(drive(fresh, plan))
    assert list(branches(env, plans, read)) == alone
    assert drive(env, plans[0]) == alone[0]
    env.reset(seed=5)
    env.step(7)

    def fail(env: Any, plan: Any) -> None:
        env.step(plan[0])
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        list(branches(env, plans, fail))
    assert drive(env, plans[1]) == alone[1]


def test_where_nothing_else_goes_the_episode_is_driven_again() -> None:
    env = TracedEnv(make(LEFT))
    plans = [actions_of(env, seed) for seed in range(2)]
    env.reset(seed=5)
    env.step(7)
    expected = list(branches(env, plans, read))
    assert list(_driven_again(env, plans, read)) == expected
    with pytest.raises(ValueError, match="TracedEnv"):
        list(_driven_again(env.env, plans, read))


@pytest.fixture(params=["VLSafe-Navigation-v0", "VLSafe-MetaDrive-v0"])
def metadrive(request: pytest.FixtureRequest) -> Iterator[Any]:
    pytest.importorskip(
        "metadrive", reason="MetaDrive is not installed: its wheels want Python < 3.12"
    )
    env = TracedEnv(make(request.param, blocks=1, num_maps=20, initial_speed=6))
    yield env
    env.close()


def test_metadrive_branches_in_forks_and_says_that_it_cannot_be_saved(metadrive: Any) -> None:
    env, plans = metadrive, [[12] * 15, [2] * 15, [7, 11] * 7]
    alone = []
    for plan in plans:
        env.reset(seed=3)
        for _ in range(5):
            env.step(12)
        alone.append(drive(env, plan))
    env.reset(seed=3)
    for _ in range(5):
        env.step(12)
    with pytest.raises(NotImplementedError, match="branches"):
        save(env)
    assert list(branches(env, plans, read)) == alone
    assert list(_driven_again(env, plans[:1], read)) == alone[:1]

    def fail(env: Any, plan: Any) -> None:
        raise OSError("disk full")

    with pytest.raises(RuntimeError, match="OSError: disk full"):
        list(branches(env, plans, fail))

    def die(env: Any, plan: Any) -> None:
        os._exit(1)

    with pytest.raises(RuntimeError, match="died"):
        list(branches(env, plans, die))
    assert drive(env, plans[0]) == alone[0]


def test_forks_leave_what_their_parent_made_to_the_parents_collector(metadrive: Any) -> None:
    metadrive.reset(seed=3)

    def garbage(env: Any, plan: Any) -> tuple[int, int]:
        loop: list[Any] = []
        loop.append(loop)
        del loop
        return gc.get_freeze_count(), gc.collect()

    (frozen, found), *_ = branches(metadrive, [None], garbage)
    assert frozen > 100_000  # else every collection copies the parent's memory
    assert found > 0  # its own garbage is still collected
    assert gc.get_freeze_count() == 0
