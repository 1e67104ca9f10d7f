"""The replay of an agent that learns while it drives: rows, rings, sequences and state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.replay import Replay

VECTOR = spaces.Box(-np.inf, np.inf, (1,), np.float32)
ACTIONS = spaces.Discrete(100, start=1)


def replay(capacity: int = 1000, n_envs: int = 2) -> Replay:
    return Replay(capacity, n_envs, {"vector": VECTOR}, ACTIONS)


def drive(memory: Replay, slot: int, steps: int, begin: int = 0, terminated: bool = True) -> None:
    """An episode whose numbers spell out the step."""
    memory.begin(slot, {"vector": np.array([begin])}, 0.5)
    for t in range(begin + 1, begin + steps + 1):
        ends = terminated and t == begin + steps
        memory.add(slot, {"vector": np.array([t])}, t, 10.0 * t, 100.0 * t, 0.9, ends)


def all_sequences(memory: Any, length: int) -> dict[bytes, Any]:
    """Each sequence that comes up in many draws, by its observations and ends."""
    batch = memory.sample(2000, length, np.random.default_rng(0))
    names = [n for n, x in vars(batch).items() if n != "obs" and x is not None]
    return {
        batch.obs["vector"][i].tobytes(): {n: getattr(batch, n)[i].tolist() for n in names}
        for i in range(2000)
    }


def test_sequences_are_those_of_a_data_set_of_the_same_episodes() -> None:
    memory = replay(n_envs=1)
    drive(memory, 0, 3)
    drive(memory, 0, 4, begin=10, terminated=False)
    drive(memory, 0, 2, begin=20)
    data = EpisodeDataset.from_arrays(memory.episodes(), VECTOR, ACTIONS)
    assert data.num_episodes == 3
    assert data.num_steps == memory.num_steps == 9
    found, expected = all_sequences(memory, 4), all_sequences(data, 4)
    assert len(found) == 9  # of 12 rows
    assert found == expected


def test_every_environment_has_a_stream_of_its_own() -> None:
    memory = replay()
    drive(memory, 0, 5)
    drive(memory, 1, 5, begin=50)
    batch = memory.sample(500, 3, np.random.default_rng(0))
    steps = np.diff(batch.obs["vector"][..., 0], axis=1)
    assert (steps == 1).all()
    starts = np.unique(batch.obs["vector"][:, 0, 0])
    assert starts.tolist() == [0, 1, 2, 3, 50, 51, 52, 53]


def test_a_running_episode_is_learned_from_and_its_newest_row_has_no_action_yet() -> None:
    memory = replay(n_envs=1)
    drive(memory, 0, 3, terminated=False)
    batch = memory.sample(1, 4, np.random.default_rng(0))
    assert batch.has_action[0].tolist() == [True, True, True, False]
    assert batch.next_action[0].tolist() == [1, 2, 3, ACTIONS.start]
    assert not batch.is_terminal.any()
    memory.begin(0, {"vector": np.array([0])})  # it was cut off
    batch = memory.sample(1, 5, np.random.default_rng(0))
    assert batch.has_action[0].tolist() == [True, True, True, False, False]
    assert batch.is_first[0].tolist() == [True, False, False, False, True]


def test_a_full_ring_forgets_its_oldest_rows() -> None:
    memory = replay(capacity=8, n_envs=1)
    for begin in (0, 10, 20):
        drive(memory, 0, 4, begin)
    assert memory.num_rows == 8
    batch = memory.sample(500, 3, np.random.default_rng(0))
    seen = np.unique(batch.obs["vector"]).tolist()
    assert seen == [12, 13, 14, 20, 21, 22, 23, 24]
    inside = ~batch.is_first[:, 1:]
    assert (np.diff(batch.obs["vector"][..., 0], axis=1)[inside] == 1).all()
    assert [e.num_steps for e in memory.episodes()] == [2, 4]


def test_memory_grows_with_what_is_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlsafe_agents.data.replay._FIRST_ROWS", 4)
    memory = replay(capacity=1_000_000)
    drive(memory, 0, 20)
    drive(memory, 1, 2)
    assert memory._length == 32
    assert memory.episodes()[0].reward.tolist() == [10.0 * t for t in range(1, 21)]


@pytest.mark.parametrize("capacity", [16, 1000])  # a ring that came round, and one that did not
def test_state_comes_back_and_goes_on_alike(capacity: int) -> None:
    memory, other = replay(capacity), replay(capacity)
    drive(memory, 0, 9)
    drive(memory, 1, 3, terminated=False)
    other.load_state_dict({k: v.copy() for k, v in memory.state_dict().items()})
    for each in (memory, other):
        each.add(1, {"vector": np.array([4])}, 4, 40.0, 400.0)
    first, second = (m.sample(20, 4, np.random.default_rng(1)) for m in (memory, other))
    for name, array in vars(first).items():
        if name != "obs":
            np.testing.assert_array_equal(array, getattr(second, name))
    np.testing.assert_array_equal(first.obs["vector"], second.obs["vector"])


def test_a_state_that_does_not_fit_says_what_to_do() -> None:
    memory = replay(capacity=16)
    drive(memory, 0, 9)
    with pytest.raises(ValueError, match="filled by 2 environments side by side; give as many"):
        replay(n_envs=1).load_state_dict(memory.state_dict())
    with pytest.raises(ValueError, match="give the same buffer_size"):
        replay(capacity=100).load_state_dict(memory.state_dict())
    other = Replay(16, 2, {"vector": spaces.Box(-1, 1, (2,), np.float32)}, ACTIONS)
    with pytest.raises(ValueError, match=r"obs/vector is float32\(1,\) in the stored replay"):
        other.load_state_dict(memory.state_dict())


def test_too_little_driven_is_an_error_with_the_remedy() -> None:
    memory = replay()
    drive(memory, 0, 2)
    assert memory.holds(3)
    assert not memory.holds(4)
    with pytest.raises(ValueError, match="raise learning_starts"):
        memory.sample(1, 4, np.random.default_rng(0))


@pytest.mark.parametrize("capacity", [8, 100])  # a ring that came round, and one that did not
def test_context_is_what_came_before(capacity: int) -> None:
    memory = replay(capacity, n_envs=1)
    for begin in (0, 10, 20):
        drive(memory, 0, 4, begin)
    batch = memory.sample(300, 3, np.random.default_rng(0), context=2)
    seen, firsts = batch.obs["vector"][..., 0], batch.is_first
    assert seen.shape == (300, 5)
    for row, first in zip(seen, firsts, strict=True):
        for t in range(1, 5):
            follows = row[t] == row[t - 1] + 1 or first[t]
            assert follows or first[2]  # before the first row of all nothing stands
    least = 14 if capacity == 8 else 0
    assert np.unique(seen[:, 2]).min() == least


def test_bad_ends_are_drawn_more_often_as_from_a_data_set_of_the_same_episodes() -> None:
    memory = replay(n_envs=1)
    for begin in range(0, 60, 10):
        drive(memory, 0, 6, begin, terminated=begin == 30)
    data = EpisodeDataset.from_arrays(memory.episodes(), VECTOR, ACTIONS)
    found, expected = (
        source.sample(64, 4, np.random.default_rng(1), unsafe_ends=0.5) for source in (memory, data)
    )
    for name in ("reward", "weight", "is_terminal", "cost"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert 0.4 < found.is_terminal.any(1).mean() < 0.7


def test_bad_ends_are_found_in_every_ring_and_weighed_less() -> None:
    memory = replay(capacity=60, n_envs=2)
    for slot, ends in ((0, {20}), (1, {150, 170})):  # the second ring comes round
        for begin in range(100 * slot, 100 * slot + 40 * (slot + 1), 10):
            drive(memory, slot, 6, begin, terminated=begin in ends)
    rng = np.random.default_rng(0)
    even, batch = (memory.sample(6000, 3, rng, share, context=1) for share in (0.0, 0.5))
    bad = [x.is_terminal[:, 1:].any(1) for x in (even, batch)]
    kinds = [
        set(x.obs["vector"][b, -1, 0].tolist()) for x, b in zip((even, batch), bad, strict=True)
    ]
    assert kinds[0] == kinds[1]
    assert batch.weight.shape == (6000, 4)
    assert bad[1].mean() > 2 * bad[0].mean()
    np.testing.assert_allclose(batch.weight[:, 0].mean(), 1.0, rtol=0.05)
    np.testing.assert_allclose((batch.weight[:, 0] * bad[1]).mean(), bad[0].mean(), rtol=0.1)
