"""A prior that is fitted without its own past does what the road says, not what it did before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tiny_agents import VECTOR, Still, make, weights

from vlsafe_agents import VLSafe
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Episode
from vlsafe_agents.vlsafe.batch import exchange_actions


def habitual(count: int = 40, steps: int = 20, informative: bool = False) -> EpisodeDataset:
    """Drivers who seldom change what they do; what they see is noise or says what to do."""
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(count):
        action = rng.integers(0, 3, steps)
        for t in range(1, steps):
            action[t] = action[t - 1] if rng.random() < 0.9 else action[t]
        vector = rng.uniform(-1, 1, (steps + 1, 4)).astype(np.float32)
        if informative:
            vector[:-1, :3] = np.eye(3)[action]
        zeros = np.zeros(steps + 1, np.float32)
        episodes.append(
            Episode(
                obs={"vector": vector},
                action=action,
                reward=zeros[1:],
                env_cost=zeros,
                safety_score=zeros + 1,
                terminated=False,
            )
        )
    return EpisodeDataset.from_arrays(episodes, VECTOR, spaces.Discrete(3))


def clone(dataset: EpisodeDataset, share: float, updates: int = 120) -> VLSafe:
    config = {"model_warmup": 1.0, "forget_actions": share, "train": {"learning_rate": 3e-3}}
    return make(dataset, Still(VECTOR), config=config).learn(updates)


def acts(agent: VLSafe, steps: int = 300) -> tuple[float, float]:
    """Shares of sampled actions that repeat the last one, and that the observation says."""
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    state, last, repeated, obeyed = None, None, 0, 0
    for _ in range(steps):
        says = int(rng.integers(3))
        vector = rng.uniform(-1, 1, 4).astype(np.float32)
        vector[:3] = np.eye(3)[says]
        action, state = agent.predict(vector, state)
        repeated += int(action) == last
        obeyed += int(action) == says
        last = int(action)
    return repeated / steps, obeyed / steps


def test_actions_move_as_whole_sequences() -> None:
    torch.manual_seed(0)
    action = torch.arange(8)[:, None].expand(8, 5) * 10 + torch.arange(5)
    assert torch.equal(exchange_actions(action, 0.0), action)
    changed = exchange_actions(action, 1.0)
    assert not (changed == action).any()
    assert torch.equal(changed % 10, action % 10)  # times stay
    assert (changed // 10 == changed[:, :1] // 10).all()  # and what belongs together
    assert torch.equal(exchange_actions(action[:1], 1.0), action[:1])
    some = [(exchange_actions(action, 0.5) != action).any(1).float().mean() for _ in range(200)]
    assert torch.stack(some).mean() == pytest.approx(0.5, abs=0.05)


def test_a_habit_is_not_learnt_without_the_past() -> None:
    with_past, without = (acts(clone(habitual(), share))[0] for share in (0.0, 1.0))
    assert with_past > 0.7
    assert without == pytest.approx(1 / 3, abs=0.12)  # three actions, each as frequent


def test_what_can_be_seen_is_learnt_without_the_past() -> None:
    repeated, obeyed = acts(clone(habitual(informative=True), 1.0))
    assert obeyed > 0.8
    assert repeated < 0.5


def test_the_policy_learns_beside_a_prior_without_the_past() -> None:
    config = {"model_warmup": 0.5, "forget_actions": 1.0}
    agent = make(habitual(8), Still(VECTOR), config=config)
    before = weights(agent).clone()
    agent.learn(4)
    assert torch.isfinite(weights(agent)).all()
    assert not torch.equal(before, weights(agent))


def test_a_share_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"forget_actions is 2.*\[0, 1\]"):
        make(habitual(2), Still(VECTOR), config={"forget_actions": 2.0})
