"""A prior of the drives within a cost limit: no costly drive is imitated, all are learnt from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from tiny_agents import VECTOR, Still, make

from vlsafe_agents import VLSafe
from vlsafe_agents.data.branching import EVENLY
from vlsafe_agents.data.dataset import EpisodeDataset
from vlsafe_agents.data.episode import Branch, Episode
from vlsafe_agents.data.mixture import MixedDataset, Mixture
from vlsafe_agents.data.replay import Replay
from vlsafe_agents.vlsafe.batch import to_tensors

COSTLY = (1, 4)  # numbers of the episodes that cost 2; others cost 0.5


def drives(branch: bool = False, costly: tuple[int, ...] = COSTLY) -> EpisodeDataset:
    """Six episodes of 20 steps: the costly ones take action 1, others action 0."""
    rng = np.random.default_rng(0)
    episodes = []
    for number in range(6):
        cost = np.zeros(21, np.float32)
        cost[0] = 9.0  # a reset's is nobody's
        cost[5] = 2.0 if number in costly else 0.5
        episodes.append(
            Episode(
                obs={"vector": rng.uniform(-1, 1, (21, 4)).astype(np.float32)},
                action=np.full(20, int(number in costly)),
                reward=np.ones(20, np.float32),
                env_cost=cost,
                safety_score=np.ones(21, np.float32),
                terminated=False,
                branch=Branch(0, 2, "go", EVENLY) if branch else None,
            )
        )
    return EpisodeDataset.from_arrays(episodes, VECTOR, spaces.Discrete(3))


def learner(dataset: EpisodeDataset | MixedDataset, limit: float | None, **more: Any) -> VLSafe:
    return make(dataset, Still(VECTOR), config={"prior_cost_limit": limit, **more})  # type: ignore[arg-type]


def chance_of_costly_action(limit: float | None) -> float:
    """What the prior gives action 1 in states of the drives that took it, after learning."""
    more = {"model_warmup": 1.0, "train": {"learning_rate": 3e-3}}
    agent = learner(drives(), limit, **more).learn(80)
    assert agent.dataset is not None
    batch = to_tensors(agent.dataset.sample(32, 10, np.random.default_rng(0)))
    posterior, _ = agent.policy.states(batch, None, None)
    actions = agent.policy.world_model.action_vector(batch.next_action * 0 + 1)
    prior = agent.policy.actor_critic.behaviour
    feat = agent.policy.world_model.feat(posterior)
    taken = batch.has_action & (batch.next_action == 1)
    return prior.log_prob(feat, actions).exp()[taken].mean().item()


def test_costly_drives_are_not_imitated() -> None:
    assert chance_of_costly_action(1.0) < 0.1
    assert chance_of_costly_action(None) > 0.5


def test_the_mask_keeps_drives_within_the_limit() -> None:
    data = drives()
    assert data.within(1.0).tolist() == [True, False, True, True, False, True]
    assert data.within(0.5).sum() == 4  # the limit itself is kept
    assert data.within(2.0).all()
    view = data.where(np.arange(6) != 0)
    assert view.within(1.0).tolist() == [False, True, True, False, True]
    batch = view.imitating(view.within(1.0)).sample(16, 30, np.random.default_rng(0))
    assert batch.imitated is not None
    acts = batch.has_action
    assert (batch.imitated[acts] == (batch.next_action[acts] == 0)).all()
    assert 0 < batch.imitated.mean() < 1
    everybody = data.sample(4, 10, np.random.default_rng(0)).imitated
    assert everybody is not None
    assert everybody.all()


def test_branches_are_never_imitated() -> None:
    both = MixedDataset([drives(), drives(branch=True, costly=())], [0.5, 0.5])
    kept = both.within(1.0)
    assert kept.tolist() == [True, False, True, True, False, True] + 6 * [False]
    for data in (both, both.imitating(kept)):
        batch = to_tensors(data.sample(32, 10, np.random.default_rng(0)))
        assert not batch.by_prior[~batch.by_driver].any()
    assert batch.by_prior.any()
    assert not batch.by_prior[batch.by_driver].all()
    with pytest.raises(ValueError, match=r"none of 0 recorded drives keeps the cost limit 1;"):
        drives(branch=True).within(1.0)


def test_a_data_set_of_a_mix_may_have_none_to_imitate() -> None:
    costly = drives(costly=(0, 1, 2, 3, 4, 5))
    both = MixedDataset([drives(), costly], [0.5, 0.5])
    agent = learner(both, 1.0)
    assert agent.dataset is not None
    batch = agent.dataset.sample(32, 10, np.random.default_rng(0))
    assert batch.imitated is not None
    assert 0 < batch.imitated.mean() < 0.7
    with pytest.raises(ValueError, match=r"none of 6 recorded .* 1: the least costs 2;"):
        learner(costly, 1.0)


def test_losses_of_the_prior_do_not_depend_on_costly_drives() -> None:
    agent = learner(drives(), 1.0)
    assert agent.dataset is not None
    batch = to_tensors(agent.dataset.sample(8, 16, np.random.default_rng(0)))
    changed = batch._replace(next_action=batch.next_action * batch.by_prior)
    model, actor_critic = agent.policy.world_model, agent.policy.actor_critic
    posterior, _ = agent.policy.states(batch, None, None)
    feat = model.feat(posterior).detach()
    one, two = (actor_critic.behaviour_loss(feat, b, model) for b in (batch, changed))
    assert one == two
    assert (changed.next_action != batch.next_action).any()
    assert batch.by_driver.all()  # statistics and dreams take them as they take others


def test_what_an_agent_drives_itself_is_imitated() -> None:
    memory = Replay(100, 1, {"vector": VECTOR}, spaces.Discrete(3))
    memory.begin(0, {"vector": np.zeros(4)})
    for _ in range(30):
        memory.add(0, {"vector": np.zeros(4)}, 2, 0.0, 5.0)
    data = drives()
    for order in (1, -1):
        sources = [data.imitating(data.within(1.0)), memory][::order]
        batch = Mixture(sources, [0.5, 0.5], exact=True).sample(16, 10, np.random.default_rng(0))
        assert batch.imitated is not None
        own = (batch.next_action == 2) & batch.has_action
        assert own.any()
        assert batch.imitated[own].all()
        assert not batch.imitated.all()


def test_costs_and_a_limit_are_needed() -> None:
    free = [replace(episode, env_cost=None) for episode in drives().episodes]
    data = EpisodeDataset.from_arrays(free, VECTOR, spaces.Discrete(3))
    with pytest.raises(ValueError, match="prior_cost_limit needs costs"):
        make(data, Still(VECTOR), update="none", safety=None, config={"prior_cost_limit": 1.0})
    for asked in (data, MixedDataset([data, data])):
        with pytest.raises(ValueError, match="A cost limit needs costs"):
            asked.within(1.0)
    with pytest.raises(ValueError, match=r"prior_cost_limit is -1"):
        learner(drives(), -1.0)
