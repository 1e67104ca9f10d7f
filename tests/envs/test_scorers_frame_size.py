"""Scorers that ask for the agent's image get it; others are shown what they always were."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import vlsafe_envs  # noqa: F401 - registers the ids
from vlsafe_envs.batch import stacked
from vlsafe_envs.sb3 import make_vec_env

HIGHWAY = "VLSafe-Highway-v0"
N = 3


class Looking:
    """Keeps what it is shown; its score depends on the frame."""

    identity = {"name": "looking"}  # noqa: RUF012

    def __init__(self, frame_size: int | None = None) -> None:
        self.seen: list[Any] = []
        if frame_size is not None:
            self.frame_size = frame_size

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        self.seen.append(frames)
        return (frames.mean((1, 2, 3)) / 255).astype(np.float32)


class Reading(Looking):
    """Scores by infos, without saying so beforehand."""

    def __call__(self, frames: Any, infos: Any = None) -> Any:
        assert len(infos) == len(frames)
        return np.array([info["speed"] / 100 for info in infos], np.float32)


def vector_env(scorer: Any, **options: Any) -> Any:
    env = gym.make_vec(HIGHWAY, num_envs=N, scorer=scorer, vehicles=8, **options)
    env.reset(seed=0)
    return env


def test_the_agents_image_is_scored_without_drawing_it_again() -> None:
    scorer = Looking(64)
    env = vector_env(scorer)
    observation = env.step(np.ones(N, int))[0]
    assert np.shares_memory(scorer.seen[-1], observation)
    assert np.array_equal(scorer.seen[-1], observation)


@pytest.mark.parametrize("kind", ["image", "multi", "vector", "vehicles"])
def test_small_frames_are_the_agents_images_whatever_the_agent_sees(kind: str) -> None:
    scorer, bare = Looking(64), vector_env(None)
    env = vector_env(scorer, observation=kind)
    for _ in range(3):
        env.step(np.ones(N, int))
        assert np.array_equal(scorer.seen[-1], bare.step(np.ones(N, int))[0])


@pytest.mark.parametrize("frame_size", [None, 224, 100])
def test_other_scorers_get_the_large_frame(frame_size: int | None) -> None:
    scorer = Looking(frame_size)
    env = vector_env(scorer)
    env.step(np.ones(N, int))
    assert scorer.seen[-1].shape == (N, 224, 224, 3)
    assert np.array_equal(scorer.seen[-1][1], env.envs[1].safety_frame())


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("frame_size", [None, 64])
def test_one_environment_is_scored_as_one_of_many(mode: str, frame_size: int | None) -> None:
    options = {"vehicles": 8, "duration": 4}
    ours = vector_env(Looking(frame_size), autoreset_mode=mode, duration=4)
    single = gym.vector.SyncVectorEnv(
        [lambda: gym.make(HIGHWAY, scorer=Looking(frame_size), **options)] * N,
        autoreset_mode=mode,
    )
    single.reset(seed=0)
    for _ in range(6):  # past the end of the episodes
        for name in ("safety_score", "vlm_cost", "cost", "env_cost"):
            found = [env.step(np.ones(N, int))[4][name] for env in (ours, single)]
            assert np.array_equal(*found), name


def test_the_scorers_frame_is_drawn_in_the_sizes_that_are_offered_only() -> None:
    env = gym.make(HIGHWAY, scorer=None)
    observation, _ = env.reset(seed=0)
    assert np.array_equal(env.get_wrapper_attr("safety_frame")(64), observation)
    with pytest.raises(ValueError, match="size=100"):
        env.get_wrapper_attr("safety_frame")(100)


def test_infos_are_made_only_for_scorers_that_look_at_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    whole = stacked.info_rows
    monkeypatch.setattr(stacked, "info_rows", lambda columns: made.append(1) or whole(columns))
    vector_env(Looking(64)).step(np.ones(N, int))
    assert not made
    infos = vector_env(Reading()).step(np.ones(N, int))[4]
    assert made
    np.testing.assert_allclose(infos["safety_score"], infos["speed"] / 100, rtol=1e-6)


def test_stable_baselines_environments_hand_over_the_small_frame_too() -> None:
    scorer = Looking(64)
    env = make_vec_env(HIGHWAY, n_envs=N, seed=0, env_kwargs={"scorer": scorer, "vehicles": 8})
    first = env.reset()
    assert np.array_equal(scorer.seen[-1], first)
    observation, _, _, infos = env.step(np.ones(N, int))
    assert np.array_equal(scorer.seen[-1], observation)
    assert all(info["cost"] >= info["env_cost"] for info in infos)
