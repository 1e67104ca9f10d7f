"""Flat arrays of D4RL and DSRL, d3rlpy's episodes, and mixes of data sets."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces
from test_dataset import record
from toy_envs import observation_space

from vlsafe_agents.bc import BC
from vlsafe_agents.data import (
    EpisodeDataset,
    MixedDataset,
    from_d3rlpy,
    from_dsrl,
    from_flat_arrays,
    to_d3rlpy,
    to_flat_arrays,
)

DISCRETE = spaces.Discrete(3)


def flat(*, last: bool = True) -> dict[str, Any]:
    """DSRL's arrays: an episode of 3 steps that terminates, one of 4 that is cut."""
    step = np.arange(7.0)
    arrays = {
        "observations": np.array([0, 1, 2, 10, 11, 12, 13])[:, None] * np.ones(2),
        "next_observations": np.array([1, 2, 3, 11, 12, 13, 14])[:, None] * np.ones(2),
        "actions": np.stack([step / 7, -step / 7], 1).astype(np.float32),
        "rewards": step[:, None],
        "costs": (step % 2),
        "terminals": step == 2,
        "timeouts": (step == 6) & last,
    }
    return {name: np.asarray(a, np.float32) for name, a in arrays.items()}


def write(path: Path, arrays: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


@pytest.mark.parametrize("last", [True, False])  # the last row ends an episode, marked or not
def test_dsrl_files_are_read(tmp_path: Path, last: bool) -> None:
    data = from_dsrl(write(tmp_path / "SafetyCarGoal1.hdf5", flat(last=last)))
    first, second = data.episodes
    assert (first.terminated, second.terminated) == (True, False)
    assert first.obs["vector"][:, 0].tolist() == [0, 1, 2, 3]
    assert second.obs["vector"][:, 0].tolist() == [10, 11, 12, 13, 14]
    assert second.reward.tolist() == [3, 4, 5, 6]
    assert first.env_cost.tolist() == [0, 0, 1, 0]
    assert second.env_cost.tolist() == [0, 1, 0, 1, 0]
    assert data.action_space == spaces.Box(-1.0, 1.0, (2,), np.float32)
    assert data.observation_space.dtype == np.float32


def test_without_next_observations_the_last_outcome_is_not_invented() -> None:
    arrays = flat()
    del arrays["next_observations"], arrays["costs"]
    first, second = from_flat_arrays(**arrays).episodes
    assert first.obs["vector"][:, 0].tolist() == [0, 1, 2, 2]  # terminated: nothing follows
    assert second.obs["vector"][:, 0].tolist() == [10, 11, 12, 13]  # cut: one step fewer
    assert second.reward.tolist() == [3, 4, 5]
    assert first.env_cost is None


def test_arrays_come_back_as_they_went_in() -> None:
    arrays = flat()
    again = to_flat_arrays(from_flat_arrays(**arrays))
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array.reshape(again[name].shape))


def test_observations_may_be_a_dict() -> None:
    arrays = flat()
    arrays["observations"] = {"state": arrays["observations"], "speed": arrays["rewards"]}
    del arrays["next_observations"]
    data = from_flat_arrays(**arrays)
    assert set(data.observation_space.spaces) == {"state", "speed"}
    assert data.episodes[0].obs["speed"].shape == (4, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rewards": np.zeros(6)}, "rewards have 6 rows, but the observations 7"),
        ({"terminals": np.full(7, 2)}, "terminals hold 2 at entry 0; expected 0 or 1"),
        ({"costs": np.full(7, -1.0)}, "costs holds -1"),
        ({"costs": np.full(7, np.nan)}, "episode 0: costs holds nan"),
        ({"actions": np.full((7, 2), 3.0)}, "give action_space"),
        ({"actions": np.zeros(7, int)}, "give action_space"),
        ({"timeouts": np.zeros(7), "terminals": np.zeros(7)}, r"next_observations\[2\] is not"),
        ({"next_observations": np.zeros((7, 3))}, r"'vector' are \(7, 3\)"),
        ({"observations": np.zeros((0, 2))}, "and not none"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "made.hdf5", flat() | changes)
    with pytest.raises(ValueError, match=said) as caught:
        from_dsrl(path)
    assert "made.hdf5" in str(caught.value)


def test_files_of_other_kinds_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        from_dsrl(tmp_path / "none.hdf5")
    with pytest.raises(ValueError, match=r"made\.hdf5.*it has no observations, actions, rewards"):
        from_dsrl(write(tmp_path / "made.hdf5", {"x": np.zeros(3), "terminals": np.zeros(3)}))
    (tmp_path / "text.hdf5").write_text("no HDF5")
    with pytest.raises(ValueError, match=r"text\.hdf5"):
        from_dsrl(tmp_path / "text.hdf5")


# --- d3rlpy ---------------------------------------------------------------------------------------


@dataclass
class TheirEpisode:
    """The attributes of d3rlpy.dataset.Episode: T observations, actions and rewards of (T, 1)."""

    observations: Any
    actions: Any
    rewards: Any
    terminated: bool


@dataclass
class TheirBuffer:
    """Of d3rlpy.dataset.ReplayBuffer."""

    episodes: list[TheirEpisode]


def theirs(arrays: dict[str, Any]) -> TheirBuffer:
    """How d3rlpy's EpisodeGenerator splits the arguments of MDPDataset."""
    ends = np.flatnonzero((arrays["terminals"] + arrays["timeouts"]) > 0)
    episodes, start = [], 0
    for end in ends:
        rows = slice(start, end + 1)
        actions, rewards = (arrays[n][rows] for n in ("actions", "rewards"))
        actions = actions[:, None] if actions.ndim == 1 else actions
        terminated = bool(arrays["terminals"][end])
        observations = arrays["observations"][rows]
        episodes.append(TheirEpisode(observations, actions, rewards.reshape(-1, 1), terminated))
        start = end + 1
    return TheirBuffer(episodes)


@pytest.mark.parametrize("start", [0, 2])
def test_d3rlpy_both_ways(start: int) -> None:
    space, actions = observation_space("vector"), spaces.Discrete(3, start=start)
    recorded = [record(6, "terminated"), record(5, "truncated")]
    episodes = [
        replace(e, obs={"vector": e.obs["vector"]}, action=e.action + start) for e in recorded
    ]
    ours = EpisodeDataset.from_arrays(episodes, space, actions)
    arrays = to_d3rlpy(ours)
    assert arrays["actions"].min() == 0
    back = from_d3rlpy(theirs(arrays), DISCRETE)
    for mine, again in zip(ours.episodes, back.episodes, strict=True):
        steps = mine.num_steps if mine.terminated else mine.num_steps - 1
        assert again.num_steps == steps
        np.testing.assert_array_equal(again.action + start, mine.action[:steps])
        np.testing.assert_array_equal(again.reward, mine.reward[:steps])
        np.testing.assert_array_equal(again.obs["vector"][:steps], mine.obs["vector"][:steps])
    assert not back.has_cost


def test_what_is_not_d3rlpys_is_refused() -> None:
    with pytest.raises(TypeError, match="episode 0 is a int without observations"):
        from_d3rlpy([3])
    pair = TheirEpisode((np.zeros(3), np.zeros(3)), np.zeros(3), np.zeros(3), True)
    with pytest.raises(ValueError, match="episode 0: observations are a tuple"):
        from_d3rlpy([pair])
    multi = EpisodeDataset.from_arrays(
        [record(3, "terminated")], observation_space("multi"), DISCRETE
    )
    with pytest.raises(ValueError, match=r"dataset.select\("):
        to_d3rlpy(multi)


# --- mixes ----------------------------------------------------------------------------------------


def of_lengths(*lengths: int) -> EpisodeDataset:
    episodes = [record(n, "terminated") for n in lengths]
    return EpisodeDataset.from_arrays(episodes, observation_space("multi"), DISCRETE)


def test_a_mix_draws_by_its_weights_and_never_across_its_parts() -> None:
    mix = MixedDataset([of_lengths(4, 4), of_lengths(9)], [3, 1])
    assert (mix.num_episodes, mix.num_steps) == (3, 17)
    batch = mix.sample(4000, 3, np.random.default_rng(0))
    assert batch.reward.shape == (4000, 3)
    time = batch.obs["vector"][..., 0]
    long = (time > 4).any(1).mean()
    assert 0.25 * 5 / 8 - 0.03 < long < 0.25 * 5 / 8 + 0.03  # starts 3 to 7 of 8 show it
    border = batch.is_first[:, 1:].any(1)
    assert time[border].max() <= 4  # the long episode borders on nothing
    steps = mix.sample_transitions(4000, np.random.default_rng(0))
    assert abs((steps.obs["vector"][:, 0] > 3).mean() - 0.25 * 5 / 9) < 0.03
    assert mix.episodes[2].num_steps == mix.episode(-1).num_steps == 9


def test_a_mix_is_learned_from_and_split_like_any_data_set() -> None:
    mix = MixedDataset([of_lengths(4, 4), of_lengths(9, 2)])
    np.testing.assert_allclose(mix.weights, [8 / 19, 11 / 19])
    kept, out = mix.split(0.5)
    assert (kept.num_episodes, out.num_episodes) == (2, 2)
    seen = mix.select(observation_space("vector"))
    BC("MlpPolicy", None, dataset=seen, batch_size=4).learn(2)
    assert mix.has_cost
    assert mix.has_safety_score


@pytest.mark.parametrize(
    ("weights", "said"),
    [([1], "1 weights for 2"), ([0, 0], "all weights"), ([-1, 2], "a weight is -1")],
)
def test_weights_that_are_none_are_refused(weights: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MixedDataset([of_lengths(3), of_lengths(4)], weights)


def test_mixes_of_other_actions_are_refused() -> None:
    other = EpisodeDataset.from_arrays(
        [record(3, "terminated")], observation_space("multi"), spaces.Discrete(5)
    )
    with pytest.raises(ValueError, match=r"data set 1 of the mix has actions Discrete\(5\)"):
        MixedDataset([of_lengths(3), other])
