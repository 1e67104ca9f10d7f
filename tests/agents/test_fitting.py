"""Fitting of small networks: against steps written out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import nn

from vlsafe_agents.common.fitting import fit


@dataclass(frozen=True)
class Config:
    updates: int = 4
    learning_rate: float = 0.1
    weight_decay: float = 0.0


def test_the_rate_falls_to_a_twentieth_along_a_cosine() -> None:
    """Of a constant gradient AdamW takes steps as large as the rate."""
    net, seen = nn.Linear(1, 1, bias=False), []
    nn.init.zeros_(net.weight)
    places = []

    def loss() -> torch.Tensor:
        places.append(net.weight.item())
        return net.weight.sum()

    fit(net, Config(), loss, lambda done, value: seen.append((done, value)))
    places.append(net.weight.item())
    steps = [a - b for a, b in pairwise(places)]
    wanted = [0.005 + 0.095 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert steps == pytest.approx(wanted, rel=1e-4)
    assert [done for done, _ in seen] == [1, 2, 3, 4]
    assert [value for _, value in seen] == pytest.approx(places[:-1])
