"""Observations of any names, sizes and channels reach the world model and come back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from minari_sets import write
from toy_envs import SpeedLimitEnv

from vlsafe_agents import VLSafe
from vlsafe_agents.data import EpisodeDataset
from vlsafe_agents.vlsafe.batch import observation_spaces
from vlsafe_agents.vlsafe.observation_layout import image_layouts


def box(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


@pytest.mark.filterwarnings("ignore:the world model sees")
@pytest.mark.parametrize(
    ("shape", "folded"),
    [
        ((64, 64, 3), (64, 64, 3)),
        ((3, 64, 64), (64, 64, 3)),
        ((64, 48), (64, 48, 1)),
        ((4, 32, 32, 3), (32, 32, 12)),
        ((84, 84, 4), (96, 96, 4)),
        ((20, 31, 1), (32, 32, 1)),
    ],
)
def test_images_come_back_as_they_went_in(shape: tuple[int, ...], folded: tuple[int, ...]) -> None:
    layout = image_layouts({"x": box(*shape)}, 16)["x"]
    image = torch.randint(0, 256, (5, *shape), dtype=torch.uint8)
    inside = layout.fold(image)
    assert inside.shape[1:] == folded
    assert inside.dtype == torch.uint8
    torch.testing.assert_close(layout.unfold(inside), image)


def test_large_images_are_averaged_in_blocks_and_that_is_said() -> None:
    with pytest.warns(UserWarning, match=r"'x' changed: 3 x 3 pixels are averaged and padded"):
        layout = image_layouts({"x": box(300, 200, 1)}, 16)["x"]
    image = torch.randint(0, 256, (2, 300, 200, 1), dtype=torch.uint8)
    inside = layout.fold(image)
    assert inside.shape == (2, 112, 80, 1)
    slow = image[0, 30:33, 60:63, 0].float().mean()  # block (10, 20)
    assert abs(float(inside[0, 10, 20, 0]) - float(slow)) <= 0.5
    assert not inside[:, 100:].any()
    assert layout.unfold(inside).shape == image.shape


@pytest.mark.filterwarnings("ignore:the world model sees")
def test_images_of_several_sizes_share_one_frame() -> None:
    layouts = image_layouts({"a": box(64, 64, 3), "b": box(30, 40, 1)}, 16)
    assert {(layout.height, layout.width) for layout in layouts.values()} == {(64, 64)}


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (spaces.Text(3), "must be a Box, Discrete"),
        (spaces.Dict({"a": spaces.Text(3)}), "FlattenObservation"),
        (spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(3)})}), "FlattenObservation"),
        (spaces.Box(0, 1, (64, 64, 3), np.float32), "images must be uint8"),
    ],
)
def test_other_spaces_are_refused_with_a_remedy(space: spaces.Space[Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        observation_spaces(space)


NAMED = spaces.Dict(
    {
        "camera": box(40, 48, 3),
        "radar": box(16, 16),
        "speed": spaces.Box(-np.inf, np.inf, (2,), np.float32),
        "goal": spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
    }
)


class Seen(SpeedLimitEnv):
    """Shows what a space holds."""

    def __init__(self, space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        super().__init__()
        self.observation_space, self.action_space = space, action_space


@pytest.mark.filterwarnings("ignore:the world model sees")
@pytest.mark.parametrize("space", [NAMED, spaces.Box(-9.0, 9.0, (3,), np.float64), box(40, 40, 1)])
def test_vlsafe_learns_from_other_peoples_data_without_costs(
    tmp_path: Path, space: spaces.Space[Any]
) -> None:
    path, _ = write(tmp_path, space, spaces.Discrete(3), infos=None, jpeg=False)
    data = EpisodeDataset.from_minari(path)
    env = Seen(space, spaces.Discrete(3))
    agent = VLSafe("MultiInputPolicy", env, data, preset="debug", safety=None, seed=0)
    agent.learn(12)
    agent.save(tmp_path / "agent.zip")
    again = VLSafe.load(tmp_path / "agent.zip")
    observation = space.sample()
    action, _ = agent.predict(observation, deterministic=True)
    assert again.predict(observation, deterministic=True)[0] == action
    assert space.contains(observation)


def test_a_head_without_data_is_left_as_it_is(tmp_path: Path) -> None:
    space = spaces.Box(-9.0, 9.0, (3,), np.float32)
    path, _ = write(tmp_path, space, spaces.Discrete(3), infos=None)
    env = Seen(space, spaces.Discrete(3))
    data = EpisodeDataset.from_minari(path)
    agent = VLSafe("MlpPolicy", env, data, preset="debug", update="none", seed=0)
    before = [p.clone() for p in agent.policy.world_model.cost_head.parameters()]
    agent.learn(8)
    for old, new in zip(before, agent.policy.world_model.cost_head.parameters(), strict=True):
        torch.testing.assert_close(old, new)


def test_no_environment_is_needed_where_the_data_tell_the_spaces(tmp_path: Path) -> None:
    space = spaces.Box(-9.0, 9.0, (3,), np.float32)
    path, _ = write(tmp_path, space, spaces.Discrete(3))
    data = EpisodeDataset.from_minari(path)
    agent = VLSafe("MlpPolicy", None, data, preset="debug", update="lagrangian", seed=0)
    agent.learn(2)
    assert agent.action_space == spaces.Discrete(3)
    with pytest.raises(ValueError, match="needs an environment or a data set"):
        VLSafe("MlpPolicy", None)
    with pytest.raises(TypeError, match="from_minari"):
        VLSafe("MlpPolicy", None, str(path))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("update", "infos", "said"),
    [
        ("gated", None, r"VLSafe\(update='gated'\) needs costs"),
        ("lagrangian", None, r"VLSafe\(update='lagrangian'\) needs costs"),
        ("gated", lambda c: {"cost": c}, "has no safety_score"),
    ],
)
def test_what_an_update_reads_is_demanded(
    tmp_path: Path, update: str, infos: Any, said: str
) -> None:
    space = spaces.Box(-9.0, 9.0, (3,), np.float32)
    path, _ = write(tmp_path, space, spaces.Discrete(3), infos=infos)
    env, data = Seen(space, spaces.Discrete(3)), EpisodeDataset.from_minari(path)
    with pytest.raises(ValueError, match=said):
        VLSafe("MlpPolicy", env, data, preset="debug", update=update)
