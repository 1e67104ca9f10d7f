from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces
from toy_drives import collect_toy
from toy_envs import CountingEnv, observation_space

from vlsafe_agents.data import Episode, EpisodeDataset, training_cost
from wrappers.vlm_cost import combine_cost

LENGTHS = (4, 1, 6, 3, 5)


def record(length: int, ends: str) -> Episode:
    """One `CountingEnv` episode with action t % 3 at observation t."""
    env = CountingEnv(length, ends, "multi")
    observation, info = env.reset()
    observations, infos, rewards, actions = [observation], [info], [], []
    for t in range(length):
        observation, reward, terminated, _, info = env.step(t % 3)
        observations.append(observation)
        infos.append(info)
        rewards.append(reward)
        actions.append(t % 3)
    return Episode(
        obs={name: np.stack([o[name] for o in observations]) for name in observations[0]},
        action=np.array(actions),
        reward=np.array(rewards),
        env_cost=np.array([i["env_cost"] for i in infos]),
        safety_score=np.array([i["safety_score"] for i in infos]),
        terminated=terminated,
    )


@pytest.fixture(scope="module")
def dataset() -> EpisodeDataset:
    ends = ["terminated", "truncated", "terminated", "terminated", "truncated"]
    episodes = [record(n, end) for n, end in zip(LENGTHS, ends, strict=True)]
    return EpisodeDataset.from_arrays(episodes, observation_space("multi"), spaces.Discrete(3))


def test_every_field_of_a_row_belongs_to_the_arrival_at_its_observation(
    dataset: EpisodeDataset,
) -> None:
    batch = dataset.sample(64, 8, np.random.default_rng(0))
    time = batch.obs["vector"][..., 0].astype(int)  # (B, T), the step that an observation shows
    assert (batch.obs["image"][..., 0, 0, 0] == time).all()
    np.testing.assert_array_equal(batch.is_first, time == 0)
    np.testing.assert_array_equal(batch.reward, time)
    np.testing.assert_array_equal(batch.cost, time)
    np.testing.assert_allclose(batch.safety_score, 1 / (1 + time))
    led_here = np.where(time == 0, 0, (time - 1) % 3)
    np.testing.assert_array_equal(batch.action, led_here)
    taken_here = np.where(batch.has_action, time % 3, 0)
    np.testing.assert_array_equal(batch.next_action, taken_here)


def test_an_episode_border_inside_a_sequence_is_marked(dataset: EpisodeDataset) -> None:
    batch = dataset.gather(np.arange(7)[None])  # episode 0 has rows 0 to 4, episode 1 rows 5, 6
    assert batch.is_first[0].tolist() == [True, False, False, False, False, True, False]
    assert batch.has_action[0].tolist() == [True, True, True, True, False, True, False]
    assert batch.is_terminal[0].tolist() == [False] * 4 + [True] + [False] * 2
    assert batch.reward[0].tolist() == [0, 1, 2, 3, 4, 0, 1]


def test_a_time_out_is_not_terminal(dataset: EpisodeDataset) -> None:
    assert not dataset.episode_batch(1).is_terminal.any()
    assert dataset.episode_batch(2).is_terminal[0].tolist() == [False] * 6 + [True]


def test_sequences_start_at_every_row_that_leaves_room(dataset: EpisodeDataset) -> None:
    rng = np.random.default_rng(0)
    batch = dataset.sample(2000, 2, rng)
    seen = {tuple(pair) for pair in batch.obs["vector"][..., 0].astype(int).tolist()}
    pairs = {(t, t + 1) for n in LENGTHS for t in range(n)} | {(n, 0) for n in LENGTHS[:-1]}
    assert seen == pairs


def test_the_reset_costs_nothing_even_if_the_environment_says_so(dataset: EpisodeDataset) -> None:
    episode = record(3, "terminated")
    charged = Episode(episode.obs, episode.action, episode.reward, episode.env_cost + 5.0, True)
    data = EpisodeDataset.from_arrays([charged], observation_space("multi"), spaces.Discrete(3))
    assert data.episode_batch(0).cost[0].tolist() == [0, 6, 7, 8]


def test_transitions_hold_what_followed_the_action(dataset: EpisodeDataset) -> None:
    batch = dataset.sample_transitions(500, np.random.default_rng(0))
    time = batch.obs["vector"][:, 0].astype(int)
    np.testing.assert_array_equal(batch.next_obs["vector"][:, 0], time + 1)
    np.testing.assert_array_equal(batch.action, time % 3)
    np.testing.assert_array_equal(batch.reward, time + 1)
    np.testing.assert_array_equal(batch.cost, time + 1)
    assert {4, 6, 3} >= set((time + 1)[batch.terminated].tolist()) != set()


@pytest.mark.parametrize("kind", ["image", "vector", "multi"])
def test_an_agent_gets_the_observation_of_its_space(dataset: EpisodeDataset, kind: str) -> None:
    space = observation_space(kind)
    view = dataset.select(space)
    names = ["image", "vector"] if kind == "multi" else [kind]
    assert view.observation_space == space
    assert list(view.sample(2, 3, np.random.default_rng(0)).obs) == names


def test_held_out_episodes_are_never_sampled_for_training(dataset: EpisodeDataset) -> None:
    kept, held = dataset.split(0.4, seed=1)
    assert kept.num_episodes == 3
    assert held.num_episodes == 2
    assert not set(kept.episode_ids) & set(held.episode_ids)
    assert kept.num_steps + held.num_steps == sum(LENGTHS)
    batch = kept.sample(500, 1, np.random.default_rng(0))
    longest = max(LENGTHS[i] for i in kept.episode_ids)
    assert batch.obs["vector"].max() == longest


def test_episodes_come_back_as_they_went_in(dataset: EpisodeDataset) -> None:
    original, again = record(6, "terminated"), dataset.episodes[2]
    np.testing.assert_array_equal(again.obs["image"], original.obs["image"])
    np.testing.assert_array_equal(again.action, original.action)
    np.testing.assert_array_equal(again.reward, original.reward)
    assert again.terminated
    assert len(dataset.episodes) == 5
    with pytest.raises(IndexError):
        dataset.episodes[5]


@pytest.mark.parametrize("mode", ["env", "vlm", "either"])
def test_training_cost_is_made_as_the_online_wrapper_makes_it(mode: Any) -> None:
    rng = np.random.default_rng(0)
    env_cost = rng.choice([0.0, 0.3, 1.0, 10.0], 1000)
    score, terminated = rng.random(1000), rng.random(1000) < 0.2
    np.testing.assert_allclose(
        training_cost(mode, env_cost, score, terminated),
        combine_cost(mode, env_cost, score, terminated),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.array([1.0, np.nan, 1.0])}, "reward holds nan at entry 1"),
        ({"reward": np.ones(4)}, "reward has 4 entries, expected 3"),
        ({"env_cost": np.ones(3)}, "env_cost has 3 entries, expected 4"),
        ({"env_cost": -np.ones(4)}, "env_cost holds -1.0"),
        ({"safety_score": np.full(4, 1.5)}, "safety_score holds 1.5"),
        ({"obs": {"vector": np.zeros((3, 3))}}, "has 3 entries, expected 4"),
    ],
)
def test_impossible_episodes_are_refused(change: dict[str, Any], message: str) -> None:
    good = record(3, "terminated")
    with pytest.raises(ValueError, match=message):
        Episode(**{**vars(good), **change})


def test_data_that_do_not_fit_are_refused(dataset: EpisodeDataset) -> None:
    with pytest.raises(ValueError, match="the data hold only"):
        dataset.select(spaces.Box(0, 255, (32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="unknown cost mode 'both'"):
        EpisodeDataset.from_minari("anywhere", cost="both")  # type: ignore[arg-type]
    episodes = [record(4, "terminated")]
    with pytest.raises(ValueError, match="outside Discrete"):
        EpisodeDataset.from_arrays(episodes, observation_space("multi"), spaces.Discrete(2))
    with pytest.raises(ValueError, match="cannot take sequences of 99"):
        dataset.sample(1, 99, np.random.default_rng(0))
    with pytest.raises(ValueError, match="leaves one side empty"):
        dataset.split(0.01)


def test_missing_scores_and_costs_name_their_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="vlsafe collect"):
        EpisodeDataset.from_minari(tmp_path)
    path = collect_toy(tmp_path, episodes=2).path
    with pytest.raises(ValueError, match="vlsafe label"):
        EpisodeDataset.from_minari(tmp_path, cost="vlm")
    assert not EpisodeDataset.from_minari(tmp_path, cost="env").has_safety_score
    with h5py.File(path / "data" / "main_data.hdf5", "r+") as file:
        for group in file.values():
            del group["infos/cost"], group["infos/env_cost"]
    with pytest.raises(ValueError, match="BC needs costs, and the data set has none"):
        EpisodeDataset.from_minari(tmp_path, cost="env").require_cost("BC")


def with_scores(path: Path, unlabelled: dict[int, list[int]]) -> None:
    """Label a toy data set, but for some steps of some episodes."""
    with h5py.File(path / "data" / "main_data.hdf5", "r+") as file:
        for number in range(len(file)):
            score = np.full(len(file[f"episode_{number}/rewards"]) + 1, 0.25, np.float32)
            score[unlabelled.get(number, [])] = np.nan
            file[f"episode_{number}/infos"].create_dataset("safety_score", data=score)


@pytest.mark.parametrize("cost", ["vlm", "either", "env"])
def test_episodes_with_unlabelled_frames_are_left_out_and_counted(
    tmp_path: Path, cost: Any
) -> None:
    with_scores(collect_toy(tmp_path, episodes=6).path, {1: [0], 4: [2, 3]})
    with pytest.warns(
        UserWarning, match="2 of 6 episodes are left out, because 3 of their"
    ) as seen:
        data = EpisodeDataset.from_minari(tmp_path, cost=cost)
    assert len(seen) == 1
    assert data.episode_ids.tolist() == [0, 2, 3, 5]
    assert data.has_safety_score
    batch = data.sample(400, 3, np.random.default_rng(0))
    assert (batch.safety_score == 0.25).all()
    assert np.isfinite(batch.cost).all()
    for part in data.split(0.5):
        assert part.has_safety_score


def test_data_without_a_wholly_labelled_episode_are_refused_where_labels_count(
    tmp_path: Path,
) -> None:
    with_scores(collect_toy(tmp_path, episodes=3).path, {0: [0], 1: [1], 2: [2]})
    with pytest.raises(ValueError, match="each of the 3 episodes has frames without a label"):
        EpisodeDataset.from_minari(tmp_path, cost="vlm")
    data = EpisodeDataset.from_minari(tmp_path, cost="env")
    assert data.num_episodes == 3
    assert not data.has_safety_score


def test_data_whose_frames_all_lack_a_label_count_as_unlabelled(tmp_path: Path) -> None:
    with_scores(collect_toy(tmp_path, episodes=2).path, {})
    with h5py.File(next(tmp_path.rglob("main_data.hdf5")), "r+") as file:
        for number in range(2):
            file[f"episode_{number}/infos/safety_score"][...] = np.nan
    assert not EpisodeDataset.from_minari(tmp_path, cost="env").has_safety_score
    with pytest.raises(ValueError, match="vlsafe label"):
        EpisodeDataset.from_minari(tmp_path, cost="vlm")


def test_a_nan_reward_on_disk_is_found(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=2).path
    with h5py.File(path / "data" / "main_data.hdf5", "r+") as file:
        file["episode_1/rewards"][2] = np.nan
    with pytest.raises(ValueError, match="episode 1: reward holds nan at entry 2"):
        EpisodeDataset.from_minari(tmp_path, cost="env")


def test_the_image_cache_is_shared_and_made_anew_for_other_data(tmp_path: Path) -> None:
    path = collect_toy(tmp_path, episodes=3).path
    first = EpisodeDataset.from_minari(tmp_path, cost="env")
    (cached,) = (path / "cache").glob("*.npy")
    written = cached.stat().st_mtime_ns
    again = EpisodeDataset.from_minari(tmp_path, cost="env")
    assert cached.stat().st_mtime_ns == written
    assert isinstance(again._flat.obs["image"], np.memmap)
    plain = EpisodeDataset.from_minari(tmp_path, cost="env", cache=False)
    for data in (first, again):
        np.testing.assert_array_equal(data._flat.obs["image"], plain._flat.obs["image"])
    kept = (path / "cache").rename(tmp_path / "kept")
    other = tmp_path / "other"
    new = collect_toy(other, episodes=3, seed=1).path
    kept.rename(new / "cache")  # as if the data had been replaced under the old cache
    images = EpisodeDataset.from_minari(other, cost="env")._flat.obs["image"]
    assert not np.array_equal(images[:4], plain._flat.obs["image"][:4])
    assert len(list((new / "cache").glob("*.npy"))) == 1


def test_drives_that_end_badly_are_drawn_more_often_and_weighed_less(
    dataset: EpisodeDataset,
) -> None:
    even, rng = dataset.sample(20_000, 3, np.random.default_rng(0)), np.random.default_rng(0)
    assert (even.weight == 1.0).all()
    batch = dataset.sample(20_000, 3, rng, unsafe_ends=0.6)
    assert batch.weight.shape == (20_000, 3)

    def bad(b: Any) -> Any:
        return (b.is_terminal & (b.cost > 0)).any(1)

    expected = 0.6 + 0.4 * bad(even).mean()
    assert bad(batch).mean() == pytest.approx(expected, abs=0.02)
    weight = batch.weight[:, 0]
    assert weight.mean() == pytest.approx(1.0, abs=0.03)  # so that weighted means are the data's
    assert (weight * bad(batch)).mean() == pytest.approx(bad(even).mean(), abs=0.02)
    mean_reward = (weight * batch.reward.mean(1)).mean()
    assert mean_reward == pytest.approx(even.reward.mean(), rel=0.03)
    assert len(set(weight[bad(batch)])) == len(set(weight[~bad(batch)])) == 1


def test_data_without_a_bad_end_are_drawn_evenly() -> None:
    safe = [record(4, "truncated"), record(3, "truncated")]
    data = EpisodeDataset.from_arrays(safe, observation_space("multi"), spaces.Discrete(3))
    batch = data.sample(50, 2, np.random.default_rng(0), unsafe_ends=0.5)
    assert (batch.weight == 1.0).all()
    with pytest.raises(ValueError, match=r"unsafe_ends is 1\.5"):
        data.sample(1, 2, np.random.default_rng(0), unsafe_ends=1.5)


def test_a_batch_can_be_cut_in_time(dataset: EpisodeDataset) -> None:
    batch = dataset.episode_batch(2)  # seven rows
    part = batch.cut(slice(2, 5))
    assert part.obs["vector"][0, :, 0].tolist() == [2, 3, 4]
    assert part.reward[0].tolist() == [2, 3, 4]
    assert part.is_terminal.shape == part.weight.shape == (1, 3)
