"""The vectorised environments are N single ones with the same seeds, to the last bit."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from vector_comparison import assert_same

from vlsafe_envs import ENV_IDS
from vlsafe_envs.batch.gymnasium import VectorDrivingEnv
from vlsafe_envs.costs import CostConfig
from vlsafe_envs.scenarios import ACTION_KINDS, TrafficConfig
from vlsafe_envs.scene import PACKED_VEHICLES

HIGHWAY = "VLSafe-Highway-v0"
N = 4


def both(
    env_id: str, num_envs: int = N, mode: str = "NextStep", **options: Any
) -> tuple[VectorEnv[Any, Any, Any], VectorEnv[Any, Any, Any]]:
    """Ours, and as many single environments in Gymnasium's ``SyncVectorEnv``."""
    options = {"scorer": None, **options}
    one = functools.partial(gym.make, env_id, disable_env_checker=True, **options)
    reference = SyncVectorEnv([one] * num_envs, autoreset_mode=AutoresetMode(mode))
    ours = gym.make_vec(env_id, num_envs=num_envs, autoreset_mode=mode, **options)
    return ours, reference


def assert_same_drive(
    ours: VectorEnv[Any, Any, Any], reference: VectorEnv[Any, Any, Any], steps: int, seed: int = 3
) -> int:
    """Drive both with the same random actions; returns how many episodes ended."""
    assert_same(ours.reset(seed=seed), reference.reset(seed=seed), "reset")
    assert ours.action_space == reference.action_space
    reference.action_space.seed(seed)
    ends = 0
    for t in range(steps):
        actions = reference.action_space.sample()
        expected = reference.step(actions)
        assert_same(ours.step(actions), expected, f"step {t}")
        ends += int((expected[2] | expected[3]).sum())
    return ends


@pytest.mark.parametrize(("env_id", "action"), list(itertools.product(ENV_IDS, ACTION_KINDS)))
def test_everything_equals_single_environments_through_auto_resets(
    env_id: str, action: str
) -> None:
    options = {"action": action, "observation": "multi", "scene_in_info": True, "duration": 5}
    for mode in ("NextStep", "SameStep"):
        ours, reference = both(env_id, mode=mode, **options)
        assert isinstance(ours, VectorDrivingEnv)
        assert ours.observation_space == reference.observation_space
        ends = assert_same_drive(ours, reference, 12 if action == "meta" else 40)
        assert ends > N  # through several resets


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("cost", ["either", "vlm"])
def test_costs_of_scores_equal_those_of_single_environments(mode: str, cost: str) -> None:
    options = {"scorer": "oracle", "cost": cost, "observation": "vector", "vehicles": 30}
    ours, reference = both("VLSafe-Highway-v0", mode=mode, **options)
    assert assert_same_drive(ours, reference, 20) > 0


def test_all_frames_of_a_step_are_scored_in_one_call() -> None:
    class Counting:
        identity = {"name": "counting"}  # noqa: RUF012

        def __init__(self) -> None:
            self.frames: list[Any] = []

        def __call__(self, frames: Any, infos: Any = None) -> Any:
            assert len(infos) == len(frames)
            self.frames.append(frames)
            return np.full(len(frames), 0.25, np.float32)

    scorer = Counting()
    env = gym.make_vec(
        HIGHWAY, num_envs=N, scorer=scorer, duration=2, vehicles=0, autoreset_mode="SameStep"
    )
    env.reset(seed=0)
    seen = [env.step(np.ones(N, int))[4] for _ in range(2)]
    # the last step also scores the frames from which the next episodes start
    assert [len(frames) for frames in scorer.frames] == [N, N, 2 * N]
    assert (seen[1]["final_info"]["vlm_cost"] == 0.5).all()
    assert (seen[1]["safety_score"] == 0.25).all()
    assert np.array_equal(scorer.frames[2][N:][0], env.envs[0].safety_frame())


def test_without_auto_reset_the_caller_resets_what_is_over() -> None:
    ours, reference = both(HIGHWAY, mode="Disabled", duration=2, vehicles=3)
    actions = np.ones(N, np.int64)
    assert_same(ours.reset(seed=[5, 1, 9, 2]), reference.reset(seed=[5, 1, 9, 2]))
    for _ in range(2):
        assert_same(ours.step(actions), reference.step(actions))
    with pytest.raises(RuntimeError, match=r"episodes of environments \[0, 1, 2, 3\] are over"):
        ours.step(actions)
    for mask in ([True, False, True, True], [False, True, False, False]):
        options = {"reset_mask": np.array(mask)}
        assert_same(
            ours.reset(seed=4, options=options), reference.reset(seed=4, options=dict(options))
        )
    assert_same(ours.step(actions), reference.step(actions))


def test_observations_that_were_handed_out_do_not_change_afterwards() -> None:
    env = gym.make_vec(HIGHWAY, num_envs=2, scorer=None, autoreset_mode="SameStep", duration=1)
    kept, copies = [env.reset(seed=0)[0]], []
    for _ in range(3):
        copies.append(kept[-1].copy())
        kept.append(env.step(np.ones(2, int))[0])
    for held, copy in zip(kept, copies, strict=False):
        assert np.array_equal(held, copy)


def test_scenes_that_need_more_room_get_it() -> None:
    """More vehicles enter the intersection than any scene was made for."""
    options = {"vehicles": 1, "spawn_probability": 1.0, "density": 1.6, "offroad_terminal": False}
    ours, reference = both("VLSafe-Intersection-v0", num_envs=2, duration=300, **options)
    rows = ours.batch.traffic.vehicles.shape[1]
    ours.reset(seed=0), reference.reset(seed=0)
    for t in range(60):
        actions = np.array([4, 4])  # stand still before the crossing, while others pile up
        assert_same(ours.step(actions), reference.step(actions), f"step {t}")
    assert ours.batch.traffic.vehicles.shape[1] > rows


def test_a_road_that_the_engine_does_not_know_is_driven_by_highway_env(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    explicit = gym.make_vec(HIGHWAY, num_envs=2, scorer=None, engine="highway_env")
    assert isinstance(explicit, SyncVectorEnv)

    def refuse(config: TrafficConfig) -> bool:
        return False

    monkeypatch.setattr("vlsafe_envs.simulators.engine.compiled_traffic.supports", refuse)
    with pytest.warns(UserWarning, match="driving highway-env, slowly"):
        fallback = gym.make_vec(HIGHWAY, num_envs=2, scorer=None, vehicles=1)
    assert isinstance(fallback, SyncVectorEnv)
    with pytest.raises(ValueError, match="cannot simulate this traffic"):
        gym.make_vec(HIGHWAY, num_envs=2, scorer=None, engine="compiled")


def test_environments_can_have_costs_of_their_own() -> None:
    env = gym.make_vec(HIGHWAY, num_envs=2, scorer=None, vehicles=0, action="continuous")
    env.set_attr("costs", [CostConfig(off_road=1.0), CostConfig(off_road=7.0)])
    env.reset(seed=[8, 8])
    for _ in range(100):
        _, _, terminated, _, info = env.step(np.array([[0.0, 1.0]] * 2, np.float32))
        if terminated.any():
            break
    assert info["env_cost"].tolist() == [1.0, 7.0]
    with pytest.raises(AttributeError, match="cannot set 'scenario'"):
        env.set_attr("scenario", None)


@pytest.mark.parametrize(
    ("actions", "message"),
    [([0, 1], "give 4 integers"), ([0, 1, 2, 5], "integers between 0 and 4"), ([0.5] * 4, "int")],
)
def test_bad_actions_are_refused(actions: list[Any], message: str) -> None:
    env = gym.make_vec(HIGHWAY, num_envs=4, scorer=None)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(4, int))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(np.array(actions))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reset_mask": np.zeros(2, bool)}, "no True"),
        ({"reset_mask": [True, True]}, "boolean array"),
        ({"density": 1.0}, "only option"),
    ],
)
def test_bad_reset_options_are_refused(options: dict[str, Any], message: str) -> None:
    env = gym.make_vec(HIGHWAY, num_envs=2, scorer=None)
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)
    with pytest.raises(ValueError, match="3 entries, expected 2"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="num_envs=0"):
        gym.make_vec(HIGHWAY, num_envs=0, scorer=None)


def test_environments_of_a_batch_are_looked_at_but_not_driven() -> None:
    env = gym.make_vec(HIGHWAY, num_envs=2, scorer=None, render_mode="rgb_array")
    env.reset(seed=0)
    member = env.envs[1]
    single = gym.make(HIGHWAY, scorer=None, render_mode="rgb_array")
    single.reset(seed=1)
    assert np.array_equal(env.render()[1], single.render())
    assert member.ego == single.unwrapped.ego  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="one of a batch"):
        member.step(0)
    with pytest.raises(RuntimeError, match="one of a batch"):
        member.reset()
    assert env.np_random_seed == (0, 1)
    assert env.np_random[1].random() == single.unwrapped.np_random.random()


def test_packed_scenes_of_many_are_those_of_each_in_dense_traffic() -> None:
    """More road users than a packed scene has rows for: the same ones are kept, in order."""
    env = gym.make_vec(
        HIGHWAY, num_envs=3, scorer=None, scene_in_info=True, vehicles=60, density=3.0
    )
    _, infos = env.reset(seed=4)
    for _ in range(6):
        for member, packed in zip(env.envs, infos["scene"], strict=True):
            assert len(member.scene.position) > PACKED_VEHICLES
            assert np.array_equal(packed, member.scene.pack())
        infos = env.step(np.ones(3, int))[-1]
