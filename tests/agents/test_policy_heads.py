"""Kinds of actions, and distributions over them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from vlsafe_agents.vlsafe.actions import action_kind
from vlsafe_agents.vlsafe.config import ImprovementConfig
from vlsafe_agents.vlsafe.policy_extraction import behaviour_advantage, improved_policy
from vlsafe_agents.vlsafe.policy_heads import CategoricalHead, GaussianHead

BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))
PLAIN = ImprovementConfig()


def head(mean: list[float], std: float = 0.2) -> GaussianHead:
    """A policy with these moments in every state."""
    policy = GaussianHead(3, 8, 1, len(mean))
    with torch.no_grad():
        policy.net[-1].weight.zero_()
        wanted = torch.atanh(torch.tensor(mean) / 1.5)
        spread = torch.full((len(mean),), (std - 0.05) / 0.95).logit()
        policy.net[-1].bias[:] = torch.cat([wanted, spread])
    return policy


class Surface:
    """A critic for which an action adds a function of it to a value of 0."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def slow_all(self, feat: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    def slow_baseline(self, feat: torch.Tensor) -> torch.Tensor:
        return torch.zeros(feat.shape[:-1])

    def slow_effect(self, feat: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return self.value(actions)


# --- boxes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "space",
    [
        BOX,
        spaces.Box(-5.0, 5.0, (1,), np.float32),
        spaces.Box(-0.1, 0.3, (2, 3), np.float64),
        spaces.Box(0, 255, (2,), np.uint8),
        spaces.Box(1000.0, 1001.0, (), np.float32),
        spaces.Box(np.array([1.0, -3.0], np.float32), np.array([1.0, 3.0], np.float32)),
    ],
    ids=str,
)
def test_actions_of_a_box_are_scaled_to_one_and_back(space: spaces.Box) -> None:
    kind = action_kind(space)
    space.seed(0)
    ends = [space.low, space.high, *(space.sample() for _ in range(20))]
    actions = np.stack(ends).astype(np.float32)
    vectors = kind.vector(torch.as_tensor(actions).unsqueeze(1))  # (N, 1, A)
    assert vectors.shape == (22, 1, kind.size)
    assert vectors.abs().max() <= 1
    free = torch.as_tensor((space.high > space.low).reshape(-1))
    assert (vectors[0][:, free] == -1).all()
    assert (vectors[1][:, free] == 1).all()
    back = kind.to_env(vectors[:, 0].numpy())
    assert back.dtype == space.dtype
    assert all(space.contains(np.asarray(action)) for action in back)
    np.testing.assert_allclose(back, actions, rtol=1e-6, atol=1e-5)


def test_other_actions_of_a_wide_box_are_other_inputs() -> None:
    vectors = action_kind(spaces.Box(-5.0, 5.0, (1,))).vector(torch.tensor([[1.0], [2.0], [4.9]]))
    torch.testing.assert_close(vectors, torch.tensor([[0.2], [0.4], [0.98]]))


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (0.0, np.inf), (-3.3e38, 3.3e38)])
def test_a_box_without_bounds_is_refused_with_a_remedy(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"infinite ones.*TransformAction.*ClipAction"):
        action_kind(spaces.Box(*bounds, (2,), np.float32))


def test_samples_stay_within_the_bounds_and_some_lie_on_them() -> None:
    torch.manual_seed(0)
    policy = head([0.95, -1.3])
    action = policy.sample(torch.randn(500, 3)).detach()
    assert action.abs().max() == 1
    assert (action[:, 1] == -1).float().mean() > 0.9
    assert all(BOX.contains(a) for a in action_kind(BOX).to_env(action.numpy()))


@pytest.mark.parametrize(("mean", "share"), [(0.0, 0.0), (0.9, 0.3), (1.4, 0.97)])
def test_the_likeliest_moments_are_those_of_the_clipped_data(mean: float, share: float) -> None:
    """With the density of an unclipped Gaussian, actions on a bound pull the mean inwards."""
    torch.manual_seed(0)
    data = (mean + 0.2 * torch.randn(2_000, 1)).clamp(-1, 1)
    assert (data == 1).float().mean().item() == pytest.approx(share, abs=0.02)
    policy, feat = head([0.1], 0.5), torch.zeros(2_000, 3)
    optimizer = torch.optim.Adam(policy.parameters(), 0.06)
    for _ in range(200):
        optimizer.zero_grad()
        (-policy.log_prob(feat, data).mean()).backward()
        optimizer.step()
    drawn = policy.sample(feat)
    assert (drawn == 1).float().mean().item() == pytest.approx(share, abs=0.03)
    if share < 0.5:  # beyond, many means and deviations have the same tail
        found, std = policy.moments(feat[0])
        assert found.item() == pytest.approx(mean, abs=0.03)
        assert std.item() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("threshold", [0.01, 0.1, 0.5])
def test_no_action_outside_of_the_support_gets_weight(threshold: float) -> None:
    """However much a critic promises there, axis by axis."""
    torch.manual_seed(0)
    prior, actor = head([0.0, 0.9]), head([0.8, 0.2], 0.5)
    settings = replace(PLAIN, candidates=64, support_threshold=threshold)
    flat = Surface(lambda action: action.sum(-1))
    feat = torch.zeros(200, 3)
    found: list[torch.Tensor] = []

    def spy(action: torch.Tensor) -> torch.Tensor:
        found.append(action)
        return 100.0 * action[..., 0]

    candidates = actor.compare(prior, feat, feat, None, (Surface(spy), flat), settings)
    action = found[0].transpose(0, 1)  # (N, K, A)
    reach = 0.2 * math.sqrt(-2 * math.log(threshold))
    inside = (action[..., 0].abs() <= reach + 1e-4) & (action[..., 1] >= 0.9 - reach - 1e-4)
    target = improved_policy(candidates.log_prior, candidates.q_reward)
    assert inside[:, :32].all()  # the prior's half
    assert not inside[:, 32:].all()
    assert (target[~inside] == 0).all()
    assert target.isfinite().all()
    assert behaviour_advantage(candidates.q_reward, candidates.log_prior).isfinite().all()


@pytest.mark.parametrize("threshold", [0.0, 0.1])
def test_weighted_candidates_have_the_means_of_the_restricted_prior(threshold: float) -> None:
    """The policy that proposes half of them must not matter."""
    torch.manual_seed(0)
    prior, actor = head([0.3, 0.95]), head([-0.5, 0.4], 0.4)
    settings = replace(PLAIN, candidates=256, support_threshold=threshold)
    critics = (Surface(lambda a: a[..., 0]), Surface(lambda a: (a[..., 1] == 1).float()))
    feat = torch.zeros(400, 3)
    candidates = actor.compare(prior, feat, feat, None, critics, settings)
    weight = candidates.log_prior.softmax(-1)
    draws, _ = prior.supported(torch.zeros(1, 3), 200_000, threshold)
    own = actor.sample(torch.zeros(1, 200_000, 3))  # whose mean Q is the value
    first = (weight * candidates.q_reward).sum(-1).mean().item()
    on_bound = (weight * candidates.q_cost).sum(-1).mean().item()
    means = [draws[..., 0].mean() - own[..., 0].mean()]
    means.append((draws[..., 1] == 1).float().mean() - (own[..., 1] == 1).float().mean())
    assert first == pytest.approx(means[0].item(), abs=0.01)
    assert on_bound == pytest.approx(means[1].item(), abs=0.01)


def test_the_drift_of_candidates_approaches_the_divergence_of_the_policies() -> None:
    torch.manual_seed(0)
    prior, actor, feat = head([0.3, 0.9]), head([0.1, 0.7], 0.3), torch.zeros(400, 3)
    settings = replace(PLAIN, candidates=512, support_threshold=0.0)
    flat = Surface(lambda a: a[..., 0])
    found = actor.compare(prior, feat, feat, None, (flat, flat), settings).drift().mean()
    drawn = actor.sample(torch.zeros(200_000, 3))
    expected = (actor.log_prob(feat[:1], drawn) - prior.log_prob(feat[:1], drawn)).mean()
    assert found.item() == pytest.approx(expected.item(), rel=0.05)


@pytest.mark.parametrize(("threshold", "low", "high"), [(0.0, -1.0, 1.0), (0.1, 0.371, 1.0)])
def test_exploring_actions_are_spread_evenly_over_the_support(
    threshold: float, low: float, high: float
) -> None:
    torch.manual_seed(0)
    action = head([0.8]).explore(torch.zeros(20_000, 3), threshold)
    assert action.min().item() == pytest.approx(low, abs=0.01)
    assert action.max().item() == pytest.approx(high, abs=0.01)
    assert action.mean().item() == pytest.approx((low + high) / 2, abs=0.02)


# --- actions that can be counted ------------------------------------------------------------------


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=-1),
        spaces.Discrete(4, start=7),
        spaces.MultiBinary(3),
        spaces.MultiBinary((2, 2)),
        spaces.MultiDiscrete([[2, 3], [1, 2]], start=[[0, 5], [-1, 0]]),
    ],
    ids=str,
)
def test_every_action_has_one_vector_and_back(space: Any) -> None:
    kind = action_kind(space)
    assert isinstance(kind.head(3, 8, 1), CategoricalHead)
    vectors = torch.eye(kind.size)
    actions = kind.to_env(vectors.numpy())
    assert all(space.contains(action) for action in actions)
    assert len({action.tobytes() for action in actions}) == kind.size
    recorded = torch.as_tensor(actions.astype(np.int64))
    assert torch.equal(kind.vector(recorded), vectors)
    assert torch.equal(kind.vector(recorded[None]), vectors[None])  # (B, T, ...)


@pytest.mark.parametrize("space", [spaces.MultiBinary(11), spaces.MultiDiscrete([20, 10, 10])])
def test_more_combinations_than_can_be_compared_are_refused(space: Any) -> None:
    with pytest.raises(ValueError, match=r"20[04]\d combinations.*at most 1024"):
        action_kind(space)


def test_other_spaces_are_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="Discrete, MultiDiscrete, MultiBinary, Box; got Text"):
        action_kind(spaces.Text(3))
