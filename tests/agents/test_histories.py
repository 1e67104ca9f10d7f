"""Parts of recorded episodes against loops over the episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode
from vlsafe_agents.data.histories import to_go
from vlsafe_agents.data.mixture import MixedDataset

LENGTHS = (1, 4, 7, 2)
BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def recorded(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> EpisodeDataset:
    """Episodes of which every other one was cut off, with a cost at their resets, too."""
    rng, episodes = np.random.default_rng(seed), []
    for number, steps in enumerate(lengths):
        episodes.append(
            Episode(
                obs={"vector": rng.normal(size=(steps + 1, 2)).astype(np.float32)},
                action=rng.integers(0, 3, steps),
                reward=rng.normal(size=steps).astype(np.float32),
                env_cost=rng.random(steps + 1).astype(np.float32),
                terminated=number % 2 == 0,
            )
        )
    return EpisodeDataset.from_arrays(episodes, BOX, spaces.Discrete(3))


def test_what_is_to_go_ends_with_the_record_however_it_ended() -> None:
    signal = np.arange(1.0, 9.0)
    starts = np.array([0, 3, 4, 8])
    expected = [2 + 3, 3, 0, 0, 6 + 7 + 8, 7 + 8, 8, 0]
    np.testing.assert_allclose(to_go(signal, starts), expected)


def check_parts(data: EpisodeDataset, episodes: list[Episode], length: int) -> None:
    histories = data.histories()
    number = np.repeat(np.arange(len(episodes)), [e.num_steps for e in episodes])
    last = np.concatenate([np.arange(e.num_steps) for e in episodes])
    mixed = np.random.default_rng(1).permutation(len(number))
    number, last = number[mixed], last[mixed]
    batch = histories.parts(number, last, length)
    for row, (which, end) in enumerate(zip(number, last, strict=True)):
        episode, begin = episodes[which], max(end - length + 1, 0)
        steps = range(begin, end + 1)
        assert batch.known[row].tolist() == [k < len(steps) for k in range(length)]
        obs = batch.obs["vector"][row]
        np.testing.assert_array_equal(obs[: len(steps) + 1], episode.obs["vector"][begin : end + 2])
        assert (obs[len(steps) :] == episode.obs["vector"][end + 1]).all()
        assert episode.env_cost is not None
        for k, step in enumerate(steps):
            assert batch.step[row, k] == step
            assert batch.action[row, k] == episode.action[step]
            assert batch.reward[row, k] == episode.reward[step]
            assert batch.cost[row, k] == episode.env_cost[step + 1]
            left = batch.return_to_go[row, k], batch.cost_to_go[row, k]
            earned, paid = episode.reward[step:].sum(), episode.env_cost[step + 1 :].sum()
            assert left == pytest.approx((earned, paid), abs=1e-5)
    assert histories.returns == pytest.approx([e.reward.sum() for e in episodes], abs=1e-5)
    assert histories.to_go().shape == (len(number), 2)
    assert histories.to_go()[:, 0].max() == pytest.approx(batch.return_to_go[batch.known].max())


@pytest.mark.parametrize("length", [1, 3, 9])
def test_parts_hold_the_steps_up_to_one(length: int) -> None:
    data = recorded()
    check_parts(data, list(data.episodes), length)


def test_parts_of_views_and_mixes() -> None:
    data, other = recorded(), recorded((3, 5), seed=1)
    view = data.where(np.array([True, False, True, False]))
    check_parts(view, list(view.episodes), 3)
    mix = MixedDataset([view, MixedDataset([other, view])], [0.5, 0.5])
    check_parts(mix, list(mix.episodes), 3)


def test_every_step_is_drawn_as_often() -> None:
    rng = np.random.default_rng(0)
    episode, last = recorded().histories().draw(14_000, rng)
    counts = np.zeros((len(LENGTHS), max(LENGTHS)))
    np.add.at(counts, (episode, last), 1)
    for number, steps in enumerate(LENGTHS):
        assert np.abs(counts[number, :steps] - 1000).max() < 130  # 4 deviations
        assert not counts[number, steps:].any()


def test_a_mix_is_drawn_by_its_weights() -> None:
    mix = MixedDataset([recorded(), recorded((3, 5), seed=1)], [0.25, 0.75])
    episode, _ = mix.histories().draw(4000, np.random.default_rng(0))
    assert (episode >= len(LENGTHS)).mean() == pytest.approx(0.75, abs=0.03)


def test_what_is_asked_for_is_checked() -> None:
    histories, wrong = recorded().histories(), np.random.default_rng(0)
    bad: Any = 3
    with pytest.raises(ValueError, match="batch_size"):
        histories.draw(0, wrong)
    with pytest.raises(TypeError, match="default_rng"):
        histories.draw(2, bad)
    with pytest.raises(ValueError, match="length"):
        histories.parts(np.array([0]), np.array([0]), 0)
