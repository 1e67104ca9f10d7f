"""Distributions over actions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from vlsafe_agents.vlsafe.policy_heads import GaussianHead, action_kind


def test_gaussian_head_is_the_textbook_density_and_samples_stay_in_bounds() -> None:
    space = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))
    head = action_kind(space).head(3, 8, 1)
    assert isinstance(head, GaussianHead)
    feat = torch.randn(500, 3)
    action = head.sample(feat).detach()
    assert all(space.contains(a) for a in action.numpy())
    mean, std = head.moments(feat)
    unit = (action - torch.tensor([-2.0, 0.0])) / torch.tensor([2.0, 0.5]) - 1
    expected = torch.distributions.Normal(mean, std).log_prob(unit).sum(-1)
    torch.testing.assert_close(head.log_prob(feat, action), expected)


def test_policies_of_other_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="MultiDiscrete or a Box"):
        action_kind(spaces.MultiBinary(3))
    with pytest.raises(ValueError, match="finite bounds"):
        action_kind(spaces.Box(-np.inf, np.inf, (2,))).head(3, 8, 1)
