"""Gymnasium's ``RecordVideo`` films our environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import pytest
from gymnasium.wrappers import RecordVideo
from gymnasium.wrappers.vector import RecordVideo as RecordVectorVideo

import vlsafe_envs  # noqa: F401  (registers the ids)

pytest.importorskip("moviepy", reason="Gymnasium's RecordVideo needs moviepy")
SHORT: dict[str, Any] = {"duration": 3, "observation": "vector", "scorer": None}


@pytest.mark.parametrize("env_id", ["VLSafe-Highway-v0", "VLSafe-LeftTurn-v0"])
def test_a_film_has_a_frame_of_every_observation(env_id: str, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    env = RecordVideo(gym.make(env_id, render_mode="rgb_array", **SHORT), str(folder))
    env.reset(seed=0)
    frames, over = [env.render()], False
    env.action_space.seed(0)
    while not over:
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        frames.append(env.render())
        over = terminated or truncated
    env.close()
    (film,) = folder.glob("*.mp4")
    shown = iio.imread(film)
    assert len(frames) <= len(shown) <= len(frames) + 1  # some versions repeat the last one
    shown = shown[: len(frames)]
    assert shown.shape[1:] == np.shape(frames[0])
    difference = np.abs(shown.astype(float) - np.asarray(frames, float))
    assert difference.mean() < 10  # of 255; films are compressed
    rate = iio.immeta(film)["fps"]
    assert rate == pytest.approx(env.metadata["render_fps"], rel=0.01)


def test_environments_stepped_together_are_filmed(tmp_path: Path) -> None:
    made = gym.make_vec("VLSafe-Highway-v0", num_envs=2, render_mode="rgb_array", **SHORT)
    folder = tmp_path / "films"
    trigger = {"step_trigger": lambda step: step == 0, "video_length": 3}
    env = RecordVectorVideo(made, str(folder), **trigger)
    env.reset(seed=0)
    for _ in range(4):
        env.step(np.zeros(2, int))
    env.close()
    (film,) = folder.glob("*.mp4")
    shown = iio.imread(film)
    assert len(shown) in (3, 4)
    assert shown.shape[2] == 2 * shown.shape[1]  # side by side
