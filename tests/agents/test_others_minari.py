"""Minari data sets that were not written by `vlsafe collect`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces
from minari_sets import write

from vlsafe_agents.bc import BC
from vlsafe_agents.data import Episode, EpisodeDataset

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float64)
NAMED = spaces.Dict(
    {
        "camera": spaces.Box(0, 255, (64, 48, 3), np.uint8),
        "small": spaces.Box(0, 255, (8, 8, 1), np.uint8),
        "speed": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    }
)


def test_a_plain_box_is_read(tmp_path: Path) -> None:
    path, episodes = write(tmp_path, VECTOR)
    data = EpisodeDataset.from_minari(path)
    assert data.observation_space == VECTOR
    assert data.cost_mode == "env"
    for episode, (observations, actions, costs) in zip(data.episodes, episodes, strict=True):
        np.testing.assert_array_equal(episode.obs["vector"], observations)
        np.testing.assert_array_equal(episode.action, actions)
        np.testing.assert_array_equal(episode.env_cost, costs)


@pytest.mark.parametrize("jpeg", [False, True])
def test_a_dict_under_any_names_is_read_with_images_as_minari_stores_them(
    tmp_path: Path, jpeg: bool
) -> None:
    path, episodes = write(tmp_path, NAMED, jpeg=jpeg)
    data = EpisodeDataset.from_minari(path)
    for episode, (observations, *_) in zip(data.episodes, episodes, strict=True):
        assert set(episode.obs) == set(NAMED.spaces)
        np.testing.assert_array_equal(episode.obs["speed"], observations["speed"])
        np.testing.assert_array_equal(episode.obs["small"], observations["small"])
        difference = episode.obs["camera"].astype(int) - observations["camera"]
        assert np.abs(difference).max() <= (6 if jpeg else 0)


def test_a_bare_image_is_read_and_cached(tmp_path: Path) -> None:
    image = spaces.Box(0, 255, (40, 40, 3), np.uint8)
    path, _ = write(tmp_path, image)
    first = EpisodeDataset.from_minari(path).episodes[1].obs["image"]
    assert list((path / "cache").glob("image-*.npy"))
    np.testing.assert_array_equal(EpisodeDataset.from_minari(path).episodes[1].obs["image"], first)
    np.testing.assert_array_equal(
        EpisodeDataset.from_minari(path, cache=False).episodes[1].obs["image"], first
    )


def damage(path: Path, entry: int) -> None:
    with h5py.File(path / "data" / "main_data.hdf5", "a") as file:
        column = file["episode_1/observations/camera"]
        column[entry] = np.zeros_like(column[entry])


def test_a_damaged_jpeg_is_named(tmp_path: Path) -> None:
    path, _ = write(tmp_path, NAMED)
    damage(path, 4)
    with pytest.raises(ValueError, match="episode 1: observations/camera, entry 4 is no JPEG"):
        EpisodeDataset.from_minari(path)


@pytest.mark.parametrize(
    ("infos", "key"),
    [
        (lambda c: {"crash_penalty": c}, "crash_penalty"),
        (lambda c: {"terms": {"hit": c, "other": c * 0}}, "terms/hit"),
        (lambda c: {"hit": c > 0}, "hit"),
        (lambda c: {"cost": c * 0 + 5, "mine": c}, "mine"),
    ],
)
def test_the_cost_has_any_name(tmp_path: Path, infos: Any, key: str) -> None:
    path, episodes = write(tmp_path, VECTOR, infos=infos)
    data = EpisodeDataset.from_minari(path, cost_key=key)
    for episode, (*_, costs) in zip(data.episodes, episodes, strict=True):
        np.testing.assert_array_equal(episode.env_cost, costs)


def test_a_cost_for_each_step_only_leaves_the_reset_at_0(tmp_path: Path) -> None:
    path, episodes = write(tmp_path, VECTOR, infos=lambda c: {"cost": c[1:]})
    data = EpisodeDataset.from_minari(path)
    np.testing.assert_array_equal(data.episodes[0].env_cost, [0, *episodes[0][2][1:]])


def test_a_reset_without_a_cost_may_be_nan(tmp_path: Path) -> None:
    path, episodes = write(tmp_path, VECTOR, infos=lambda c: {"cost": np.r_[np.nan, c[1:]]})
    data = EpisodeDataset.from_minari(path)
    np.testing.assert_array_equal(data.episodes[0].env_cost, [0, *episodes[0][2][1:]])


def test_an_unknown_cost_key_names_those_that_there_are(tmp_path: Path) -> None:
    path, _ = write(tmp_path, VECTOR, infos=lambda c: {"terms": {"hit": c}, "speed": c})
    with pytest.raises(ValueError, match=r"cost_key='cost'; its infos are speed, terms/hit"):
        EpisodeDataset.from_minari(path, cost_key="cost")


def test_data_without_costs_open_and_say_so_where_a_cost_is_needed(tmp_path: Path) -> None:
    path, _ = write(tmp_path, VECTOR, infos=None)
    data = EpisodeDataset.from_minari(path)
    assert not data.has_cost
    assert np.isnan(data.unsafe_share)
    assert data.episodes[0].env_cost is None
    assert data.episodes[0].unsafe_steps is None
    with pytest.raises(ValueError, match=r"PPO-Lag needs costs, and .* cost_key="):
        data.require_cost("PPO-Lag")
    with pytest.raises(ValueError, match="vlsafe label"):
        EpisodeDataset.from_minari(path, cost="vlm")


SEEN = spaces.Dict({name: NAMED[name] for name in ("camera", "speed")})


@pytest.mark.parametrize("space", [VECTOR, SEEN], ids=["Box", "Dict"])
def test_behaviour_cloning_learns_from_them_without_a_cost(
    tmp_path: Path, space: spaces.Space[Any]
) -> None:
    path, _ = write(tmp_path, space, infos=None)
    data = EpisodeDataset.from_minari(path)
    policy = "MlpPolicy" if space is VECTOR else "MultiInputPolicy"
    agent = BC(policy, None, dataset=data, batch_size=8, seed=0)
    agent.learn(2)
    observation = data.episodes[0].obs
    first = {name: column[0] for name, column in observation.items()}
    action, _ = agent.predict(first if space is SEEN else first["vector"])
    assert action.shape == (2,)


def test_texts_are_refused_with_a_remedy(tmp_path: Path) -> None:
    path, _ = write(tmp_path, VECTOR)
    text = (path / "data" / "metadata.json").read_text()
    shape = '{\\"type\\": \\"Tuple\\", \\"subspaces\\": []}'
    start = text.index('"observation_space": "') + len('"observation_space": "')
    end = text.index('", "action_space"')
    (path / "data" / "metadata.json").write_text(text[:start] + shape + text[end:])
    with pytest.raises(ValueError, match="FlattenObservation"):
        EpisodeDataset.from_minari(path)


def test_episodes_with_and_without_costs_do_not_mix() -> None:
    one = Episode(
        {"state": np.zeros((3, 2), np.float32)}, np.zeros(2, int), np.zeros(2), None, True
    )
    other = replace(one, env_cost=np.zeros(3))
    space = spaces.Box(-1, 1, (2,), np.float32)
    with pytest.raises(ValueError, match=r"1 of 2 episodes have no env_cost, .* episode 1"):
        EpisodeDataset.from_arrays([other, one], space, spaces.Discrete(2))
    data = EpisodeDataset.from_arrays([one], space, spaces.Discrete(2))
    assert list(data.select(space).episodes[0].obs) == ["vector"]  # a bare Box has no other name
