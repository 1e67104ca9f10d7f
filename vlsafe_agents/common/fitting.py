"""Small networks fitted to data that are all there: AdamW along a cosine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

LAST = 1 / 20  # of the learning rate, that is left at the end


class FitConfig(Protocol):
    """What a configuration says of it."""

    @property
    def updates(self) -> int:
        """Gradient updates."""

    @property
    def learning_rate(self) -> float:
        """Of AdamW, in the first update."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""


def fit(
    net: nn.Module,
    config: FitConfig,
    loss_of_batch: Callable[[], Tensor],
    progress: Callable[[int, float], None],
) -> None:
    """Let a network descend on the losses of one batch after another.

    The learning rate falls to a twentieth along a cosine (Loshchilov and Hutter 2017, arXiv
    1608.03983).

    Args:
        loss_of_batch: draws a batch; its loss, a scalar.
        progress: hears of every update and its loss.
    """
    rate = config.learning_rate
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.updates, rate * LAST)
    for done in range(config.updates):
        loss = loss_of_batch()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress(done + 1, loss.item())
