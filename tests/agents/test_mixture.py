"""Batches made of several sources in exact shares."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from vlsafe_agents.data import Episode, EpisodeDataset
from vlsafe_agents.data.mixture import Mixture
from vlsafe_agents.data.replay import Replay

VECTOR = spaces.Box(-np.inf, np.inf, (1,), np.float32)
ACTIONS = spaces.Discrete(3)


def recorded(value: float) -> EpisodeDataset:
    obs = {"vector": np.full((9, 1), value, np.float32)}
    episode = Episode(obs, np.zeros(8, int), np.zeros(8), np.zeros(9), False)
    return EpisodeDataset.from_arrays([episode], VECTOR, ACTIONS)


def driven(value: float) -> Replay:
    memory = Replay(100, 1, {"vector": VECTOR}, ACTIONS)
    memory.begin(0, {"vector": np.array([value])})
    for _ in range(8):
        memory.add(0, {"vector": np.array([value])}, 0, 0.0, 0.0)
    return memory


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_exact_shares_are_the_same_in_every_batch(share: float) -> None:
    mix = Mixture([recorded(1), driven(2)], [share, 1 - share], exact=True)
    for seed in range(5):
        batch = mix.sample(16, 4, np.random.default_rng(seed))
        values = batch.obs["vector"][:, 0, 0].tolist()
        assert values == sorted(values)
        assert values.count(1) == round(16 * share)


def test_exact_shares_of_many_sources_make_up_the_batch() -> None:
    weights = np.array([0.05, 0.3, 0.3, 0.35])
    mix = Mixture([recorded(n) for n in range(4)], weights, exact=True)
    for size in range(1, 40):
        counts = np.array(mix.counts(size, np.random.default_rng(0)))
        assert counts.sum() == size
        assert (abs(counts - weights * size) <= 1).all()


def test_drawn_sources_follow_their_weights() -> None:
    mix = Mixture([recorded(1), driven(2)], [0.2, 0.8])
    counts = [mix.counts(10, np.random.default_rng(seed))[0] for seed in range(2000)]
    assert len(set(counts)) > 3
    assert abs(np.mean(counts) - 2.0) < 0.1
