"""How gradient steps are taken: one step with a check, the learning rates' course, threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from vlsafe_agents.common.optim import LaProp


def optimise(optimizers: Sequence[LaProp], loss: Tensor, what: str) -> None:
    """One step of each optimiser.

    :raises FloatingPointError: if the loss is not finite.
    """
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"the loss of the {what} is {loss.item()}; lower its learning rate"
        )
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


@dataclass(frozen=True)
class Schedule:
    """Which update trains what: first the world model and the prior, then critics, then all three.

    :param total: updates in all.
    :param model_warmup: share of them that trains world model and prior only.
    :param critic_warmup: share of the others in which the actor rests.
    """

    total: int
    model_warmup: float
    critic_warmup: float

    @property
    def _first(self) -> float:
        return self.model_warmup * self.total

    def warming_up(self, update: int) -> bool:
        """Whether update number ``update`` (from 0) trains world model and prior only."""
        return update < self._first

    def improving(self, update: int) -> bool:
        """Whether it trains the actor, beside the critics."""
        return update >= self._first + self.critic_warmup * (self.total - self._first)

    def remaining(self, update: int) -> float:
        """Share that is left, 1 to 0, of the model's warm-up, and after it of the policy's time."""
        if self.warming_up(update):
            return 1.0 - update / self._first
        return 1.0 - (update - self._first) / max(self.total - self._first, 1.0)


def anneal(rates: Iterable[tuple[LaProp, float]], remaining: float) -> None:
    """Let learning rates fall linearly to a tenth in the second half of training.

    At full rate the greedy policies of two neighbouring updates differ by several collisions in a
    hundred episodes.

    :param rates: optimisers with their full learning rates.
    :param remaining: share of training that is left, 1 to 0.
    """
    share = 0.1 + 0.9 * min(1.0, 2.0 * remaining)
    for optimizer, rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = rate * share


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Use so many threads inside the block; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
